// Splits a SQL query into coloured parts. It need not be valid: the user is still typing it.

export type SqlKind = 'keyword' | 'function' | 'name' | 'text' | 'number' | 'comment' | 'word' | 'plain'

export interface SqlToken {
  kind: SqlKind
  text: string
}

const keywords = new Set(
  ('ALL AND ANTI ANY AS ASC BETWEEN BOTH BY CASE CAST CROSS CURRENT DESC DESCRIBE DISTINCT ELSE END ESCAPE EXCEPT EXISTS EXPLAIN EXTRACT FALSE FETCH FILTER FIRST FOLLOWING FOR FROM FULL ' +
    'GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL INTO IS JOIN LAST LATERAL LEFT LIKE LIMIT NATURAL NOT NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PRECEDING QUALIFY RANGE RECURSIVE ' +
    'RIGHT ROW ROWS SELECT SEMI SHOW SIMILAR TABLE THEN TIMESTAMP TO TRUE UNBOUNDED UNION UNNEST USING VALUES WHEN WHERE WINDOW WITH WITHIN').split(' '),
)

/** A comment, a quoted text or name, a number, a word, or one other character; all but the last may lack their end. */
const token = /(--[^\n]*)|(\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$))|(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|([\p{L}_][\p{L}\p{N}_$]*)|([^])/gu

/** Longer queries are not coloured: that takes place with every key. Unit: characters. */
const COLOURED_MAX = 20_000

/**
 * The parts of a query, which together are the query. `names` are those of tables and columns, in lower case: they only
 * decide the kind of a part, not where one begins, so that no part moves when they become known.
 */
export function sqlTokens(query: string, names: ReadonlySet<string>): SqlToken[] {
  if (query.length > COLOURED_MAX) return [{ kind: 'plain', text: query }]
  const tokens: SqlToken[] = []
  const add = (kind: SqlKind, text: string): void => {
    const last = tokens.at(-1)
    if (last && kind === 'plain' && last.kind === kind) last.text += text
    else tokens.push({ kind, text })
  }
  for (const match of query.matchAll(token)) {
    const [text, line, block, quoted, name, number, word] = match
    if (line !== undefined || block !== undefined) add('comment', text)
    else if (quoted !== undefined) add('text', text)
    else if (name !== undefined) add('name', text)
    else if (number !== undefined) add('number', text)
    else if (word === undefined) add('plain', text)
    else if (keywords.has(word.toUpperCase())) add('keyword', text)
    else if (/^\s*\(/.test(query.slice(match.index + text.length, match.index + text.length + 20))) add('function', text)
    else add(names.has(word.toLowerCase()) ? 'name' : 'word', text)
  }
  return tokens
}
