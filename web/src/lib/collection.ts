// What the collector and the sinks say; not every service has them.
import { ask } from './api'

export interface Upstream {
  name: string
  known?: number
  going?: number
  waiting?: number
  failing?: number
  incomplete?: number
  landed?: number
  noLog?: number
  leftOut?: number
  records?: number
  pages?: number
  waitingSince?: string | number | null
  listedUntil?: string | number | null
}

export interface FailingRun {
  runId: string
  upstream?: string
  taskId?: string
  taskName?: string
  attempts?: number
  problem?: string
  nextAt?: string | number
  state?: string
}

export interface Collection {
  upstreams: Upstream[]
  failingRuns?: FailingRun[]
}

export interface Sink {
  name: string
  kind?: string
  due?: number
  done?: number
  dead?: number
  lag?: number
  lagMs?: number
  problem?: string | null
}

type Raw = Record<string, unknown>

/** Services before and after this one may put it otherwise: names are looked for where they may stand. */
export const collection = async (signal: AbortSignal): Promise<Collection> => collectionOf(await ask('/runlog/v1/collection', { signal }))

export function collectionOf(found: unknown): Collection {
  const body = (Array.isArray(found) ? { upstreams: found } : found) as Raw
  const list = (value: unknown): Raw[] => (Array.isArray(value) ? (value as Raw[]) : [])
  const upstreams = list(body['upstreams']).map((one) => ({ ...one, name: String(one['name'] ?? one['upstream'] ?? '') }) as Upstream)
  const failing = list(body['failingRuns'] ?? body['failing'] ?? body['runs'])
  const failingRuns = failing.map((one) => ({ ...one, nextAt: one['nextAt'] ?? one['dueAt'] ?? undefined }) as FailingRun)
  return { upstreams, failingRuns }
}

export const sinks = async (signal: AbortSignal): Promise<Sink[]> => {
  const found = await ask<Sink[] | { items?: Sink[]; sinks?: Sink[] }>('/runlog/v1/sinks', { signal })
  return Array.isArray(found) ? found : (found.items ?? found.sinks ?? [])
}

const retry = (kind: string, name: string): Promise<void> =>
  ask(`/runlog/v1/${kind}/${encodeURIComponent(name)}/retry`, { method: 'POST' })

export const retryUpstream = (name: string): Promise<void> => retry('collection', name)
export const retrySink = (name: string): Promise<void> => retry('sinks', name)
