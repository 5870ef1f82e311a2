// Outcomes of runs in the order in which bars stack them.
import type { Outcomes } from './api'

export const outcomeSeries = [
  { name: 'successful', colour: 'var(--good-bar)' },
  { name: 'with rejected rows', colour: 'var(--warn-bar)' },
  { name: 'running', colour: 'var(--going-bar)' },
  { name: 'terminated', colour: 'var(--ended-bar)' },
  { name: 'failed', colour: 'var(--bad-bar)' },
]

export const outcomeBar = (one: Outcomes): number[] => [one.successful, one.rejected, one.going, one.terminated, one.failed]

export const outcomeSum = (one: Outcomes): number => outcomeBar(one).reduce((sum, number) => sum + number, 0)

/** The periods that pages offer. Unit: hours. */
export const periodChoices = [
  { hours: 24, name: '24 hours' },
  { hours: 72, name: '3 days' },
  { hours: 168, name: '7 days' },
  { hours: 720, name: '30 days' },
  { hours: 2160, name: '90 days' },
]

export function hoursOf(text: string | null, usual: number): number {
  const hours = Number(text)
  return Number.isInteger(hours) && hours >= 1 && hours <= 2160 ? hours : usual
}
