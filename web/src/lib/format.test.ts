import { describe, expect, it } from 'vitest'
import { failureRate, median } from './format'

describe('the failure rate', () => {
  it('is the share of the runs that have ended', () => {
    expect(failureRate({ runs: 10, failed: 3, going: 2 })).toBe('38 %')
    expect(failureRate({ runs: 4, failed: 4, going: 0 })).toBe('100 %')
    expect(failureRate({ runs: 4, failed: 0, going: 0 })).toBe('0 %')
  })
  it('is never zero if a run failed', () => {
    expect(failureRate({ runs: 100_000, failed: 1, going: 0 })).toBe('0.1 %')
    expect(failureRate({ runs: 1_000, failed: 16, going: 0 })).toBe('1.6 %')
    expect(failureRate({ runs: 1_000, failed: 99, going: 0 })).toBe('9.9 %')
    expect(failureRate({ runs: 10_000, failed: 996, going: 0 })).toBe('10 %')
  })
  it('is not known if no run has ended', () => {
    expect(failureRate({ runs: 0, failed: 0, going: 0 })).toBe('–')
    expect(failureRate({ runs: 2, failed: 0, going: 2 })).toBe('–')
  })
})

describe('the median', () => {
  it('is the number in the middle, or halfway between the two in the middle', () => {
    expect(median([])).toBeUndefined()
    expect(median([7])).toBe(7)
    expect(median([10, 1, 2])).toBe(2)
    expect(median([10, 1, 2, 4])).toBe(3)
  })
})
