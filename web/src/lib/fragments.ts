// A text of a log as it is shown: with the colours of terminals, what is highlighted, and links.
import { styled, withoutColours } from './ansi'
import { linksOf, type Link } from './links'
import { marked } from './marks'

/** A part of a text with the same style. */
export interface Fragment {
  text: string
  style: string
  isMarked: boolean
}

/** Fragments within the same link, or within none. */
export interface Stretch {
  href: string | undefined
  fragments: Fragment[]
}

/** The stretches of a text; `links` are positions in the text without its colours. */
export function stretchesOf(text: string, marks: string[], links: Link[] = linksOf(withoutColours(text))): Stretch[] {
  const stretches: Stretch[] = []
  let at = 0
  for (const part of styled(text)) {
    for (const piece of marked(part.text, marks)) {
      let rest = piece.text
      do {
        const link = links.find((one) => one.to > at)
        const isWithin = link !== undefined && link.from <= at
        const end = link === undefined ? Infinity : isWithin ? link.to : link.from
        const taken = rest.slice(0, end - at)
        const fragment = { text: taken, style: part.style, isMarked: piece.marked }
        const last = stretches.at(-1)
        const href = isWithin ? link.href : undefined
        if (last && last.href === href && (href === undefined || link?.from !== at)) last.fragments.push(fragment)
        else stretches.push({ href, fragments: [fragment] })
        at += taken.length
        rest = rest.slice(taken.length)
      } while (rest !== '')
    }
  }
  return stretches
}
