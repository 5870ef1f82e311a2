// The source of the lines of a log view: the log by position, or the lines that match a filter.
import { answer, client, problemOf, type PlacedRecord, type Problem } from './api'
import { connection } from './connection.svelte'

/** The lines that a log view shows. */
export interface LogSource {
  /** Number of lines known so far. */
  readonly total: number
  /** The line with this number, if it is loaded. */
  line(number: number): PlacedRecord | undefined
  /** Sets the visible lines, so that they are loaded. */
  want(first: number, last: number): void
  /** The number of the line at a position of the log, or of the one after it. */
  numberOf(index: number): number
  /** The position in the log of the line with this number, if it is known. */
  indexOf(number: number): number | undefined
  readonly problem: Problem | undefined
  /** Loads what could not be loaded; called by itself once the service can be reached again. */
  retry(): void
  stop(): void
}

/** The problem of a request; the source is retried when the service can be reached again. */
function failure(error: unknown, retry: () => void): Problem {
  const problem = problemOf(error)
  if (problem.kind === 'unreachable') connection.lost(retry)
  return problem
}

/** Number of lines per request. */
export const CHUNK = 200
/** Lines around a prefetched one: about the height of a window. */
const AROUND = 40
/** Number of cached chunks: some megabytes. */
const CHUNKS_MAX = 150

/** A log by position; the visible part is loaded. */
export class WholeLog implements LogSource {
  problem = $state.raw<Problem | undefined>(undefined)
  #changes = $state(0)
  #end = $state(0)
  #chunks = new Map<number, PlacedRecord[]>()
  #asked = new Map<number, AbortController>()
  /** Chunks that are loaded before they are visible. */
  #ahead = new Set<number>()
  /** Wanted chunks that could not be loaded: the problem lasts until each is loaded or no longer wanted. */
  #failed = new Set<number>()
  /** The visible lines, first and last. */
  #visible: [number, number] = [0, 0]

  constructor(
    readonly runId: string,
    readonly from: number,
    end: number,
  ) {
    this.#end = end
  }

  /** Loads the lines around a position of the log, so that they can be shown at once. */
  async prefetch(index: number): Promise<void> {
    const chunks = [...new Set([index - AROUND, index + AROUND].map((at) => Math.floor(Math.min(Math.max(this.from, at), this.#end - 1) / CHUNK)))]
    for (const chunk of chunks) this.#ahead.add(chunk)
    await Promise.all(chunks.filter((chunk) => this.#isWanted(chunk)).map((chunk) => this.#load(chunk)))
    for (const chunk of chunks) this.#ahead.delete(chunk)
  }

  get total(): number {
    return Math.max(0, this.#end - this.from)
  }

  /** Sets the new number of lines of a growing log. */
  grow(end: number): void {
    if (end <= this.#end) return
    // The last chunk was incomplete.
    this.#chunks.delete(Math.floor(Math.max(0, this.#end - 1) / CHUNK))
    this.#end = end
  }

  line(number: number): PlacedRecord | undefined {
    void this.#changes
    const index = this.from + number
    return this.#chunks.get(Math.floor(index / CHUNK))?.[index % CHUNK]
  }

  numberOf(index: number): number {
    return Math.min(Math.max(0, index - this.from), Math.max(0, this.total - 1))
  }

  indexOf(number: number): number | undefined {
    return number >= 0 && number < this.total ? this.from + number : undefined
  }

  want(first: number, last: number): void {
    this.#visible = [first, last]
    const from = Math.floor((this.from + Math.max(0, first)) / CHUNK)
    const to = Math.floor((this.from + Math.min(this.total - 1, last)) / CHUNK)
    // Chunks that are no longer visible are not loaded.
    for (const [chunk, abort] of this.#asked) {
      if ((chunk < from - 1 || chunk > to + 1) && !this.#ahead.has(chunk)) {
        abort.abort()
        this.#asked.delete(chunk)
      }
    }
    for (const chunk of this.#failed) if (chunk < from || chunk > to) this.#forgive(chunk)
    for (let chunk = from; chunk <= to; chunk += 1) {
      if (this.#isWanted(chunk)) void this.#load(chunk)
    }
  }

  retry = (): void => this.want(...this.#visible)

  #isWanted(chunk: number): boolean {
    const known = this.#chunks.get(chunk)
    const length = Math.min(CHUNK, this.#end - chunk * CHUNK)
    if (known && known.length >= length) {
      // The most recently used chunks are kept.
      this.#chunks.delete(chunk)
      this.#chunks.set(chunk, known)
      return false
    }
    return length > 0 && !this.#asked.has(chunk)
  }

  #forgive(chunk: number): void {
    this.#failed.delete(chunk)
    if (this.#failed.size === 0) this.problem = undefined
  }

  async #load(chunk: number): Promise<void> {
    const abort = new AbortController()
    this.#asked.set(chunk, abort)
    try {
      const query = { from: chunk * CHUNK, count: CHUNK }
      const path = { id: this.runId }
      const found = await answer(client.GET('/runlog/v1/runs/{id}/records', { params: { path, query }, signal: abort.signal }))
      this.#chunks.set(chunk, found.items)
      for (const oldest of this.#chunks.keys()) {
        if (this.#chunks.size <= CHUNKS_MAX) break
        this.#chunks.delete(oldest)
      }
      this.#forgive(chunk)
      this.#changes += 1
    } catch (error) {
      if (!abort.signal.aborted) {
        this.#failed.add(chunk)
        this.problem = failure(error, this.retry)
      }
    }
    if (this.#asked.get(chunk) === abort) this.#asked.delete(chunk)
  }

  stop(): void {
    for (const abort of this.#asked.values()) abort.abort()
    this.#asked.clear()
    connection.forget(this.retry)
  }
}

export interface Filter {
  severities: string[]
  texts: string[]
}

export const isEmpty = (filter: Filter): boolean => filter.severities.length === 0 && filter.texts.length === 0

/** The parameters of a filter. */
export const filterQuery = (filter: Filter): Record<string, unknown> => ({
  ...(filter.severities.length > 0 ? { severity: filter.severities.join(',') } : {}),
  ...(filter.texts.length > 0 ? { q: filter.texts } : {}),
})

/** Number of lines that are scanned before the user is asked whether to continue. */
const SCAN_FREELY = 5_000_000
const MATCHES_AHEAD = 400

/** The lines that match a filter, found step by step from the start of the log. */
export class Matches implements LogSource {
  problem = $state.raw<Problem | undefined>(undefined)
  busy = $state(false)
  /** Number of scanned lines. */
  scanned = $state(0)
  /** True if all lines were scanned. */
  done = $state(false)
  /** True if the search waits for the user to continue. */
  paused = $state(false)
  #items = $state.raw<PlacedRecord[]>([])
  #next: number
  #abort = new AbortController()
  #wanted = MATCHES_AHEAD
  #scanMax = SCAN_FREELY

  constructor(
    readonly runId: string,
    readonly filter: Filter,
    readonly from: number,
    private end: number,
  ) {
    this.#next = from
    void this.#search()
  }

  get total(): number {
    return this.#items.length
  }

  line(number: number): PlacedRecord | undefined {
    return this.#items[number]
  }

  indexOf(number: number): number | undefined {
    return this.#items[number]?.index
  }

  want(_first: number, last: number): void {
    this.#wanted = Math.max(this.#wanted, last + MATCHES_AHEAD)
    void this.#search()
  }

  numberOf(index: number): number {
    let [low, high] = [0, this.#items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#items[middle]?.index ?? 0) < index) low = middle + 1
      else high = middle
    }
    return Math.min(low, Math.max(0, this.#items.length - 1))
  }

  grow(end: number): void {
    if (end <= this.end) return
    this.end = end
    this.done = false
    void this.#search()
  }

  /** Continues the search. */
  more = (): void => {
    this.#scanMax = this.scanned + SCAN_FREELY
    this.#wanted = this.#items.length + MATCHES_AHEAD
    this.paused = false
    void this.#search()
  }

  retry = (): void => void this.#search()

  async #search(): Promise<void> {
    if (this.busy || this.done) return
    this.busy = true
    try {
      while (!this.done && !this.paused && this.#items.length < this.#wanted) {
        const query = { from: this.#next, to: this.end, count: 500, ...filterQuery(this.filter) }
        const path = { id: this.runId }
        // eslint-disable-next-line no-await-in-loop -- each step starts where the previous one ended
        const found = await answer(client.GET('/runlog/v1/runs/{id}/records', {
          params: { path, query: query as never },
          querySerializer: { array: { style: 'form', explode: true } },
          signal: this.#abort.signal,
        }))
        if (found.items.length > 0) this.#items = [...this.#items, ...found.items]
        this.scanned += found.scanned
        this.#next = found.next ?? this.end
        this.done = found.next === undefined || found.next === null
        this.paused = !this.done && this.scanned >= this.#scanMax
        this.problem = undefined
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) this.problem = failure(error, this.retry)
    }
    this.busy = false
  }

  stop(): void {
    this.#abort.abort()
    connection.forget(this.retry)
  }
}

/** The next matching line from a position, forwards or backwards. */
export async function findNext(runId: string, filter: Filter, from: number, backwards: boolean, signal: AbortSignal): Promise<number | undefined> {
  let next: number | undefined | null = from
  while (next !== undefined && next !== null && next >= 0) {
    const query: Record<string, unknown> = { from: next, count: 1, order: backwards ? 'DESC' : 'ASC', ...filterQuery(filter) }
    const found: { items: PlacedRecord[]; next?: number | null } = await answer(client.GET('/runlog/v1/runs/{id}/records', {
      params: { path: { id: runId }, query: query as never },
      querySerializer: { array: { style: 'form', explode: true } },
      signal,
    }))
    if (found.items[0]) return found.items[0].index
    next = found.next
  }
  return undefined
}
