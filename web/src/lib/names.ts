// Texts of the service with names instead of the IDs that they contain.

/** A workspace that a text may name by its ID. */
export interface Named {
  id: string
  name: string
}

/** Replaces `workspace` and the ID of a known workspace by its name. The ID in a command stays, which needs it. */
export function withNames(text: string, workspaces: readonly Named[]): string {
  return text.replace(/(?<!-)\bworkspace ([0-9a-f]{24})\b/g, (whole, id: string) => {
    const name = workspaces.find((one) => one.id === id)?.name
    return name === undefined ? whole : `the workspace ${name}`
  })
}

/** Longest title of a problem. Unit: characters. The service cuts longer ones, without an ellipsis, because they identify the problem. */
const TITLE_CHARS_MAX = 200

/** The title of a problem, with an ellipsis if it was cut. */
export const titleOf = ({ title }: { title: string }): string => ([...title].length >= TITLE_CHARS_MAX ? `${title}…` : title)

/** The end of a dotted name that is longer than `most` characters: names of classes differ at their ends. */
export function shortName(name: string, most: number): string {
  if (name.length <= most || !name.includes('.')) return name
  const parts = name.split('.')
  let short = parts.pop() ?? ''
  for (let part = parts.pop(); part !== undefined && part.length + short.length + 2 <= most; part = parts.pop()) short = `${part}.${short}`
  return `…${short}`
}

/** A text of the service as a sentence of its own: with a capital letter. */
export const sentence = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)
