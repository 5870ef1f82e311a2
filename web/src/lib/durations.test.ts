import { describe, expect, it } from 'vitest'
import { durationsOf } from './durations'

const run = (seconds: number, isEnded = true) => ({
  startTimestamp: '2026-11-30T00:00:00Z', ...(isEnded ? { finishTimestamp: new Date(Date.parse('2026-11-30T00:00:00Z') + seconds * 1_000).toISOString() } : {}),
})

describe('the durations of runs', () => {
  it('are those of the runs that have ended', () => {
    expect(durationsOf([run(0, false), run(3), run(1), run(0, false), run(1)])).toEqual({ median: 1_000, most: 3_000, longest: 3_000, runs: 3 })
  })
  it('are unknown until one has ended, and of a run that never started', () => {
    expect(durationsOf([run(0, false), { finishTimestamp: '2026-11-30T00:00:00Z' }])).toBeUndefined()
  })
})
