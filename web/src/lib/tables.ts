// The tables of SQL queries and their columns, for the list and for completion. The source is `information_schema`.
import { runQuery } from './sql'

export interface Table {
  name: string
  columns: string[]
}

const QUERY = `SELECT table_name, column_name FROM information_schema.columns
  WHERE table_schema = 'archive' ORDER BY table_name, ordinal_position`

export async function loadTables(signal: AbortSignal): Promise<Table[]> {
  const { rows } = await runQuery(QUERY, signal)
  const tables = new Map<string, string[]>()
  for (const [table, column] of rows) {
    const known = tables.get(String(table))
    if (known) known.push(String(column))
    else tables.set(String(table), [String(column)])
  }
  return [...tables].map(([name, columns]) => ({ name, columns }))
}

const keywords = [
  'SELECT', 'FROM', 'WHERE', 'GROUP BY', 'ORDER BY', 'LIMIT', 'HAVING', 'JOIN', 'LEFT JOIN', 'ON', 'AND', 'OR', 'NOT', 'IN', 'BETWEEN', 'LIKE', 'ILIKE',
  'IS NULL', 'IS NOT NULL', 'DESC', 'DISTINCT', 'CASE', 'WHEN', 'THEN', 'ELSE', 'END', 'INTERVAL', 'WITH', 'UNION ALL', 'count(*)', 'sum(', 'avg(', 'min(', 'max(',
  'date_trunc(', 'now()', 'contains(', 'approx_percentile_cont(',
]

export interface Completion {
  /** Start of the word that is replaced. */
  from: number
  options: string[]
}

/** Most options that are offered. */
const OPTIONS_MAX = 8

/** What can complete the word before the caret: columns of the tables in the query first, then tables and keywords. */
export function completionOf(query: string, caret: number, tables: Table[]): Completion | undefined {
  const word = /[A-Za-z_][A-Za-z0-9_]*$/.exec(query.slice(0, caret))?.[0] ?? ''
  if (word.length < 2 || isInText(query.slice(0, caret))) return undefined
  const used = tables.filter((table) => new RegExp(`\\b${table.name}\\b`, 'i').test(query))
  const columns = (used.length > 0 ? used : tables).flatMap((table) => table.columns)
  const all = [...new Set([...columns, ...tables.map((table) => table.name), ...keywords])]
  const wanted = word.toLowerCase()
  const options = all.filter((one) => one.toLowerCase().startsWith(wanted) && one.toLowerCase() !== wanted).slice(0, OPTIONS_MAX)
  return options.length > 0 ? { from: caret - word.length, options } : undefined
}

/** True within a quoted text or a comment. */
function isInText(before: string): boolean {
  const line = before.slice(before.lastIndexOf('\n') + 1)
  const outside = before.replaceAll(/'[^']*'/g, '')
  return outside.includes("'") || /--/.test(line.replaceAll(/'[^']*'/g, ''))
}
