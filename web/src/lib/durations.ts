// How long runs take: figures of those that have ended, because the others still go on.
import { duration } from './format'

/** Unit: milliseconds. */
export interface Durations {
  median: number
  /** The 95th percentile. */
  most: number
  longest: number
  /** Number of ended runs. */
  runs: number
}

type Timed = Parameters<typeof duration>[0]

/** The figures of the ended runs among these; undefined if there are none. */
export function durationsOf(runs: Timed[]): Durations | undefined {
  const ended = runs.flatMap((run) => (run.finishTimestamp ? (duration(run) ?? []) : [])).sort((a, b) => a - b)
  const at = (share: number): number => ended[Math.min(ended.length - 1, Math.floor(share * ended.length))] ?? 0
  return ended.length === 0 ? undefined : { median: at(0.5), most: at(0.95), longest: at(1), runs: ended.length }
}
