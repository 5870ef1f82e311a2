// Numbers and texts of reports and patterns.
import type { Reason } from './api'
import { ago, many, span } from './format'

export const recordsOf = (one: { severities: number[] } | null | undefined): number =>
  one?.severities.reduce((sum, number) => sum + number, 0) ?? 0

/** The index of the highest severity that occurs. */
export const worstOf = (one: { severities: number[] } | null | undefined): number => {
  const severities = one?.severities ?? []
  for (let number = severities.length - 1; number > 0; number -= 1) if ((severities[number] ?? 0) > 0) return number
  return 0
}

/** The text of a reason; with `isCauseShown`, the cause of the failure is shown beside it. */
export function reasonText(reason: Reason, isCauseShown = false): string {
  switch (reason.kind) {
    case 'failing':
      return reason.runsInARow > 1 ? `failed ${reason.runsInARow} times in a row` : 'its last run failed'
    case 'slow':
      return `${reason.isRunning ? 'has been running for' : 'took'} ${span(reason.durationMs)}, usually ${span(reason.usualMs)}`
    case 'late':
      return `last ran ${ago(reason.last)}, usually every ${span(reason.usualMs)}`
    case 'flaky':
      return `flaky: ${many(reason.flips, 'flip')} in ${many(reason.runs, 'run')}`
    case 'newErrors':
      return `${many(reason.errorGroups, 'new kind')} of error${isCauseShown ? '' : `: ${reason.title}`}`
  }
}
