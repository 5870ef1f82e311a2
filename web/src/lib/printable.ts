// Texts of logs as a page may show them. A log may hold characters that change the order of what is read, that break lines
// or that no browser shows: they are shown as text, in the notation that the command line uses: `\x1b`, `\u{202e}`.

/** What does something to the text around it rather than being shown; line feeds and tabs are among them. */
// eslint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u206f]/g
/** The same as JSON holds it, line feeds and tabs left out: a quick look over an answer. */
const inJson = /\\u00[0189]|\\[bfr]|\\u20[26]|[\u007f-\u009f\u2028-\u202e\u2066-\u206f]/i

function escaped(letter: string): string {
  if (letter === '\n' || letter === '\t') return letter
  if (letter === '\r') return '\\r'
  const code = letter.charCodeAt(0).toString(16)
  return letter < '\u0080' ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`
}

/** Of a line that carriage returns paint over again and again, as progress bars do, its end, after a `\r` that says so. */
function lastState(line: string): string {
  const states = line.replace(/\r+$/, '').split('\r')
  return (states.length > 1 ? '\\r' : '') + (states.at(-1) ?? '')
}

/** A text of any number of lines as it is shown. */
export function printable(text: string): string {
  const lines = text.includes('\r') ? text.split('\n').map(lastState).join('\n') : text
  return lines.replace(control, escaped)
}

function shown(value: unknown): unknown {
  if (typeof value === 'string') return printable(value)
  if (Array.isArray(value)) return value.map(shown)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [printable(name), shown(inner)]))
}

/** An answer in JSON with every text as it is shown. */
export function printableJson(json: string): string {
  if (!inJson.test(json)) return json
  try {
    return JSON.stringify(shown(JSON.parse(json)))
  } catch {
    // Whoever reads it says that it is no JSON.
    return json
  }
}
