// Results of queries: as a table, as CSV, and as a plot.
import { answer, client, type Problem, type SavedQuery } from './api'

export interface Column {
  name: string
  type: string
}

export interface Result {
  columns: Column[]
  rows: unknown[][]
  truncated: boolean
}

/** Maximum number of rows that are read: more than a user reads, and few enough for a browser. */
export const ROWS_MAX = 10_000

/** Runs a query and reads the beginning of the result; the rest is cancelled. */
export async function runQuery(query: string, signal: AbortSignal): Promise<Result> {
  const stream = await answer(client.POST('/runlog/v1/sql', { body: { query, format: 'ndjson' }, parseAs: 'stream', signal }))
  const reader = stream?.pipeThrough(new TextDecoderStream()).getReader()
  const rows: Record<string, unknown>[] = []
  let rest = ''
  for (;;) {
    const part = await reader?.read()
    rest += part?.value ?? ''
    const lines = rest.split('\n')
    rest = part === undefined || part.done ? '' : (lines.pop() ?? '')
    for (const line of lines) if (line.trim() !== '') rows.push(JSON.parse(line) as Record<string, unknown>)
    if (rows.length > ROWS_MAX) void reader?.cancel()
    if (part === undefined || part.done || rows.length > ROWS_MAX) return resultOf(rows)
  }
}

/** Rows as a table. Values that are missing in a row are null. */
export function resultOf(rows: Record<string, unknown>[]): Result {
  const names = new Set(rows.flatMap((row) => Object.keys(row)))
  const shown = rows.slice(0, ROWS_MAX)
  const columns = [...names].map((name) => ({ name, type: typeOf(shown.map((row) => row[name])) }))
  return { columns, rows: shown.map((row) => columns.map((column) => row[column.name] ?? null)), truncated: rows.length > shown.length }
}

const isTimeText = (value: unknown): boolean => typeof value === 'string' && /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/.test(value)

function typeOf(values: unknown[]): string {
  const there = values.filter((value) => value !== null && value !== undefined)
  if (there.length > 0 && there.every((value) => typeof value === 'number')) return 'number'
  return there.length > 0 && there.every(isTimeText) ? 'time' : 'text'
}

/** The position of the error in a query, in characters. */
export function placeOf(problem: Problem, query: string): number | undefined {
  const found = /line (\d+), column (\d+)/.exec(`${problem.message} ${problem.detail ?? ''}`)
  if (!found) return undefined
  const lines = query.split('\n').slice(0, Number(found[1]) - 1)
  return lines.reduce((sum, line) => sum + line.length + 1, 0) + Number(found[2]) - 1
}

export const savedQueries = (): Promise<SavedQuery[]> => answer(client.GET('/runlog/v1/queries'))

export function cell(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** RFC 4180. */
export function csv(result: Result): string {
  const quoted = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
  const lines = [result.columns.map((column) => quoted(column.name)), ...result.rows.map((row) => row.map((value) => quoted(cell(value))))]
  return lines.map((line) => line.join(',')).join('\r\n') + '\r\n'
}

export const isNumeric = (column: Column): boolean => /int|float|double|decimal|number|bigint/i.test(column.type)
export const isTime = (column: Column): boolean => /timestamp|date|time/i.test(column.type)

export interface Plot {
  /** Times in seconds, numbers, or row numbers. */
  x: number[]
  xIsTime: boolean
  /** Name of the column on the x axis. */
  xName: string
  labels: string[] | undefined
  series: { name: string; values: (number | null)[] }[]
}

/** Series that differ more than this in size have an axis each. */
const SCALES_APART = 20

/** The series that need the axis on the right: they are much greater or smaller than the first one. */
export function onSecondAxis(series: Plot['series']): boolean[] {
  const size = (values: (number | null)[]): number => values.reduce<number>((most, value) => (value === null || !Number.isFinite(value) ? most : Math.max(most, Math.abs(value))), 0)
  const first = size(series[0]?.values ?? [])
  return series.map(({ values }) => {
    const own = size(values)
    return first > 0 && own > 0 && (own > first * SCALES_APART || own * SCALES_APART < first)
  })
}

/** Parses a time of a result, which is UTC even without a time zone. Unit: seconds since 1970. */
const utc = (text: string): number => Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) || text.length <= 10 ? text : `${text}Z`) / 1000

/** The plottable part of a result: the first time, number or text on the x axis, the numbers on the y axis. */
export function plotOf(result: Result, x: number, ys: number[]): Plot {
  const column = result.columns[x]
  const numbers = (at: number): (number | null)[] =>
    result.rows.map((row) => (row[at] === null || row[at] === undefined || row[at] === '' ? null : Number(row[at])))
  const timed = column !== undefined && isTime(column)
  const order = result.rows.map((_, number) => number)
  const raw = result.rows.map((row, number) => {
    if (timed) return typeof row[x] === 'number' ? (row[x] as number) / 1000 : utc(String(row[x]))
    return column && isNumeric(column) ? Number(row[x]) : number
  })
  const isOrdered = timed || (column !== undefined && isNumeric(column))
  if (isOrdered) order.sort((a, b) => (raw[a] ?? 0) - (raw[b] ?? 0))
  return {
    x: order.map((number) => raw[number] ?? 0),
    xIsTime: timed,
    xName: column?.name ?? '',
    labels: isOrdered ? undefined : result.rows.map((row) => cell(row[x])),
    series: ys.map((y) => {
      const values = numbers(y)
      return { name: result.columns[y]?.name ?? '', values: order.map((number) => values[number] ?? null) }
    }),
  }
}
