import { describe, expect, it } from 'vitest'
import { sqlTokens } from './sql-tokens'

const names = new Set(['runs', 'status'])
const kinds = (query: string): string[] => sqlTokens(query, names).filter(({ text }) => text.trim() !== '').map(({ kind, text }) => `${kind} ${text.trim()}`)

describe('the colours of a query', () => {
  it('tell keywords, functions, names, texts, numbers and comments apart', () => {
    expect(kinds("SELECT count(*), status FROM runs -- all\nWHERE status = 'it''s' AND x > 1.5e3")).toEqual([
      'keyword SELECT', 'function count', 'plain (*),', 'name status', 'keyword FROM', 'name runs', 'comment -- all', 'keyword WHERE', 'name status', 'plain =', "text 'it''s'", 'keyword AND',
      'word x', 'plain >', 'number 1.5e3',
    ])
  })
  it('leave every character where it is, whatever is open or odd', () => {
    for (const query of ["SELECT 'open", '/* open\n more', '"name', 'a$b ☃ 😀 \t;\n\n', '', "'';--", 'éß from'])
      expect(sqlTokens(query, names).map(({ text }) => text).join('')).toBe(query)
  })
  it('do not take a word within a text or a comment for a keyword', () => {
    expect(kinds("'FROM'")).toEqual(["text 'FROM'"])
    expect(kinds('/* FROM */')).toEqual(['comment /* FROM */'])
    expect(kinds('from_time')).toEqual(['word from_time'])
  })
  it('are in the same parts before the names of tables are known', () => {
    const query = 'SELECT status, other FROM runs'
    expect(sqlTokens(query, new Set()).map(({ text }) => text)).toEqual(sqlTokens(query, names).map(({ text }) => text))
  })
  it('keep thousands of open quotes whole, and leave very long queries uncoloured', () => {
    const quotes = sqlTokens(`${'"'.repeat(9_999)}${"'".repeat(9_999)}`, names)
    expect(quotes.map(({ text }) => text).join('')).toHaveLength(19_998)
    expect(sqlTokens('x'.repeat(30_000), names)).toHaveLength(1)
  })
})
