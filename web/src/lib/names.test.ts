import { describe, expect, it } from 'vitest'
import { sentence, shortName, titleOf, withNames } from './names'

const known = [{ id: 'b'.repeat(24), name: 'data engineering' }]

describe('a text of the service', () => {
  it('names a workspace that the user knows', () =>
    expect(withNames(`kim lacks the right Author on workspace ${'b'.repeat(24)}`, known)).toBe('kim lacks the right Author on the workspace data engineering'))
  it('keeps IDs of others, and those in commands', () => {
    for (const text of [`on workspace ${'c'.repeat(24)}`, `grant --workspace ${'b'.repeat(24)} author`, 'no workspace']) expect(withNames(text, known)).toBe(text)
  })
  it('begins with a capital letter', () => expect(['a manager can', '', '1 run'].map(sentence)).toEqual(['A manager can', '', '1 run']))
})

describe('a title of a problem', () => {
  it('has an ellipsis if the service cut it', () => {
    expect(titleOf({ title: 'disk <path> is full' })).toBe('disk <path> is full')
    expect(titleOf({ title: '𝕏'.repeat(200) })).toBe(`${'𝕏'.repeat(200)}…`)
  })
})

describe('a long dotted name', () => {
  it('is shown by its end', () => {
    expect(shortName('demo.tMap_1', 20)).toBe('demo.tMap_1')
    expect(shortName('org.talend.components.db.tMap_1', 20)).toBe('…db.tMap_1')
    expect(shortName('a.Name_that_is_longer_than_all_of_it', 20)).toBe('…Name_that_is_longer_than_all_of_it')
    expect(shortName('no_dots_in_this_long_name', 20)).toBe('no_dots_in_this_long_name')
  })
})
