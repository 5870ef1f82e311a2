import { describe, expect, it } from 'vitest'
import { completionOf } from './tables'

const tables = [{ name: 'runs', columns: ['run_id', 'status', 'records'] }, { name: 'records', columns: ['run_id', 'severity', 'message'] }]
const at = (query: string): string[] | undefined => completionOf(query, query.length, tables)?.options

describe('completion', () => {
  it('offers columns of the tables of the query, then tables and keywords', () => {
    expect(at('SELECT 1 FROM runs WHERE st')).toEqual(['status'])
    expect(at('SELECT se')).toEqual(['severity', 'SELECT'])
    expect(at('SELECT * FROM re')).toEqual(['records'])
  })
  it('replaces the word before the caret', () => expect(completionOf('SELECT mes FROM records', 10, tables)).toEqual({ from: 7, options: ['message'] }))
  it('offers nothing within a text, in a comment, or for a whole word', () => {
    expect(["SELECT 'se", 'SELECT 1 -- se', 'SELECT severity', 'SELECT s'].map(at)).toEqual([undefined, undefined, undefined, undefined])
  })
})
