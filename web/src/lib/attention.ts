// Which tasks need attention: those with failed runs, and those in the reports of workspaces.
import { problemOf, type Problem, type Reason, type RunLine, type Schema, type TaskLine } from './api'
import { mayReadLogs, type Workspace } from './rights'
import { statusWords } from './words'

export type WorkspaceReport = Schema['WorkspaceReport']

/** A run in a strip of runs; newest first. */
export type StripRun = Pick<RunLine, 'runId' | 'status' | 'triggerTimestamp' | 'startTimestamp' | 'finishTimestamp' | 'errors' | 'errorMessage' | 'headline'>

/** A task that needs attention. */
export interface TaskNeedingAttention {
  taskId: string
  name: string
  workspaceName: string
  environmentName: string
  /** Its last runs, newest first. */
  runs: StripRun[]
  /** The last failed run in the period, or else among its last runs. */
  bad: StripRun | undefined
  /** Number of failed runs; absent if the task is only in a report. */
  failed: { runs: number; of: number } | undefined
  reasons: Reason[]
}

/** Number of latest runs that are shown of each task, whatever the period. */
export const RUNS_SHOWN = 15

/** The reports of workspaces, and which are missing. */
export interface WorkspaceReports {
  found: { workspace: Workspace; task: WorkspaceReport['tasksToCheck'][number] }[]
  /** Workspaces whose reports could not be loaded. */
  failed: number
  /** Why one of them could not be loaded; that the service cannot be reached comes before other reasons. */
  problem: Problem | undefined
}

/** Maximum number of workspaces whose reports are requested: each covers the runs of 90 days and is recorded in the audit log. */
export const REPORTS_MAX = 12

/** How often they are requested again. Unit: milliseconds. Reports change slowly. */
export const REPORTS_EVERY_MS = 300_000

/** The workspaces whose reports are requested; also the number of those without the necessary rights, and of those beyond the maximum. */
export function workspacesToReport(all: Workspace[], chosen: string | undefined): { asked: Workspace[]; forbidden: number; beyond: number } {
  const wanted = all.filter((one) => !chosen || one.id === chosen)
  // Reports contain parts of logs.
  const readable = wanted.filter(mayReadLogs)
  const asked = readable.slice(0, REPORTS_MAX)
  return { asked, forbidden: wanted.length - readable.length, beyond: readable.length - asked.length }
}

/** Requests the report of each workspace; the failure of one does not affect the others. */
export async function loadReports(workspaces: Workspace[], ask: (id: string) => Promise<WorkspaceReport>): Promise<WorkspaceReports> {
  const answers = await Promise.allSettled(workspaces.map((one) => ask(one.id)))
  const reports: WorkspaceReports = { found: [], failed: 0, problem: undefined }
  answers.forEach((answer, index) => {
    const workspace = workspaces[index]
    if (answer.status === 'fulfilled' && workspace) reports.found.push(...answer.value.tasksToCheck.map((task) => ({ workspace, task })))
    if (answer.status === 'rejected') {
      reports.failed += 1
      const problem = problemOf(answer.reason)
      if (!reports.problem || problem.kind === 'unreachable') reports.problem = problem
    }
  })
  return reports
}

/** All tasks that need attention, the worst first, each once. */
export function tasksNeedingAttention(failing: TaskLine[], reported: WorkspaceReports['found']): TaskNeedingAttention[] {
  const tasks = new Map<string, TaskNeedingAttention>()
  for (const line of failing) {
    tasks.set(line.taskId, { ...line, runs: line.recent, bad: line.lastFailure ?? lastBad(line.recent), failed: { runs: line.failed, of: line.runs }, reasons: [] })
  }
  for (const { workspace, task } of reported) {
    const { taskId, taskName, reasons } = task
    const known = tasks.get(taskId)
    if (known) known.reasons = reasons
    else {
      const names = { workspaceName: workspace.name, environmentName: workspace.environment }
      const runs = task.runs.map(stripRun)
      tasks.set(taskId, { taskId, name: taskName, ...names, runs: runs.slice(0, RUNS_SHOWN), bad: lastBad(runs), failed: undefined, reasons })
    }
  }
  return [...tasks.values()].sort((one, other) => weight(other) - weight(one))
}

/** Why a run failed: the root cause that its log names, or else the message of the engine. */
export const causeOf = (run: StripRun | undefined): string | undefined => run?.headline ?? run?.errorMessage ?? undefined

/** The newest failed run. */
export const lastBad = (runs: StripRun[]): StripRun | undefined => runs.find((run) => statusWords(run.status).outcome === 'failed')

function stripRun(point: Schema['RunPoint']): StripRun {
  const { runId, status, triggeredAt, durationMs, errors } = point
  const end = durationMs == null ? {} : { finishTimestamp: new Date(Date.parse(triggeredAt) + durationMs).toISOString() }
  return { runId, status, errors, triggerTimestamp: triggeredAt, startTimestamp: triggeredAt, ...end }
}

// The same weights as in the service, so that the order is the same.
const weights: Record<Reason['kind'], number> = { failing: 100, newErrors: 40, late: 30, slow: 20, flaky: 10 }

/** The urgency of a task; without a report, that of its last run. */
function weight(task: TaskNeedingAttention): number {
  const reported = task.reasons.reduce((sum, reason) => sum + weights[reason.kind], 0)
  const newest = task.runs[0]
  return reported || (newest && statusWords(newest.status).outcome === 'failed' ? weights.failing : 0)
}
