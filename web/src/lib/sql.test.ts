import { describe, expect, it } from 'vitest'
import { Problem } from './api'
import { csv, onSecondAxis, placeOf, plotOf, resultOf, type Result } from './sql'

const result: Result = {
  columns: [{ name: 'day', type: 'Timestamp(Millisecond, None)' }, { name: 'runs', type: 'Int64' }, { name: 'task, name', type: 'Utf8' }],
  rows: [['2026-01-02T00:00:00Z', 5, 'a "b"'], ['2026-01-01T00:00:00Z', null, null]],
  truncated: false,
}

describe('a result', () => {
  it('is CSV that a spreadsheet reads', () => {
    expect(csv(result)).toBe('day,runs,"task, name"\r\n2026-01-02T00:00:00Z,5,"a ""b"""\r\n2026-01-01T00:00:00Z,,\r\n')
  })
  it('is drawn over its times in their order', () => {
    const plot = plotOf(result, 0, [1])
    expect(plot.x).toEqual([Date.parse('2026-01-01') / 1000, Date.parse('2026-01-02') / 1000])
    expect(plot.series[0]?.values).toEqual([null, 5])
  })
  it('is drawn over its texts as they come', () => {
    const plot = plotOf(result, 2, [1])
    expect([plot.x, plot.labels]).toEqual([[0, 1], ['a "b"', '']])
  })
})

describe('rows', () => {
  it('become a table, with nothing where a row has nothing', () => {
    const found = resultOf([{ at: '2026-01-01T00:00:00Z', n: 1 }, { at: '2026-01-02T00:00:00Z', word: 'x' }])
    expect(found.columns).toEqual([{ name: 'at', type: 'time' }, { name: 'n', type: 'number' }, { name: 'word', type: 'text' }])
    expect(found.rows[1]).toEqual(['2026-01-02T00:00:00Z', null, 'x'])
  })
})

describe('the place of a mistake', () => {
  it('is found from its line and column', () => {
    const problem = new Problem('wrong', 'no such column', 'line 2, column 3: oops')
    expect(placeOf(problem, 'SELECT\n  oops')).toBe(9)
    expect(placeOf(new Problem('wrong', 'no'), 'SELECT')).toBeUndefined()
  })
})

describe('a second axis', () => {
  const of = (...rows: (number | null)[][]): boolean[] => onSecondAxis(rows.map((values, at) => ({ name: String(at), values })))
  it('is for series that would be a flat line beside the first', () => {
    expect(of([1, 2], [30, 41], [1, 3], [0.01, 0.02])).toEqual([false, true, false, true])
  })
  it('is not for series without values, or of the same size', () => {
    expect(of([0, null], [5, 6])).toEqual([false, false])
    expect(of([5], [null, 0], [-90])).toEqual([false, false, false])
    expect(of()).toEqual([])
  })
})
