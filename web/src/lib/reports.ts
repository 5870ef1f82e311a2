// Reports and patterns, as the service makes them from its logs; not every service does.
import { ask } from './api'
import { ago, many, span } from './format'

/** What a report rests on, or why there is none. */
export interface LogPart {
  state: 'whole' | 'provisional' | 'outdated' | 'notYet' | 'nothingYet' | 'none' | 'deleted'
  text: string
  records: number
}

export interface Occurrences {
  /** Records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL. */
  severities: number[]
  first: string
  last: string
  sample: string
  sampleBundleName?: string | null
}

export interface Pattern extends Occurrences {
  id: string
  template: string
}

export interface RunPatterns {
  log: LogPart
  patterns?: { records: number; patterns: Pattern[]; rest: { severities: number[] } }
}

export interface RunHead {
  runId: string
  taskId: string
  taskName: string
  workspaceName: string
  status: string
  triggeredAt: string
  startedAt?: string
  finishedAt?: string
  durationMs?: number
  errorMessage?: string
  records: number
  errors: number
  warnings: number
}

export interface LogEvent {
  time: string
  severity: string
  bundleName?: string
  message: string
}

export interface PatternChange {
  id: string
  template: string
  change: { kind: 'new' | 'moreOften' | 'gone' | 'lessOften' | 'unchanged'; times?: number }
  before?: Occurrences | null
  after?: Occurrences | null
}

export interface RunReport {
  run: RunHead
  log: LogPart
  failure?: {
    first: LogEvent
    causes: { class: string; message: string; at?: string }[]
    warningsBefore: LogEvent[]
    consequences: LogEvent[]
  }
  against?: {
    run: RunHead
    isGood: boolean
    counts: Record<string, number>
    changes: PatternChange[]
  }
  gaps?: { start: string; durationMs: number; before: string; after: string }[]
}

export interface RunDiff {
  before: { run: RunHead; log: LogPart; figures?: { severities: number[] } }
  after: { run: RunHead; log: LogPart; figures?: { severities: number[] } }
  counts?: Record<string, number>
  patterns: PatternChange[]
  complete: boolean
}

export const patternsOf = (runId: string, signal: AbortSignal): Promise<RunPatterns> => ask(`/runlog/v1/runs/${runId}/patterns`, { signal })
export const reportOf = (runId: string, signal: AbortSignal): Promise<RunReport> => ask(`/runlog/v1/runs/${runId}/report`, { signal })
export const diffOf = (before: string, after: string, signal: AbortSignal): Promise<RunDiff> =>
  ask(`/runlog/v1/runs/${before}/diff/${after}`, { signal })

export const recordsOf = (one: { severities: number[] } | null | undefined): number =>
  one?.severities.reduce((sum, number) => sum + number, 0) ?? 0

/** The number of the most severe severity that is there. */
export const worstOf = (one: { severities: number[] } | null | undefined): number => {
  const severities = one?.severities ?? []
  for (let number = severities.length - 1; number > 0; number -= 1) if ((severities[number] ?? 0) > 0) return number
  return 0
}

/** Why a task needs a look. */
export type Reason =
  | { kind: 'failing'; runId: string; runsInARow: number; since: string; error?: string }
  | { kind: 'slow'; runId: string; durationMs: number; usualMs: number; goesOn: boolean }
  | { kind: 'late'; last: string; usualMs: number }
  | { kind: 'flaky'; flips: number; runs: number }
  | { kind: 'newProblems'; problems: number; title: string; runId: string }

export interface TaskProblem {
  id: string
  title: string
  severity: string
  runs: number
  records: number
  firstSeen: string
  firstRun: string
  lastSeen: string
  lastRun: string
  isCurrent: boolean
  isFlaky: boolean
}

export interface TaskReport {
  reasons: Reason[]
  durations?: { trend?: { earlierP50Ms: number; laterP50Ms: number; times: number } }
  problems: TaskProblem[]
}

export interface WorkspaceReport {
  workspaceName: string
  looks: { taskId: string; taskName: string; reasons: Reason[] }[]
}

export const taskReportOf = (taskId: string, days: number, signal: AbortSignal): Promise<TaskReport> =>
  ask(`/runlog/v1/tasks/${taskId}/report?lastDays=${days}`, { signal })
export const workspaceReportOf = (workspaceId: string, days: number, signal: AbortSignal): Promise<WorkspaceReport> =>
  ask(`/runlog/v1/workspaces/${workspaceId}/report?lastDays=${days}`, { signal })

/** A reason in words. */
export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case 'failing':
      return reason.runsInARow > 1 ? `failed ${reason.runsInARow} times in a row` : 'its last run failed'
    case 'slow':
      return `${reason.goesOn ? 'has been running for' : 'took'} ${span(reason.durationMs)}, usually ${span(reason.usualMs)}`
    case 'late':
      return `last ran ${ago(reason.last)}, usually every ${span(reason.usualMs)}`
    case 'flaky':
      return `changed between good and bad ${reason.flips} times in ${reason.runs} runs`
    case 'newProblems':
      return `${many(reason.problems, 'new kind')} of error: ${reason.title}`
  }
}
