import { afterEach, describe, expect, it } from 'vitest'
import { axisLabels, fitting } from './axis'
import { zone } from './zone.svelte'

describe('a time axis', () => {
  afterEach(() => {
    zone.choice = 'local'
  })
  it('has labels at round times', () => {
    zone.choice = 'utc'
    const at = Date.parse('2026-11-30T07:50:12Z')
    expect(axisLabels(at, at + 3_600_000, 4).map((label) => label.text)).toEqual(['08:00', '08:15', '08:30', '08:45'])
    expect(axisLabels(at, at + 86_400_000, 6).map((label) => label.text)).toEqual(['11-30 12:00', '18:00', '12-01 00:00', '06:00'])
    expect(axisLabels(at, at + 10 * 86_400_000, 6).map((label) => label.text)).toEqual(['2026-12-01', '2026-12-03', '2026-12-05', '2026-12-07', '2026-12-09'])
  })
  it('has no label that would be cut at its end', () => {
    const labels = [{ at: 0.5, text: '11-30 12:00' }, { at: 0.9, text: '12:00' }, { at: 0.91, text: '12-01 00:00' }]
    expect(fitting(labels, 400).map((label) => label.at)).toEqual([0.5, 0.9])
  })
  it('has none without a span', () => expect(axisLabels(5, 5, 4)).toEqual([]))
})
