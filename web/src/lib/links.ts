// Links in texts of logs. Only addresses of the web are links: a log may contain anything.
import { withoutColours } from './ansi'
import { pieces } from './viewport'

export interface Link {
  /** Position of its first character in the text, and that after its last one. */
  from: number
  to: number
  href: string
}

/**
 * An address up to white space, quotes, brackets that no address contains, and characters that are not visible or change the
 * order of text. A backslash ends it, too: hidden characters are shown in notations that begin with one.
 */
const address = /\bhttps?:\/\/[^\s"'`<>{}|\\^…\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3000-\u303f\ufeff\uff00-\uffef]+/gi
/** What ends a sentence or an emphasis, not an address. */
const after = /[.,;:!?*]+$/
const pairs: Record<string, string> = { ')': '(', ']': '[' }

/** The address without what follows it in a sentence, such as a bracket that was opened before it. */
function trimmed(found: string): string {
  let text = found.replace(after, '')
  for (;;) {
    const last = text.at(-1) ?? ''
    const opening = pairs[last]
    if (opening === undefined || text.split(last).length <= text.split(opening).length) return text
    text = text.slice(0, -1).replace(after, '')
  }
}

/** The links in a plain text. An address that is cut, or that contains a name or password, is none. */
export function linksOf(text: string): Link[] {
  if (!text.includes('://')) return []
  return [...text.matchAll(address)].flatMap((found) => {
    const from = found.index
    if (text[from + found[0].length] === '…') return []
    const shown = trimmed(found[0])
    if (!URL.canParse(shown)) return []
    const { href, username, password } = new URL(shown)
    return username === '' && password === '' ? [{ from, to: from + shown.length, href }] : []
  })
}

/** The links of a part of the text, which begins at `start`; those at its edges lead to their whole address. */
function linksWithin(links: Link[], start: number, length: number): Link[] {
  return links
    .filter((link) => link.to > start && link.from < start + length)
    .map((link) => ({ ...link, from: Math.max(0, link.from - start), to: Math.min(length, link.to - start) }))
}

/** The rows of a line, split as by `pieces`, each with its links. */
export function linkedPieces(line: string, columns: number, first = columns, most = Infinity): { text: string; links: Link[] }[] {
  const links = linksOf(withoutColours(line.replaceAll('\t', '    ')))
  let start = 0
  return pieces(line, columns, first, most).map((text) => {
    const length = withoutColours(text).length
    start += length
    return { text, links: linksWithin(links, start - length, length) }
  })
}
