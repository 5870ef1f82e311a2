// Formats times, durations, counts and sizes.
import { offsetName, zone } from './zone.svelte'

const counts = new Intl.NumberFormat('en')
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

export const count = (number: number): string => counts.format(number)
export const shortCount = (number: number): string => (number < 10_000 ? counts.format(number) : short.format(number))

/** `1 run`, `2 runs`. */
export const many = (number: number, one: string, several = `${one}s`): string =>
  `${count(number)} ${number === 1 ? one : several}`

/** The share of failed runs among those that have ended: `12 %`, `0.4 %`; a dash if none has ended. */
export function failureRate({ runs, failed, going }: { runs: number; failed: number; going: number }): string {
  const ended = runs - going
  if (ended <= 0) return '–'
  const percent = (100 * failed) / ended
  return `${percent > 0 && percent < 9.95 ? Math.max(0.1, percent).toFixed(1) : Math.round(percent)} %`
}

export function bytes(number: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024
    unit += 1
  }
  return `${unit === 0 ? number : number.toFixed(number < 10 ? 1 : 0)} ${units[unit]}`
}

/** The size of a log in the archive, where small logs share objects: their own part is not known exactly. */
export const storedSize = (stored: number): string => (stored < 1024 ? 'less than 1 KiB' : bytes(stored))

const two = (number: number): string => String(number).padStart(2, '0')
const three = (number: number): string => String(number).padStart(3, '0')

export type Moment = number | string | Date

const date = (moment: Moment): Date => (moment instanceof Date ? moment : new Date(moment))

/** The date and time of a moment in the shown zone, as the fields of a UTC date. */
function shown(moment: Moment): Date {
  const at = date(moment)
  return zone.isUtc ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60_000)
}

export function day(moment: Moment): string {
  const at = shown(moment)
  return `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`
}

/** The time of day in the shown zone, to the second. */
export function clock(moment: Moment): string {
  const at = shown(moment)
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`
}

/** The shown zone at a moment: `UTC`, `UTC+01:00`. */
export const zoneAt = (moment: Moment): string => offsetName(date(moment), zone.isUtc)

export const preciseClock = (moment: Moment): string => `${clock(moment)}.${three(date(moment).getMilliseconds())}`

/** The time of an event of a run, with the date if it differs from that of the start. */
export const clockIn = (moment: Moment, began: Moment): string => (day(moment) === day(began) ? preciseClock(moment) : `${day(moment)} ${preciseClock(moment)}`)

export const dateTime = (moment: Moment): string => `${day(moment)} ${clock(moment)}`

/** The same with the zone: `2026-11-30 07:15:00 UTC+01:00`. */
export const dateTimeZone = (moment: Moment): string => `${dateTime(moment)} ${zoneAt(moment)}`

export function ago(moment: Moment, now: number = Date.now()): string {
  const ms = now - date(moment).getTime()
  return ms < 0 ? 'in the future' : ms < 5_000 ? 'just now' : `${span(ms)} ago`
}

/** The time of a scheduled event; if it is in the past, the event happens as soon as possible. */
export function ahead(moment: Moment, now: number = Date.now()): string {
  const ms = date(moment).getTime() - now
  return ms < 1_000 ? 'now' : `in ${span(ms)}`
}

/** A text of the service, whose times in UTC are shown in the chosen zone. */
export const withZone = (text: string): string => text.replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, (time) => dateTimeZone(time))

/** A duration in its two largest units. */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`
  const parts: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1_000, 's'],
  ]
  const shown: string[] = []
  let rest = Math.round(ms / 1_000) * 1_000
  for (const [unit, name] of parts) {
    const amount = Math.floor(rest / unit)
    rest -= amount * unit
    if (amount > 0) shown.push(`${amount} ${name}`)
    if (shown.length === 2 || (shown.length > 0 && amount === 0)) break
  }
  return shown.join(' ')
}

/** The middle one of some numbers; undefined if there are none. */
export function median(numbers: number[]): number | undefined {
  const sorted = [...numbers].sort((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  const [below, above] = [sorted[half - 1], sorted[half]]
  return above === undefined ? undefined : sorted.length % 2 === 1 || below === undefined ? above : (below + above) / 2
}

/** The duration of a run, so far if it is running. */
export function duration(run: { startTimestamp?: string | null; finishTimestamp?: string | null }, now = Date.now()): number | undefined {
  if (!run.startTimestamp) return undefined
  const end = run.finishTimestamp ? Date.parse(run.finishTimestamp) : now
  return Math.max(0, end - Date.parse(run.startTimestamp))
}
