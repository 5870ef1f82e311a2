// Severities and statuses: their names, icons and colours; colour is never the only distinction.

/** In the order in which the service counts them. */
export const severities = ['OTHER', 'TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const
export type Severity = (typeof severities)[number]

/** Severity names of other loggers than log4j, as in the service. */
const meant: Record<string, Severity> = Object.fromEntries(([
  ['TRACE', 'TRACE FINEST FINER VERBOSE ALL 10 600 5000'],
  ['DEBUG', 'DEBUG DBG FINE CONFIG 7 20 500 700 10000'],
  ['INFO', 'INFO INFORMATION INFORMATIONAL NOTICE 5 6 30 400 800 20000'],
  ['WARN', 'WARN WARNING WRN 4 40 300 900 30000'],
  ['ERROR', 'ERROR ERR SEVERE FAILURE 3 50 200 1000 40000'],
  ['FATAL', 'FATAL CRITICAL CRIT ALERT EMERGENCY EMERG PANIC DPANIC 0 1 2 60 100 50000'],
] as [Severity, string][]).flatMap(([severity, words]) => words.split(' ').map((word) => [word, severity])))

export function severityOf(text: string | null | undefined): Severity {
  const word = (text ?? '').trim().toUpperCase()
  // `ERROR2` of OpenTelemetry is an error, too.
  const severity = Object.hasOwn(meant, word) ? meant[word] : meant[word.replace(/^([A-Z]+)[1-4]+$/, '$1')]
  return severity ?? 'OTHER'
}

/** The CSS class of a severity; none for ordinary ones. */
export function severityClass(severity: Severity): string {
  return severity === 'FATAL' ? 'fatal' : severity === 'ERROR' ? 'bad' : severity === 'WARN' ? 'warn' : 'calm'
}

/** `ended` is a run that a user terminated; one that a timeout or a shutdown ended has failed, as in the service. */
export type Outcome = 'good' | 'rejected' | 'failed' | 'ended' | 'going'

export interface StatusWords {
  outcome: Outcome
  word: string
  sign: string
  style: string
}

const statuses: Record<string, StatusWords> = {
  dispatching: { outcome: 'going', word: 'queued', sign: '○', style: 'going' },
  executing: { outcome: 'going', word: 'running', sign: '◐', style: 'going' },
  deploy_failed: { outcome: 'failed', word: 'deployment failed', sign: '✕', style: 'bad' },
  execution_successful: { outcome: 'good', word: 'successful', sign: '✓', style: 'good' },
  execution_rejected: { outcome: 'rejected', word: 'with rejected rows', sign: '!', style: 'warn' },
  execution_failed: { outcome: 'failed', word: 'failed', sign: '✕', style: 'bad' },
  terminated: { outcome: 'ended', word: 'terminated', sign: '■', style: 'ended' },
  terminated_timeout: { outcome: 'failed', word: 'timed out', sign: '✕', style: 'bad' },
  terminated_shutdown: { outcome: 'failed', word: 'stopped by shutdown', sign: '✕', style: 'bad' },
}

/** A plan execution that did not start; no run has this status. */
const misfired: StatusWords = { outcome: 'failed', word: 'did not start', sign: '✕', style: 'bad' }

export function statusWords(status: string): StatusWords {
  return statuses[status] ?? (status === 'execution_misfired' ? misfired : undefined) ?? { outcome: 'going', word: status, sign: '?', style: 'ended' }
}

/** The choice of all failed runs, whatever their status. */
const ANY_FAILURE = 'any_failure'

export const statusChoices = [
  { value: ANY_FAILURE, label: 'failed for any reason' },
  ...Object.entries(statuses).map(([value, words]) => ({ value, label: words.word })),
]

/** The statuses that a choice stands for. */
export const statusesOf = (choice: string): string[] =>
  choice === ANY_FAILURE ? Object.keys(statuses).filter((status) => statuses[status]?.outcome === 'failed') : [choice]
