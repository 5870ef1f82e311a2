// Something that is loaded: on its way, there, or failed; never two of them.
import { Problem } from './api'

export class Loaded<T> {
  value = $state.raw<T | undefined>(undefined)
  problem = $state.raw<Problem | undefined>(undefined)
  busy = $state(false)
  #abort: AbortController | undefined
  #again: (() => void) | undefined

  /** Loads anew; an answer to an earlier question that comes late is not taken for one to this. */
  async load(ask: (signal: AbortSignal) => Promise<T>, { keep = true }: { keep?: boolean } = {}): Promise<void> {
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
      this.problem = error instanceof Problem ? error : new Problem('broken', String(error))
    }
    this.busy = false
  }

  /** Asks the last question again. */
  again = (): void => this.#again?.()

  /** Forgets the question. */
  stop(): void {
    this.#abort?.abort()
    this.#abort = undefined
    this.busy = false
  }
}

/** Does something now and then while the page is looked at; gives what ends it. */
export function every(ms: number, action: () => void): () => void {
  const timer = setInterval(() => {
    if (document.visibilityState === 'visible') action()
  }, ms)
  return () => clearInterval(timer)
}
