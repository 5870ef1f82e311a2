// Answers of parts of the service that not every version has, in the form that they are described in: pages are shown
// them in the place of the service's own, so that every version of the pages is tried with them.
const ms = Date.now()
const iso = (before) => new Date(ms - before).toISOString()
const severities = (info, warn, error) => [0, 0, 0, info, warn, error, 0]
const occurrences = (counts, sample) => ({ severities: counts, first: iso(90_000), last: iso(3_000), sample, sampleBundleName: 'tDBOutput_2' })
const pattern = (id, template, counts, sample) => ({ id, template, ...occurrences(counts, sample) })
const whole = { state: 'whole', text: 'the summary is of the whole log', records: 1_096, summarized: 1_096, madeAt: iso(1_000) }
const head = (runId, status, before) => ({
  runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', workspaceName: 'data engineering',
  status, triggeredAt: iso(before), startedAt: iso(before), finishedAt: iso(before - 60_000), durationMs: 60_000, records: 1_096, errors: 3, warnings: 6,
})

export const patterns = {
  runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18',
  log: whole,
  patterns: {
    version: 1,
    records: 1_096,
    patterns: [
      pattern('6e5f3465788fe711', 'Changing <*> acls to: root', severities(8, 0, 0), 'Changing view acls to: root'),
      pattern('1e5f3465788fe712', 'Your hostname, <*>, resolves to a loopback address: <*>', severities(0, 1, 0), 'Your hostname, vm, resolves …'),
    ],
    rest: { severities: severities(0, 0, 0) },
  },
}

const change = (kind, id, template, before, after) => ({
  id, template, change: kind === 'moreOften' ? { kind, times: 4 } : { kind },
  ...(before ? { before: occurrences(before, template) } : {}), ...(after ? { after: occurrences(after, template) } : {}),
})

export const changes = [
  change('new', 'a1', 'could not write row <number> | java.sql.SQLException', null, severities(0, 0, 3)),
  change('moreOften', 'a2', 'slow batch <number> took <number> ms', severities(0, 10, 0), severities(0, 40, 0)),
  change('gone', 'a3', 'done in <number> ms', severities(1, 0, 0), null),
  change('unchanged', 'a4', 'row <number> read', severities(500, 0, 0), severities(510, 0, 0)),
]

export const diff = (before, after) => ({
  before: { run: head(before, 'execution_successful', 7_200_000), log: whole, figures: { severities: severities(1_000, 10, 0) } },
  after: { run: head(after, 'execution_failed', 3_600_000), log: whole, figures: { severities: severities(1_010, 40, 3) } },
  counts: { new: 1, moreOften: 1, gone: 1, lessOften: 0, unchanged: 1 },
  patterns: changes,
  newCauses: [],
  goneCauses: [],
  complete: true,
})

export const report = (runId, other, first) => ({
  run: head(runId, 'execution_failed', 3_600_000),
  log: whole,
  failure: {
    first: { time: first, severity: 'ERROR', bundleName: 'org.apache.spark.Executor', message: 'Exception in task 1.0 in stage 38.0' },
    causes: [
      { class: 'org.apache.spark.SparkException', message: 'Job aborted due to stage failure', at: 'jobs.Orders.main(Orders.java:12)' },
      { class: 'java.lang.IllegalStateException', message: 'the last row does not fit' },
    ],
    warningsBefore: [],
    consequences: [],
  },
  against: { run: head(other, 'execution_successful', 86_400_000), isGood: true, counts: { new: 1, moreOften: 1, gone: 1, lessOften: 0, unchanged: 1 }, changes, newCauses: [], complete: true },
  gaps: [{ start: first, durationMs: 4_200, before: 'Starting task', after: 'Finished task' }],
  patterns: [],
  stackTraces: [],
})

const reasons = (runId) => [
  { kind: 'failing', runId, runsInARow: 9, since: iso(86_400_000), error: 'Task 1 in stage 38.0 failed 1 times; aborting job' },
  { kind: 'slow', runId, durationMs: 6_780_000, usualMs: 28_000, goesOn: false },
  { kind: 'newProblems', problems: 1, title: 'could not write row <number>', runId },
]

export const taskReport = (runId) => ({
  reasons: reasons(runId),
  durations: { trend: { earlierP50Ms: 20_000, laterP50Ms: 31_000, times: 1.55 } },
  problems: [
    { kind: 'stackTrace', id: 'p1', title: 'java.lang.IllegalStateException: the last row does not fit', severity: 'ERROR', runs: 4, records: 120, firstSeen: iso(86_400_000), firstRun: runId, lastSeen: iso(60_000), lastRun: runId, isCurrent: true, isFlaky: true },
    { kind: 'pattern', id: 'p2', title: 'disk <path> is full', severity: 'FATAL', runs: 1, records: 1, firstSeen: iso(96_400_000), firstRun: runId, lastSeen: iso(96_400_000), lastRun: runId, isCurrent: false, isFlaky: false },
  ],
})

export const workspaceReport = (taskId, runId) => ({ workspaceName: 'data engineering', looks: [{ taskId, taskName: 'nightly orders', reasons: reasons(runId), runs: [] }] })

export const sql = [
  { day: '2026-11-21T00:00:00', runs: 12, failed: 1 },
  { day: '2026-11-22T00:00:00', runs: 14, failed: 0 },
  { day: '2026-11-23T00:00:00', runs: 11, failed: 6 },
].map((row) => JSON.stringify(row)).join('\n')

export const search = (runId) => ({
  items: [
    { runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', logTimestamp: ms - 5_000, severity: 'ERROR', logMessage: 'could not write row 7\njava.sql.SQLException: no' },
    { runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', logTimestamp: ms - 9_000, severity: 'INFO', logMessage: 'row 7 read' },
  ],
  cursor: 'further',
  scanned: { records: 120_000, bytes: 9_000_000 },
  complete: false,
})

export const collection = {
  upstreams: [
    { upstream: 'talend-eu', known: 12_040, going: 2, waiting: 31, failing: 1, incomplete: 1, landed: 11_900, noLog: 60, leftOut: 45, records: 84_000_000, pages: 12_400, waitingSince: ms - 340_000, listedUntil: ms - 20_000 },
  ],
  failing: [{ runId: '6c0e5a34-0000-4000-8000-0000000000dd', upstream: 'talend-eu', attempts: 4, problem: 'the service counts 4,000 records more than came', dueAt: ms + 60_000 }],
}

export const sinks = [
  { name: 'elastic', kind: 'elasticsearch', due: 12, done: 900, dead: 2, lag: 61_000, problem: 'the destination answers 429' },
  { name: 'files', kind: 'files', due: 0, done: 914, dead: 0, lag: 0 },
]
