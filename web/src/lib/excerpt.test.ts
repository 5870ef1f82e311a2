import { describe, expect, it } from 'vitest'
import { excerpt } from './excerpt'

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
