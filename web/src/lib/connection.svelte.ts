// Whether the service responds. While it does not, a banner says so, and requests are repeated once it does.

const RETRY_MS = 2_000

class Connection {
  isLost = $state(false)
  #waiting = new Set<() => void>()
  #timer: ReturnType<typeof setTimeout> | undefined

  /** A request got no response; `again` is called when the service responds again. */
  lost(again?: () => void): void {
    if (again) this.#waiting.add(again)
    this.isLost = true
    this.#timer ??= setTimeout(() => void this.#probe(), RETRY_MS)
  }

  /** A request got a response. */
  found(): void {
    if (!this.isLost) return
    this.isLost = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const again of waiting) again()
  }

  /** No longer repeats a request. */
  forget(again: () => void): void {
    this.#waiting.delete(again)
  }

  async #probe(): Promise<void> {
    this.#timer = undefined
    try {
      // Any response will do, except those of a proxy whose service is away.
      const response = await fetch('/runlog/v1/session', { headers: { accept: 'application/json' } })
      if (response.status !== 502 && response.status !== 504) return this.found()
    } catch {
      // It is tried again.
    }
    if (this.isLost) this.#timer = setTimeout(() => void this.#probe(), RETRY_MS)
  }
}

export const connection = new Connection()
