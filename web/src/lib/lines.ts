// Lines of a log: their addresses, and their text as it is copied.
import { withoutColours } from './ansi'
import type { PlacedRecord } from './api'

/** Lines from `first` to `last`, inclusive, counted from 0. */
export interface LineRange {
  first: number
  last: number
}

/** The lines that an address names: `#7`, `#L7` or `#L7-L20`, counted from 1. */
export function rangeOf(hash: string): LineRange | undefined {
  const found = /^#L?(\d{1,15})(?:-L?(\d{1,15}))?$/i.exec(hash)
  if (!found) return undefined
  const [a, b] = [Number(found[1]), Number(found[2] ?? found[1])]
  return Math.min(a, b) < 1 ? undefined : { first: Math.min(a, b) - 1, last: Math.max(a, b) - 1 }
}

export const hashOf = ({ first, last }: LineRange): string => (first === last ? `#${first + 1}` : `#L${first + 1}-L${last + 1}`)

/** Most lines that are copied at once. */
export const COPIED_MAX = 5_000

/** A line as in a download as text: time in UTC, severity, kind, component, message. */
export function plainLine({ record }: PlacedRecord): string {
  const time = new Date(record.logTimestamp).toISOString()
  const fields = [time, (record.severity ?? '').padEnd(5), record.logType ?? '', record.bundleName ?? '', plainMessage(record.logMessage)]
  return fields.join(' | ')
}

export const plainMessage = (message: string | null | undefined): string => withoutColours(message ?? '').trimEnd()

/** The first line of a message that is not blank, and the lines after it. */
export function splitMessage(message: string | null | undefined): { first: string; rest: string[] } {
  const lines = (message ?? '').trimEnd().split('\n')
  const at = lines.findIndex((line) => line.trim() !== '')
  return at < 0 ? { first: '', rest: [] } : { first: lines[at] ?? '', rest: lines.slice(at + 1) }
}

/** Most characters of a message that is formatted as JSON. */
const JSON_MAX = 100_000

/** A message that is a JSON object or array, with one field per line. Numbers keep their digits, because nothing is parsed into them. */
export function formattedJson(message: string | null | undefined): string | undefined {
  const text = (message ?? '').trim()
  if (!/^[[{]/.test(text) || text.length > JSON_MAX || text.includes('\n')) return undefined
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Object.keys(value).length === 0) return undefined
  } catch {
    return undefined
  }
  let out = ''
  let depth = 0
  let isInText = false
  const line = (): string => `\n${'  '.repeat(depth)}`
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at] ?? ''
    if (isInText) {
      out += letter
      if (letter === '\\') out += text[(at += 1)] ?? ''
      else if (letter === '"') isInText = false
    } else if (letter === '"') {
      isInText = true
      out += letter
    } else if (letter === '{' || letter === '[') {
      const close = /^\s*[}\]]/.exec(text.slice(at + 1, at + 40))
      if (close) {
        out += letter + (letter === '{' ? '}' : ']')
        at += close[0].length
      } else {
        depth += 1
        out += letter + line()
      }
    } else if (letter === '}' || letter === ']') {
      depth -= 1
      out += line() + letter
    } else if (letter === ',') out += letter + line()
    else if (letter === ':') out += ': '
    else if (!/\s/.test(letter)) out += letter
  }
  return out
}
