// The position of the scroll bar in a list of any length. Browsers limit the height of an element, so a long list uses
// a spacer of limited height: up to the limit, the scroll bar moves by rows; beyond it, it stands for a fraction of the
// list, and wheel, touch and keyboard move by rows.
import { sequenceAt } from './ansi'

/** Height of a row. Unit: pixels. */
export const ROW = 20

/** Maximum height of the spacer: half of the lowest limit of any browser. Unit: pixels. */
export const SPACER_MAX = 8_000_000

export interface Viewport {
  rows: number
  /** Unit: pixels. */
  height: number
}

export const spacerOf = (view: Viewport): number => Math.max(view.height, Math.min(view.rows * ROW, SPACER_MAX))

export const isScaled = (view: Viewport): boolean => view.rows * ROW > SPACER_MAX

/** The last row that can be at the top, as a fraction. */
export const topMax = (view: Viewport): number => Math.max(0, view.rows - view.height / ROW)

export const clampTop = (top: number, view: Viewport): number => Math.min(topMax(view), Math.max(0, top))

/** The row at the top for a position of the scroll bar. */
export function topOf(scrollTop: number, view: Viewport): number {
  const room = spacerOf(view) - view.height
  if (room <= 0) return 0
  return isScaled(view) ? (scrollTop / room) * topMax(view) : clampTop(scrollTop / ROW, view)
}

/** The position of the scroll bar for a row at the top. */
export function scrollTopOf(top: number, view: Viewport): number {
  const room = spacerOf(view) - view.height
  if (room <= 0) return 0
  return isScaled(view) ? (clampTop(top, view) / topMax(view)) * room : clampTop(top, view) * ROW
}

/** The rows of a list in which expanded items take additional rows. */
export class Rows {
  /** Expanded items in order, each with its number of additional rows. */
  #open: [item: number, rows: number][] = []

  constructor(open: Iterable<[number, number]> = []) {
    this.#open = [...open].sort((a, b) => a[0] - b[0])
  }

  count(items: number): number {
    return this.#open.reduce((sum, [item, rows]) => (item < items ? sum + rows : sum), items)
  }

  /** The first row of an item. */
  rowOf(item: number): number {
    return this.#open.reduce((sum, [open, rows]) => (open < item ? sum + rows : sum), item)
  }

  /** The item of a row, and the index of the row within it. */
  itemAt(row: number): { item: number; line: number } {
    let before = 0
    for (const [item, rows] of this.#open) {
      const first = item + before
      if (row <= first) break
      if (row <= first + rows) return { item, line: row - first }
      before += rows
    }
    return { item: row - before, line: 0 }
  }
}

/** The columns that a character takes: two for those of East Asian scripts and emoji, as in a terminal. */
const columnsOf = (code: number): number =>
  code >= 0x1100 && (code <= 0x115f || (code >= 0x2e80 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) || (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x1faff) || code >= 0x20000) ? 2 : 1

/**
 * Splits a line into pieces that are at most this wide; the first may have another width. Colours go on in the next piece.
 * Only the first `most` pieces are computed.
 */
export function pieces(line: string, columns: number, first = columns, most = Infinity): string[] {
  const text = line.replaceAll('\t', '    ')
  if (text.length <= first && /^[ -~]*$/.test(text)) return [text]
  const found: string[] = []
  let [start, used, room, colours, carried] = [0, 0, first, '', '']
  for (let at = 0; at < text.length; ) {
    const sequence = sequenceAt(text, at)
    if (sequence !== undefined) {
      // A reset ends all earlier sequences.
      colours = /\[0*m$/.test(sequence) ? '' : (colours + sequence).slice(-256)
      at += sequence.length
      continue
    }
    const code = text.codePointAt(at) ?? 0
    const width = columnsOf(code)
    if (used + width > room && used > 0) {
      found.push(carried + text.slice(start, at))
      if (found.length === most) return found
      ;[start, used, room, carried] = [at, 0, columns, colours]
    }
    used += width
    at += code > 0xffff ? 2 : 1
  }
  found.push(carried + text.slice(start))
  return found
}

/** Splits a text into lines of at most this number of columns. */
export const wrapped = (text: string, columns: number): string[] => text.split(/\r\n|\n|\r/).flatMap((line) => pieces(line, columns))
