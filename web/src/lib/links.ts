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
const after = '.,;:!?*'
/** Most characters of an address; browsers and servers refuse much longer ones. */
const ADDRESS_MAX = 2_000

/** How many closing brackets of a text have no opening one. */
const unopened = (text: string, opening: string, closing: string): number => text.split(closing).length - text.split(opening).length

/** The address without what follows it in a sentence, such as a bracket that was opened before it. */
function trimmed(found: string): string {
  let [round, square] = [unopened(found, '(', ')'), unopened(found, '[', ']')]
  let end = found.length
  for (; end > 0; end -= 1) {
    const last = found.charAt(end - 1)
    if (last === ')' && round > 0) round -= 1
    else if (last === ']' && square > 0) square -= 1
    else if (!after.includes(last)) break
  }
  return found.slice(0, end)
}

/** The links in a plain text. An address that is cut or too long, or that contains a name or password, is none. */
export function linksOf(text: string): Link[] {
  if (!text.includes('://')) return []
  return [...text.matchAll(address)].flatMap((found) => {
    const from = found.index
    if (text[from + found[0].length] === '…') return []
    const shown = trimmed(found[0])
    if (shown.length > ADDRESS_MAX || !URL.canParse(shown)) return []
    const { href, username, password } = new URL(shown)
    return username === '' && password === '' ? [{ from, to: from + shown.length, href }] : []
  })
}

/** The links in a line of a log; positions are those in its text without colours, with four blanks for each tab. */
export const linksOfLine = (line: string): Link[] => linksOf(withoutColours(line.replaceAll('\t', '    ')))

/** The rows of a line, split as by `pieces`, each with its links; those at its edges lead to their whole address. */
export function linkedPieces(line: string, columns: number, first = columns, most = Infinity, links = linksOfLine(line)): { text: string; links: Link[] }[] {
  let [start, next] = [0, 0]
  return pieces(line, columns, first, most).map((text) => {
    const length = withoutColours(text).length
    const end = start + length
    const within: Link[] = []
    for (let link = links[next]; link !== undefined && link.from < end; link = links[next]) {
      within.push({ ...link, from: Math.max(0, link.from - start), to: Math.min(length, link.to - start) })
      // It goes on in the next row.
      if (link.to > end) break
      next += 1
    }
    start = end
    return { text, links: within }
  })
}
