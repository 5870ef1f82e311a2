// Where the labels of a time axis stand.
import { clock, day } from './format'
import { zone } from './zone.svelte'

export interface AxisLabel {
  /** Share of the axis, from 0 to 1. */
  at: number
  text: string
}

const second = 1_000
const minute = 60_000
const hour = 3_600_000
const dayMs = 86_400_000
/** Round lengths of time. Unit: milliseconds. */
export const axisSteps = [
  10, 20, 50, 100, 200, 500, second, 2 * second, 5 * second, 10 * second, 15 * second, 30 * second, minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
  hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, dayMs, 2 * dayMs, 7 * dayMs, 14 * dayMs, 30 * dayMs, 90 * dayMs, 365 * dayMs,
]

/** Width of a letter of a label. Unit: pixels. */
const LETTER_PX = 7

/** The labels that fit whole into an axis of `width` pixels; each is to the right of its position. */
export const fitting = (labels: AxisLabel[], width: number): AxisLabel[] => labels.filter(({ at, text }) => at * width + text.length * LETTER_PX <= width)

/** The labels of an axis, at round times of the shown zone; at most `most` of them. */
export function axisLabels(start: number, end: number, most: number): AxisLabel[] {
  const span = end - start
  if (!(span > 0) || most < 1) return []
  const step = axisSteps.find((one) => span / one <= most) ?? Math.ceil(span / most / (365 * dayMs)) * 365 * dayMs
  const offset = zone.isUtc ? 0 : -new Date(start).getTimezoneOffset() * minute
  const labels: AxisLabel[] = []
  let before = ''
  for (let at = Math.ceil((start + offset) / step) * step - offset; at <= end; at += step) {
    const date = day(at)
    const time = step < second ? `${clock(at)}.${String(new Date(at).getMilliseconds()).padStart(3, '0')}` : step < minute ? clock(at) : clock(at).slice(0, 5)
    const text = step >= dayMs ? date : date === before || (before === '' && day(start) === day(end)) ? time : `${date.slice(5)} ${time}`
    before = date
    labels.push({ at: (at - start) / span, text })
  }
  return labels
}
