// Makes texts of logs safe to show. A log may contain characters that change the order of text, break lines
// or are invisible: they are shown in the notation of the command line: `\x1b`, `\u{202e}`.
import { SGR, hasColours } from './ansi'

/** Characters that affect the text around them instead of being shown, including line feeds and tabs. */
// eslint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u206f]/g
/** The same in JSON, without line feeds and tabs: a quick check of a response. */
const inJson = /\\u00[0189]|\\[bfr]|\\u20[26]|[\u007f-\u009f\u2028-\u202e\u2066-\u206f]/i

function escaped(letter: string): string {
  if (letter === '\n' || letter === '\t') return letter
  if (letter === '\r') return '\\r'
  const code = letter.charCodeAt(0).toString(16)
  return letter < '\u0080' ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`
}

/** The last part of a line that is overwritten with carriage returns, like a progress bar, after `\r` as a mark. */
function lastState(line: string): string {
  const states = line.split('\r')
  const last = states.findLastIndex((state) => state !== '')
  return (last > 0 ? '\\r' : '') + (states[last] ?? '')
}

/** A printable form of a text with any number of lines. */
export function printable(text: string): string {
  const lines = text.includes('\r') ? text.split('\n').map(lastState).join('\n') : text
  return lines.replace(control, escaped)
}

const colours = new RegExp(`(${SGR})`)

/** The same, but the colours of terminals are kept. */
function printableWithColours(text: string): string {
  if (!hasColours(text)) return printable(text)
  // A carriage return overwrites a line with its colours.
  const lines = text.includes('\r') ? text.split('\n').map(lastState).join('\n') : text
  return lines.split(colours).map((part, number) => (number % 2 === 1 ? part : part.replace(control, escaped))).join('')
}

function shown(value: unknown, isColoured: boolean, name = ''): unknown {
  if (typeof value === 'string') return isColoured && name === 'logMessage' ? printableWithColours(value) : printable(value)
  if (Array.isArray(value)) return value.map((inner) => shown(inner, isColoured))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([field, inner]) => [printable(field), shown(inner, isColoured, field)]))
}

/** A JSON response in which every text is printable. With `colours`, messages of logs keep the colours of terminals. */
export function printableJson(json: string, { colours: isColoured = false } = {}): string {
  if (!inJson.test(json)) return json
  try {
    return JSON.stringify(shown(JSON.parse(json), isColoured))
  } catch {
    // The caller reports that it is not JSON.
    return json
  }
}
