// The lines of a message that show why it was found.
import { marked } from './marks'

export interface ExcerptLine {
  text: string
  isMatch: boolean
  /** True if lines before it are left out. */
  isAfterGap: boolean
}

/** Most lines of an excerpt after the first. */
const LINES_MAX = 3
/** Characters before a match in a long line. */
const BEFORE = 80
const WIDE = 400

/** The first line of a message and its first lines with one of the words, each cut so that the word is in sight. */
export function excerpt(message: string, words: string[]): { lines: ExcerptLine[]; hasMatch: boolean } {
  const all = message.split('\n').map((text, number) => ({ text, number })).filter(({ text }) => text.trim() !== '')
  const matching = all.filter(({ text }) => marked(text, words).some((part) => part.marked))
  const chosen = [...new Set([...all.slice(0, 1), ...matching.slice(0, LINES_MAX)])].sort((a, b) => a.number - b.number)
  const lines = chosen.map((line, at) => ({
    text: around(line.text, words),
    isMatch: matching.includes(line),
    isAfterGap: at > 0 && all.indexOf(line) > all.indexOf(chosen[at - 1] ?? line) + 1,
  }))
  return { lines, hasMatch: matching.length > 0 }
}

function around(text: string, words: string[]): string {
  if (text.length <= WIDE) return text
  const parts = marked(text, words)
  const at = parts[0]?.marked || parts.length === 1 ? 0 : (parts[0]?.text.length ?? 0)
  const start = at > WIDE - BEFORE ? at - BEFORE : 0
  return `${start > 0 ? '…' : ''}${text.slice(start, start + WIDE)}${start + WIDE < text.length ? '…' : ''}`
}
