// The state of a request: loading, loaded or failed. It is created with a component, and its request ends with it.
import { problemOf, type Problem } from './api'
import { connection } from './connection.svelte'

export class Loaded<T> {
  value = $state.raw<T | undefined>(undefined)
  problem = $state.raw<Problem | undefined>(undefined)
  busy = $state(false)
  #abort: AbortController | undefined
  #again: (() => void) | undefined
  /** True once the component is no longer shown: nothing is requested any more. */
  #isOver = false

  constructor() {
    $effect(() => () => {
      this.#isOver = true
      this.stop()
    })
  }

  /** Sends a request; late responses to earlier requests are ignored. */
  async load(ask: (signal: AbortSignal) => Promise<T>, { keep = true }: { keep?: boolean } = {}): Promise<void> {
    if (this.#isOver) return
    this.#again = () => void this.load(ask)
    this.#abort?.abort()
    const abort = new AbortController()
    this.#abort = abort
    this.busy = true
    if (!keep) this.value = undefined
    try {
      const value = await ask(abort.signal)
      if (this.#abort !== abort) return
      this.value = value
      this.problem = undefined
    } catch (error) {
      if (this.#abort !== abort || abort.signal.aborted) return
      this.problem = problemOf(error)
      if (this.problem.kind === 'unreachable') connection.lost(this.again)
    }
    this.busy = false
  }

  /** Repeats the last request. */
  again = (): void => this.#again?.()

  /** Discards the request. */
  stop(): void {
    this.#abort?.abort()
    this.#abort = undefined
    this.busy = false
    connection.forget(this.again)
  }
}

/** Calls a function periodically while the page is visible; returns a function that stops it. */
export function every(ms: number, action: () => void): () => void {
  const timer = setInterval(() => {
    if (document.visibilityState === 'visible') action()
  }, ms)
  return () => clearInterval(timer)
}

/** Calls `action` once nothing more has been typed for a while, unless the component is no longer shown. */
export function onceTyped(ms: number, action: (text: string) => void): { typed: (text: string) => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined
  const cancel = (): void => clearTimeout(timer)
  $effect(() => cancel)
  const typed = (text: string): void => {
    cancel()
    timer = setTimeout(() => action(text), ms)
  }
  return { typed, cancel }
}
