// Severities and statuses: their names, signs and colours, so that colour is never the only sign.

/** In the order in which the service counts them. */
export const severities = ['OTHER', 'TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const
export type Severity = (typeof severities)[number]

export function severityOf(text: string | null | undefined): Severity {
  const upper = (text ?? '').toUpperCase()
  return (severities as readonly string[]).includes(upper) && upper !== '' ? (upper as Severity) : 'OTHER'
}

/** A class for the colour of a severity; none for ordinary ones. */
export function severityClass(severity: Severity): string {
  return severity === 'FATAL' ? 'fatal' : severity === 'ERROR' ? 'bad' : severity === 'WARN' ? 'warn' : 'calm'
}

export type Outcome = 'good' | 'rejected' | 'failed' | 'ended' | 'going'

export interface StatusWords {
  outcome: Outcome
  word: string
  sign: string
  style: string
}

const statuses: Record<string, StatusWords> = {
  dispatching: { outcome: 'going', word: 'waiting', sign: '○', style: 'going' },
  executing: { outcome: 'going', word: 'running', sign: '◐', style: 'going' },
  deploy_failed: { outcome: 'failed', word: 'not deployed', sign: '✕', style: 'bad' },
  execution_successful: { outcome: 'good', word: 'successful', sign: '✓', style: 'good' },
  execution_rejected: { outcome: 'rejected', word: 'with rejected rows', sign: '!', style: 'warn' },
  execution_failed: { outcome: 'failed', word: 'failed', sign: '✕', style: 'bad' },
  terminated: { outcome: 'ended', word: 'terminated', sign: '■', style: 'ended' },
  terminated_timeout: { outcome: 'ended', word: 'timed out', sign: '■', style: 'ended' },
  terminated_shutdown: { outcome: 'ended', word: 'ended by shutdown', sign: '■', style: 'ended' },
}

export function statusWords(status: string): StatusWords {
  return statuses[status] ?? { outcome: 'going', word: status, sign: '?', style: 'ended' }
}

export const statusChoices = Object.entries(statuses).map(([value, words]) => ({ value, label: words.word }))
