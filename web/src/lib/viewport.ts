// The position of the scroll bar in a list of any length. Browsers limit the height of an element, so a long list uses
// a spacer of limited height: up to the limit, the scroll bar moves by rows; beyond it, it stands for a fraction of the
// list, and wheel, touch and keyboard move by rows.

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

/** Splits a text into lines of at most this number of characters. */
export function wrapped(text: string, columns: number): string[] {
  const lines: string[] = []
  for (const line of text.split(/\r\n|\n|\r/)) {
    const plain = line.replaceAll('\t', '    ')
    if (plain === '') lines.push('')
    for (let start = 0; start < plain.length; start += columns) lines.push(plain.slice(start, start + columns))
  }
  return lines
}
