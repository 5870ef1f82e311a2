// A selected period in the URL.

/** A period as it is written in the URL, such as `1764547200000-1764633600000`: from inclusive, to exclusive, epoch milliseconds. */
export function periodOf(text: string | null): [number, number] | undefined {
  const found = /^(\d{1,15})-(\d{1,15})$/.exec(text ?? '')
  const [from, to] = [Number(found?.[1]), Number(found?.[2])]
  return from < to && to <= 8.64e15 ? [from, to] : undefined
}
