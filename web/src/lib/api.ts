// The API of the service, with types generated from its description, and errors that pages can distinguish.
import createClient from 'openapi-fetch'
import { connection } from './connection.svelte'
import type { components, paths } from './openapi.gen'
import { printableJson } from './printable'

export type Schema = components['schemas']
export type Session = Schema['SessionBody']
export type Outcomes = Schema['Outcomes']
export type Overview = Schema['OverviewBody']
export type TaskLine = Schema['TaskLineBody']
export type WorkspaceLine = Schema['WorkspaceLineBody']
export type Durations = Schema['DurationsBody']
export type RunLine = Schema['RunLineBody']
export type ListedRun = Schema['ListedRunBody']
export type RunWithLog = Schema['RunWithLog']
export type Records = Schema['RecordsBody']
export type PlacedRecord = Schema['PlacedRecord']
export type Histogram = Schema['HistogramBody']
export type SavedQuery = Schema['SavedQueryBody']
export type FoundRecord = Schema['FoundRecord']
export type RunReport = Schema['RunReport']
export type RunDiff = Schema['RunDiff']
export type RunPatterns = Schema['RunPatterns']
export type Pattern = Schema['Pattern']
export type PatternChange = Schema['PatternChange']
export type TaskReport = Schema['TaskReport']
export type Reason = Schema['Reason']
export type KnownProblem = Schema['ProblemBody']
export type ProblemDetail = Schema['ProblemDetailBody']
export type Collection = Schema['CollectionBody']
export type Sink = Schema['SinkBody']

/** Why a request failed, by what the user can do. */
export type ProblemKind = 'unreachable' | 'signed out' | 'forbidden' | 'missing' | 'not offered' | 'wrong' | 'limited' | 'away' | 'broken'

/** An error that can be shown to the user. */
export class Problem extends Error {
  constructor(
    readonly kind: ProblemKind,
    message: string,
    readonly detail: string | undefined = undefined,
    readonly requestId: string | undefined = undefined,
  ) {
    super(message)
  }
}

/** An error as a problem; one that is not expected is broken. */
export const problemOf = (error: unknown): Problem => (error instanceof Problem ? error : new Problem('broken', String(error)))

// The first header shows the service that a request comes from its own pages, not from another site.
export const client = createClient<paths>({ baseUrl: '', headers: { 'x-runlog-web': '1', accept: 'application/json' } })

// Control characters in the texts of logs are replaced here for all pages. Results of SQL queries are streamed and
// processed by their own page.
/** Responses with records, whose messages are shown with the colours of terminals. */
const withColours = new Set(['/runlog/v1/runs/{id}/records', '/runlog/v1/search'])

client.use({
  async onResponse({ response, schemaPath }) {
    if (!/^application\/json\b/.test(response.headers.get('content-type') ?? '')) return undefined
    const { status, statusText, headers } = response
    return new Response(printableJson(await response.text(), { colours: withColours.has(schemaPath) }), { status, statusText, headers })
  },
})

let whenSignedOut: () => void = () => {}

/** Sets the handler for requests without a valid session. */
export function onSignedOut(action: () => void): void {
  whenSignedOut = action
}

/** The result of a call of `client`; errors are thrown as a [`Problem`]. */
export async function answer<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let result
  try {
    result = await call
  } catch (error) {
    throw unreachable(error)
  }
  if (isUnreachable(result.response.status)) connection.lost()
  else connection.found()
  if (result.response.ok) return result.data as T
  throw problem(result.response, result.error as Schema['ErrorBody'] | undefined)
}

function unreachable(error: unknown): Problem {
  if (error instanceof DOMException && error.name === 'AbortError') throw error
  connection.lost()
  return new Problem('unreachable', 'cannot reach Runlog')
}

function problem(response: Response, body: Schema['ErrorBody'] | undefined): Problem {
  const kind = kindOf(response.status, body?.message ?? '')
  if (kind === 'signed out') whenSignedOut()
  const message = body?.message ?? `the service returned ${response.status}`
  const detail = body?.detail === message ? undefined : body?.detail
  return new Problem(kind, message, detail ?? undefined, body?.requestId ?? undefined)
}

/** A proxy responds for the service, which does not. */
const isUnreachable = (status: number): boolean => status === 502 || status === 504

export function kindOf(status: number, message: string): ProblemKind {
  switch (status) {
    case 401:
      return 'signed out'
    case 403:
      return 'forbidden'
    case 404:
      return message.startsWith('there is nothing at this address') ? 'not offered' : 'missing'
    case 405:
    case 501:
      return 'not offered'
    case 429:
      return 'limited'
    case 503:
      return 'away'
    case 502:
    case 504:
      return 'unreachable'
    default:
      return status >= 500 ? 'broken' : 'wrong'
  }
}
