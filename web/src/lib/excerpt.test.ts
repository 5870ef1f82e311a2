import { describe, expect, it } from 'vitest'
import { causeBelow, excerpt, matchesBelow } from './excerpt'

describe('an excerpt', () => {
  it('shows the first line and those that match', () => {
    expect(excerpt('could not write\n\tat x\nCaused by: Refused', ['refused'])).toEqual({
      hasMatch: true,
      lines: [{ text: 'could not write', isMatch: false, isAfterGap: false }, { text: 'Caused by: Refused', isMatch: true, isAfterGap: true }],
    })
  })
  it('shows the match of a long line', () => {
    const { lines } = excerpt(`${'x'.repeat(2000)} needle ${'y'.repeat(2000)}`, ['needle'])
    expect(lines).toHaveLength(1)
    expect(lines[0]?.text).toMatch(/^…x+ needle y+…$/)
  })
  it('shows the first line if the words are elsewhere', () => {
    expect(excerpt('a\nb', ['z'])).toEqual({ hasMatch: false, lines: [{ text: 'a', isMatch: false, isAfterGap: false }] })
  })
})

describe('the matches below the first line', () => {
  const trace = 'could not write\n\tat x\nCaused by: Refused by host-7\n\t... 3 more\nSuppressed: Refused'
  it('are the lines of a stack trace that match', () => {
    expect(matchesBelow(trace, ['refused'], 80)).toEqual(['Caused by: Refused by host-7', 'Suppressed: Refused'])
    expect(matchesBelow(trace, ['at x'], 80)).toEqual(['at x'])
  })
  it('are none if the first line matches, nothing does, or nothing is sought', () => {
    expect(matchesBelow(trace, ['could', 'refused'], 80)).toEqual([])
    expect(matchesBelow(trace, ['absent'], 80)).toEqual([])
    expect(matchesBelow(trace, [], 80)).toEqual([])
    expect(matchesBelow(trace, [''], 80)).toEqual([])
  })
  it('are cut to the width with the match in sight', () => {
    for (const wide of [20, 40, 100]) {
      const [line = ''] = matchesBelow(`first\n${'x'.repeat(300)} needle ${'y'.repeat(300)}`, ['needle'], wide)
      expect(line).toContain('needle')
      expect(line.length).toBeLessThanOrEqual(wide)
    }
    const [end = ''] = matchesBelow(`first\n${'x'.repeat(300)} needle`, ['needle'], 40)
    expect(end).toMatch(/needle$/)
  })
})

describe('the line that names a cause', () => {
  const message = 'Exception in component tDBOutput_1\n\tat x\nCaused by: java.sql.SQLException: duplicate key "payments_pkey" (4711)\n'
  it('is found below the first line, whatever is cut from the headline', () => {
    for (const cause of ['java.sql.SQLException: duplicate key', 'java.sql.SQLException: duplicate k…', 'java.sql.SQLException: duplicate key\nmore'])
      expect(causeBelow(message, cause, 200)).toBe('Caused by: java.sql.SQLException: duplicate key "payments_pkey" (4711)')
  })
  it('is none if the first line names it, or nothing does', () => {
    for (const cause of ['Exception in component', 'disk full', '', '…']) expect(causeBelow(message, cause, 200)).toBeUndefined()
  })
})
