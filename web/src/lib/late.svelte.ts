// A value whose display moves what is on the page: if it is late, it is displayed on request only.
import type { Loaded } from './load.svelte'

export class Late<T> {
  #of: Loaded<T>
  #withinMs: number
  #isLate = $state(false)
  #isRequested = $state(false)

  /** What is loaded within `withinMs` milliseconds is displayed at once; others wait for it that long. */
  constructor(of: Loaded<T>, withinMs: number) {
    this.#of = of
    this.#withinMs = withinMs
  }

  /** Starts to wait; returns a function that stops waiting. */
  start(): () => void {
    this.#isLate = false
    this.#isRequested = false
    const timer = setTimeout(() => (this.#isLate = !this.isLoaded), this.#withinMs)
    return () => clearTimeout(timer)
  }

  /** True if the request succeeded or failed. */
  get isLoaded(): boolean {
    return Boolean(this.#of.value ?? this.#of.problem)
  }

  /** True until the value is loaded or late. */
  get isAwaited(): boolean {
    return !this.isLoaded && !this.#isLate
  }

  /** True if the value was late and its display was not requested. */
  get isHeld(): boolean {
    return this.#isLate && !this.#isRequested
  }

  /** Displays a late value. */
  show = (): void => {
    this.#isRequested = true
  }
}
