// Colours of terminals in texts of logs (SGR sequences, such as `ESC [ 31 m`). Only the colour of text and its weight are
// shown; a log cannot hide text, because backgrounds, inverted and concealed text are ignored.

/** A sequence that sets colours or weight. */
export const SGR = '\u001b\\[[0-9;:]*m'
const sequences = new RegExp(SGR, 'g')
/** The same as a part of a text. */
const atStart = new RegExp(`^${SGR}`)

export interface Styled {
  text: string
  /** CSS classes: `ansi-red`, `ansi-bold` … */
  style: string
}

const colours = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white']

interface Style {
  colour: string
  isBold: boolean
  isFaint: boolean
  isUnderlined: boolean
}
const plainStyle: Style = { colour: '', isBold: false, isFaint: false, isUnderlined: false }

export const hasColours = (text: string): boolean => text.includes('\u001b[')

/** A text without its colours. */
export const withoutColours = (text: string): string => (hasColours(text) ? text.replace(sequences, '') : text)

/** The nearest of eight colours. */
function nearest(red: number, green: number, blue: number): string {
  const most = Math.max(red, green, blue)
  if (most < 64) return 'black'
  const bit = (part: number): number => (part > most * 0.6 ? 1 : 0)
  return colours[bit(red) + 2 * bit(green) + 4 * bit(blue)] ?? ''
}

/** The name of a colour of the table of 256. */
function ofTable(number: number): string {
  if (number < 16) return colours[number % 8] ?? ''
  if (number >= 232) return number < 240 ? 'black' : 'white'
  const cube = number - 16
  return nearest(Math.floor(cube / 36) * 51, (Math.floor(cube / 6) % 6) * 51, (cube % 6) * 51)
}

function changed(style: Style, sequence: string): Style {
  const numbers = sequence.slice(2, -1).split(/[;:]/).map((part) => Number(part))
  let now = style
  for (let at = 0; at < numbers.length; at += 1) {
    const number = numbers[at] ?? 0
    if (number === 0) now = plainStyle
    else if (number === 1) now = { ...now, isBold: true }
    else if (number === 2) now = { ...now, isFaint: true }
    else if (number === 22) now = { ...now, isBold: false, isFaint: false }
    else if (number === 4) now = { ...now, isUnderlined: true }
    else if (number === 24) now = { ...now, isUnderlined: false }
    else if (number >= 30 && number <= 37) now = { ...now, colour: colours[number - 30] ?? '' }
    else if (number >= 90 && number <= 97) now = { ...now, colour: colours[number - 90] ?? '' }
    else if (number === 39) now = { ...now, colour: '' }
    else if (number === 38 || number === 48) {
      const isTable = numbers[at + 1] === 5
      const colour = isTable ? ofTable(numbers[at + 2] ?? 0) : nearest(numbers[at + 2] ?? 0, numbers[at + 3] ?? 0, numbers[at + 4] ?? 0)
      if (number === 38) now = { ...now, colour }
      at += isTable ? 2 : 4
    }
  }
  return now
}

function styleOf(style: Style): string {
  const names = [style.colour && `ansi-${style.colour}`, style.isBold && 'ansi-bold', style.isFaint && 'ansi-faint', style.isUnderlined && 'ansi-underlined']
  return names.filter(Boolean).join(' ')
}

/** The parts of a text with their styles. */
export function styled(text: string): Styled[] {
  if (!hasColours(text)) return [{ text, style: '' }]
  const parts: Styled[] = []
  let style = plainStyle
  let from = 0
  for (const found of text.matchAll(sequences)) {
    if (found.index > from) parts.push({ text: text.slice(from, found.index), style: styleOf(style) })
    style = changed(style, found[0])
    from = found.index + found[0].length
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from), style: styleOf(style) })
  return parts
}

/** The sequence at a position of a text, if there is one. */
export function sequenceAt(text: string, at: number): string | undefined {
  if (text[at] !== '\u001b') return undefined
  return atStart.exec(text.slice(at, at + 64))?.[0]
}
