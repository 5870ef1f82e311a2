import { describe, expect, it } from 'vitest'
import { findOf, marked, textsOf, textsOfFind } from './marks'

describe('marks', () => {
  it('stand where the text is, in any case', () => {
    expect(marked('Read row, read ROW', ['read'])).toEqual([
      { text: 'Read', marked: true }, { text: ' row, ', marked: false }, { text: 'read', marked: true }, { text: ' ROW', marked: false },
    ])
  })
  it('are none where nothing is wanted', () => expect(marked('abc', [])).toEqual([{ text: 'abc', marked: false }]))
  it('give the text back whole', () => {
    const text = 'İstanbul ERROR İ error'
    expect(marked(text, ['error']).map((part) => part.text).join('')).toBe(text)
  })
})

describe('the texts of a pattern', () => {
  it('are what stands between its blanks', () => {
    expect(textsOf('read <number> rows from <path>')).toEqual(['read ', ' rows from'])
    expect(textsOf('load <number> failed | java.io.IOException')).toEqual(['load ', ' failed'])
    expect(textsOf('user <*> is known')).toEqual(['user ', ' is known'])
  })
})

describe('what is looked for in a log', () => {
  it('is a text as it stands, or several phrases in quotes, such as the words of a search', () => {
    expect([textsOfFind('ROW 1999'), textsOfFind('say "no"'), textsOfFind('"a b" "c"'), textsOfFind('')]).toEqual([['ROW 1999'], ['say "no"'], ['a b', 'c'], []])
    for (const texts of [[], ['row 1'], ['out of memory', 'heap']]) expect(textsOfFind(findOf(texts))).toEqual(texts)
  })
})
