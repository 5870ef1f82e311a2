// Texts of the service with names instead of the IDs that they contain.

/** A place that a text may name by its ID. */
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

/** A text of the service as a sentence of its own: with a capital letter. */
export const sentence = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)
