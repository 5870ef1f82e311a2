import { describe, expect, it } from 'vitest'
import { sentence, withNames } from './names'

const known = [{ id: 'b'.repeat(24), name: 'data engineering' }]

describe('a text of the service', () => {
  it('names a workspace that the user knows', () =>
    expect(withNames(`kim lacks the right Author on workspace ${'b'.repeat(24)}`, known)).toBe('kim lacks the right Author on the workspace data engineering'))
  it('keeps IDs of others, and those in commands', () => {
    for (const text of [`on workspace ${'c'.repeat(24)}`, `grant --workspace ${'b'.repeat(24)} author`, 'no workspace']) expect(withNames(text, known)).toBe(text)
  })
  it('begins with a capital letter', () => expect(['a manager can', '', '1 run'].map(sentence)).toEqual(['A manager can', '', '1 run']))
})
