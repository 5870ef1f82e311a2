// The time zone of all times in the pages: that of the browser, or UTC, as in the API and on the command line.

export type ZoneChoice = 'local' | 'utc'

const KEY = 'runlog.zone'

function kept(): ZoneChoice {
  try {
    return localStorage.getItem(KEY) === 'utc' ? 'utc' : 'local'
  } catch {
    return 'local'
  }
}

class Zone {
  choice = $state<ZoneChoice>(kept())

  get isUtc(): boolean {
    return this.choice === 'utc'
  }

  switch(): void {
    this.choice = this.isUtc ? 'local' : 'utc'
    try {
      localStorage.setItem(KEY, this.choice)
    } catch {
      // The choice is lost when the page is closed.
    }
  }
}

export const zone = new Zone()

/** The offset of the shown zone at a time: `UTC`, `UTC+01:00`. It changes with daylight saving time. */
export function offsetName(at: Date, isUtc: boolean): string {
  const minutes = isUtc ? 0 : -at.getTimezoneOffset()
  if (minutes === 0) return 'UTC'
  const two = (number: number): string => String(number).padStart(2, '0')
  return `UTC${minutes < 0 ? '−' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`
}
