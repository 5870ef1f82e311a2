import { describe, expect, it } from 'vitest'
import { Problem, type Reason, type TaskLine } from './api'
import { loadReports, lastBad, REPORTS_MAX, RUNS_SHOWN, tasksNeedingAttention, causeOf, workspacesToReport, type WorkspaceReport } from './attention'
import type { Workspace } from './rights'

const workspace = (id: string, rights: Workspace['rights'] = ['AUTHOR', 'EXECUTE', 'VIEW']): Workspace => ({ id, name: `w ${id}`, environment: 'production', rights })
const late: Reason = { kind: 'late', last: '2026-11-20T00:00:00Z', usualMs: 3_600_000 }
const failed: Reason = { kind: 'failing', runId: 'r1', runsInARow: 2, since: '2026-11-20T00:00:00Z' }
const run = (status: TaskLine['recent'][number]['status'], runId = 'r1') => ({ runId, status, triggerTimestamp: '2026-11-27T00:00:00Z', records: 1, errors: 0, warnings: 0 })

const line = (taskId: string, recent: TaskLine['recent']): TaskLine => ({
  taskId, name: `task ${taskId}`, workspaceId: 'a', workspaceName: 'w a', environmentName: 'production', tags: [], runs: 5, failed: 1, going: 0, recent,
})

const entry = (taskId: string, reasons: Reason[]): WorkspaceReport['tasksToCheck'][number] => ({
  taskId, taskName: `task ${taskId}`, reasons,
  runs: [{ runId: 'r9', status: 'execution_successful', triggeredAt: '2026-11-20T00:00:00.000Z', durationMs: 60_000, records: 1, errors: 0, warnings: 0 }],
})

const report = (...entries: WorkspaceReport['tasksToCheck']): WorkspaceReport => ({
  workspaceId: 'a', workspaceName: 'w a', since: '', until: '', outcomes: [], tasksToCheck: entries, tasksFine: 0, newErrorGroups: [], isCut: false,
})

describe('tasks that need attention', () => {
  it('include late tasks without a failed run', () => {
    const tasks = tasksNeedingAttention([], [{ workspace: workspace('a'), task: entry('1', [late]) }])
    expect(tasks).toEqual([
      {
        taskId: '1', name: 'task 1', workspaceName: 'w a', environmentName: 'production', failed: undefined, bad: undefined, reasons: [late],
        runs: [{ runId: 'r9', status: 'execution_successful', errors: 0, triggerTimestamp: '2026-11-20T00:00:00.000Z', startTimestamp: '2026-11-20T00:00:00.000Z', finishTimestamp: '2026-11-20T00:01:00.000Z' }],
      },
    ])
  })
  it('are listed once, with their runs and their reasons', () => {
    const tasks = tasksNeedingAttention([line('1', [run('execution_failed')])], [{ workspace: workspace('a'), task: entry('1', [failed, late]) }])
    expect(tasks.map((task) => [task.failed, task.reasons, task.runs[0]?.runId])).toEqual([[{ runs: 1, of: 5 }, [failed, late], 'r1']])
  })
  it('are ordered by urgency, whether a report names them or not', () => {
    const mended = line('mended', [run('execution_successful'), run('execution_failed', 'r0')])
    const reported = ['late', 'failing'].map((taskId, index) => ({ workspace: workspace('a'), task: entry(taskId, [index === 0 ? late : failed]) }))
    const tasks = tasksNeedingAttention([mended, line('without a report', [run('deploy_failed')])], reported)
    expect(tasks.map((task) => task.taskId)).toEqual(['without a report', 'failing', 'late', 'mended'])
  })
  it('link to their last failure, even if it is older than the runs that are shown', () => {
    const failure = run('execution_failed', 'long before')
    const [task] = tasksNeedingAttention([{ ...line('1', [run('execution_successful')]), lastFailure: failure }], [])
    expect(task?.bad).toEqual(failure)
  })
  it('have the same number of runs, whether a report names them or not', () => {
    const reported = entry('1', [late])
    const runs = Array.from({ length: 40 }, (_, index) => ({ ...reported.runs[0]!, runId: `r${index}` }))
    expect(tasksNeedingAttention([], [{ workspace: workspace('a'), task: { ...reported, runs } }])[0]?.runs).toHaveLength(RUNS_SHOWN)
  })
  it('show the cause in the log rather than the message of the engine', () => {
    const bad = { ...run('execution_failed'), errorMessage: 'exit code 1' }
    expect([causeOf({ ...bad, headline: 'duplicate key' }), causeOf(bad), causeOf(run('terminated')), causeOf(undefined)]).toEqual(['duplicate key', 'exit code 1', undefined, undefined])
  })
  it('link to the run that failed last, even because of a timeout, and not to one that a user terminated', () => {
    expect(lastBad([run('terminated', 'r3'), run('execution_failed', 'r2')])?.runId).toBe('r2')
    expect(lastBad([run('terminated_timeout', 'r4'), run('execution_failed', 'r2')])?.runId).toBe('r4')
    expect(lastBad([run('execution_successful', 'r4'), run('terminated', 'r3')])).toBeUndefined()
  })
})

describe('the reports of workspaces', () => {
  it('are requested where logs may be read, and the others are counted', () => {
    const all = [workspace('a'), workspace('b', ['VIEW']), workspace('c', ['PUBLISH', 'AUTHOR', 'VIEW', 'EXECUTE'])]
    const chosen = workspacesToReport(all, undefined)
    expect([chosen.asked.map((one) => one.id), chosen.forbidden, chosen.beyond]).toEqual([['a', 'c'], 1, 0])
    expect(workspacesToReport(all, 'c').asked.map((one) => one.id)).toEqual(['c'])
  })
  it('are requested up to a maximum, and those beyond it are counted', () => {
    const all = Array.from({ length: REPORTS_MAX + 3 }, (_, index) => workspace(String(index)))
    const chosen = workspacesToReport(all, undefined)
    expect([chosen.asked.length, chosen.beyond]).toEqual([REPORTS_MAX, 3])
  })
  it('are counted without one that is refused, and the refusal is reported', async () => {
    const refused = new Problem('forbidden', 'the right Author is missing')
    const reports = await loadReports([workspace('a'), workspace('b')], async (id) => {
      if (id === 'a') throw refused
      return report(entry('1', [late]))
    })
    expect(reports).toEqual({ found: [{ workspace: workspace('b'), task: entry('1', [late]) }], failed: 1, problem: refused })
  })
  it('report that the service could not be reached before any other reason, because that is temporary', async () => {
    const reasons = [new Problem('forbidden', 'the right Author is missing'), new Problem('unreachable', 'cannot reach Runlog')]
    const reports = await loadReports([workspace('0'), workspace('1')], async (id) => Promise.reject(reasons[Number(id)]))
    expect([reports.failed, reports.problem?.kind]).toEqual([2, 'unreachable'])
  })
})
