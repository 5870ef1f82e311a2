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
/** Most characters of a line. */
const WIDE = 400

/** The first line of a message and its first lines with one of the words, each cut to `wide` characters with the word in sight. */
export function excerpt(message: string, words: string[], wide = WIDE): { lines: ExcerptLine[]; hasMatch: boolean } {
  const all = message.split('\n').map((text, number) => ({ text, number })).filter(({ text }) => text.trim() !== '')
  const matching = all.filter(({ text }) => marked(text, words).some((part) => part.marked))
  const chosen = [...new Set([...all.slice(0, 1), ...matching.slice(0, LINES_MAX)])].sort((a, b) => a.number - b.number)
  const lines = chosen.map((line, at) => ({
    text: around(line.text, words, wide),
    isMatch: matching.includes(line),
    isAfterGap: at > 0 && all.indexOf(line) > all.indexOf(chosen[at - 1] ?? line) + 1,
  }))
  return { lines, hasMatch: matching.length > 0 }
}

/** The lines of a message that match, if its first line does not; each without indentation. */
export function matchesBelow(message: string, words: string[], wide: number): string[] {
  if (words.every((word) => word === '')) return []
  const { lines } = excerpt(message.replaceAll('\t', ' '), words, wide)
  return lines[0]?.isMatch ? [] : lines.filter((line) => line.isMatch).map((line) => line.text.trim())
}

/** Characters of a cause that are compared: the log may say more than its headline, and the headline be cut. */
const CAUSE_COMPARED = 60

/** The line of a message that names a cause, if that is below its first line. */
export function causeBelow(message: string, cause: string, wide: number): string | undefined {
  const start = (cause.split(/[…\n]/)[0] ?? '').trim().slice(0, CAUSE_COMPARED)
  return start === '' ? undefined : matchesBelow(message, [start], wide)[0]
}

function around(text: string, words: string[], wide: number): string {
  if (text.length <= wide) return text
  const parts = marked(text, words)
  const at = parts[0]?.marked || parts.length === 1 ? 0 : (parts[0]?.text.length ?? 0)
  // The ellipses are part of the width.
  const shown = Math.max(1, wide - 2)
  const before = Math.floor(shown / 5)
  const start = at > shown - before ? Math.min(at - before, text.length - shown) : 0
  return `${start > 0 ? '…' : ''}${text.slice(start, start + shown)}${start + shown < text.length ? '…' : ''}`
}
