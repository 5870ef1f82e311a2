import { describe, expect, it } from 'vitest'
import { ROW, Rows, SPACER_MAX, clampTop, pieces, scrollTopOf, spacerOf, topMax, topOf, wrapped } from './viewport'

describe('a short list', () => {
  const view = { rows: 1_000, height: 400 }
  it('scrolls by pixels', () => {
    expect(spacerOf(view)).toBe(1_000 * ROW)
    expect(topOf(3 * ROW + 5, view)).toBe(3.25)
    expect(scrollTopOf(3.25, view)).toBe(65)
  })
  it('stops at its last row', () => {
    expect(topMax(view)).toBe(980)
    expect(clampTop(5_000, view)).toBe(980)
  })
  it('fits when it is shorter than the window', () => {
    expect(topOf(0, { rows: 3, height: 400 })).toBe(0)
    expect(scrollTopOf(2, { rows: 3, height: 400 })).toBe(0)
  })
})

describe('a list of a thousand million rows', () => {
  const view = { rows: 1e9, height: 600 }
  it('has a spacer that a browser can draw', () => expect(spacerOf(view)).toBe(SPACER_MAX))
  it('reaches its first and its last row', () => {
    expect(topOf(0, view)).toBe(0)
    expect(topOf(SPACER_MAX - 600, view)).toBeCloseTo(1e9 - 30)
  })
  it('comes back to where it was', () => {
    for (const top of [0, 1, 499_999_999, 1e9 - 30]) expect(topOf(scrollTopOf(top, view), view)).toBeCloseTo(top, 0)
  })
})

describe('rows of open items', () => {
  const rows = new Rows([[7, 2], [2, 3]])
  it('are counted', () => expect(rows.count(10)).toBe(15))
  it('stand after their item', () => {
    expect([0, 2, 3, 5, 6, 10, 11, 12, 13].map((row) => rows.itemAt(row))).toEqual([
      { item: 0, line: 0 }, { item: 2, line: 0 }, { item: 2, line: 1 }, { item: 2, line: 3 }, { item: 3, line: 0 },
      { item: 7, line: 0 }, { item: 7, line: 1 }, { item: 7, line: 2 }, { item: 8, line: 0 },
    ])
  })
  it('name their first row', () => expect([0, 2, 3, 7, 8].map((item) => rows.rowOf(item))).toEqual([0, 2, 6, 10, 13]))
})

describe('wrapping', () => {
  it('keeps every character and every line', () => {
    expect(wrapped('abcdef\n\n\tx', 4)).toEqual(['abcd', 'ef', '', '    ', 'x'])
  })
  it('counts wide characters twice, and never splits one', () => {
    expect(wrapped('日本語', 4)).toEqual(['日本', '語'])
    expect(wrapped('a😀😀', 3)).toEqual(['a😀', '😀'])
  })
  it('has another width in the first row', () => expect(pieces('abcdefgh', 4, 2)).toEqual(['ab', 'cdef', 'gh']))
  it('stops after the pieces that are asked for', () => expect(pieces('x'.repeat(1_000_000), 4, 2, 2)).toEqual(['xx', 'xxxx']))
  it('goes on with the colour', () => {
    expect(wrapped('\u001b[31mabcd\u001b[0mef', 3)).toEqual(['\u001b[31mabc', '\u001b[31md\u001b[0mef'])
  })
})
