// Finds the parts of a text to highlight.

export interface Part {
  text: string
  marked: boolean
}

/** Ignores the case of ASCII letters only, like the search of the service. */
const lower = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())

/** Splits a text into parts; every occurrence of one of `wanted` is marked. */
export function marked(text: string, wanted: string[]): Part[] {
  const needles = wanted.filter((one) => one !== '').map(lower)
  if (needles.length === 0) return [{ text, marked: false }]
  const lowered = lower(text)
  const parts: Part[] = []
  let from = 0
  for (;;) {
    let start = -1
    let length = 0
    for (const needle of needles) {
      const found = lowered.indexOf(needle, from)
      if (found >= 0 && (start < 0 || found < start || (found === start && needle.length > length))) {
        start = found
        length = needle.length
      }
    }
    if (start < 0) break
    if (start > from) parts.push({ text: text.slice(from, start), marked: false })
    parts.push({ text: text.slice(start, start + length), marked: true })
    from = start + length
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from), marked: false })
  return parts
}

/** The texts that are looked for in a log: each of several quoted phrases, or the text as it stands. */
export function textsOfFind(find: string): string[] {
  if (/^\s*"[^"]+"(\s+"[^"]+")*\s*$/.test(find)) return [...find.matchAll(/"([^"]+)"/g)].map((found) => found[1] ?? '')
  return find === '' ? [] : [find]
}

/** What finds these texts in a log. */
export const findOf = (texts: string[]): string => (texts.length > 1 ? texts.map((text) => `"${text}"`).join(' ') : (texts[0] ?? ''))

/** The constant parts of a pattern, in order: `read ` and ` rows` for `read <number> rows`. */
export function textsOf(template: string): string[] {
  const firstLine = template.split(' | ')[0] ?? ''
  const texts = firstLine.split(/<[a-z*][a-z _-]*>|<\*>/i).filter((text) => text.trim().length > 0)
  // Patterns are mined without white space at the ends.
  return texts.map((text, index) => (index === 0 ? text.trimStart() : text)).map((text, index, all) => (index === all.length - 1 ? text.trimEnd() : text))
}
