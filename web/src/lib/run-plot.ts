// The labels below the runs of a plot.
import { clock, day } from './format'

export interface RunLabel {
  /** The number of the run that it is below. */
  at: number
  text: string
}

/** Width of a label with its distance to the next. Unit: pixels. */
const LABEL_PX = 110

/**
 * The labels of an axis with one place of `step` pixels for each run: as many as there is room for. The date stands at its
 * first run only, and a label that would repeat the one before is left out.
 */
export function runLabels(times: string[], step: number): RunLabel[] {
  const every = Math.max(1, Math.ceil(LABEL_PX / step))
  const labels: RunLabel[] = []
  let [date, before] = ['', '']
  times.forEach((time, at) => {
    if (at % every !== 0) return
    const minute = `${day(time)} ${clock(time).slice(0, 5)}`
    if (minute === before) return
    labels.push({ at, text: day(time) === date ? clock(time).slice(0, 5) : minute.slice(5) })
    ;[date, before] = [day(time), minute]
  })
  return labels
}
