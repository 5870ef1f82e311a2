import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runLabels } from './run-plot'
import { zone } from './zone.svelte'

const nights = (count: number): string[] => Array.from({ length: count }, (_, index) => new Date(Date.UTC(2026, 10, 1 + index, 2)).toISOString())

describe('the labels below the runs of a task', () => {
  beforeEach(() => {
    zone.choice = 'utc'
  })
  afterEach(() => {
    zone.choice = 'local'
  })
  it('are as many as there is room for', () => {
    expect(runLabels(nights(3), 200)).toEqual([{ at: 0, text: '11-01 02:00' }, { at: 1, text: '11-02 02:00' }, { at: 2, text: '11-03 02:00' }])
    expect(runLabels(nights(9), 60).map(({ at }) => at)).toEqual([0, 2, 4, 6, 8])
  })
  it('do not repeat a date, nor a time', () => {
    const times = ['2026-11-30T02:00:05Z', '2026-11-30T02:00:40Z', '2026-11-30T03:00:00Z', '2026-12-01T02:00:00Z']
    expect(runLabels(times, 200)).toEqual([{ at: 0, text: '11-30 02:00' }, { at: 2, text: '03:00' }, { at: 3, text: '12-01 02:00' }])
  })
  it('are none without runs', () => expect(runLabels([], 10)).toEqual([]))
})
