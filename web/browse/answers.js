// Responses that the demonstration does not produce. Tests return them instead of those of the service.
// `npm run check` checks them against the description of the API.
/** @typedef {import('../src/lib/api').Schema} Schema */
const ms = Date.now()
/** @param {number} before */
const iso = (before) => new Date(ms - before).toISOString()
/** @type {(info: number, warn: number, error: number) => Schema['SeverityCounts']} */
const severities = (info, warn, error) => [0, 0, 0, info, warn, error, 0]
/** @type {(counts: Schema['SeverityCounts'], sample: string) => Schema['Occurrences']} */
const occurrences = (counts, sample) => ({ severities: counts, first: iso(90_000), last: iso(3_000), sample, sampleBundleName: 'tDBOutput_2' })
/** @type {(id: string, template: string, counts: Schema['SeverityCounts'], sample: string) => Schema['Pattern']} */
const pattern = (id, template, counts, sample) => ({ id, template, ...occurrences(counts, sample) })
/** @type {Schema['LogPart']} */
const whole = { state: 'whole', text: 'the summary is of the whole log', records: 1_096, summarized: 1_096, madeAt: iso(1_000) }
/** @type {(runId: string, status: Schema['RunStatus'], before: number) => Schema['RunHead']} */
const head = (runId, status, before) => ({
  runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', workspaceName: 'data engineering',
  status, triggeredAt: iso(before), startedAt: iso(before), finishedAt: iso(before - 60_000), durationMs: 60_000, records: 1_096, errors: 3, warnings: 6,
})

/** @type {Schema['RunPatterns']} */
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

/** @type {(change: Schema['Change'], id: string, template: string, before: number[] | null, after: number[] | null) => Schema['PatternChange']} */
const change = (change, id, template, before, after) => ({
  id, template, change, before: before && occurrences(before, template), after: after && occurrences(after, template),
})

const changes = [
  change({ kind: 'new' }, 'a1', 'could not write row <number> | java.sql.SQLException', null, severities(0, 0, 3)),
  change({ kind: 'moreOften', times: 4 }, 'a2', 'slow batch <number> took <number> ms', severities(0, 10, 0), severities(0, 40, 0)),
  change({ kind: 'gone' }, 'a3', 'done in <number> ms', severities(1, 0, 0), null),
  change({ kind: 'unchanged' }, 'a4', 'row <number> read', severities(500, 0, 0), severities(510, 0, 0)),
]

/** @type {(before: string, after: string) => Schema['RunDiff']} */
export const diff = (before, after) => ({
  before: { run: head(before, 'execution_successful', 7_200_000), log: whole, figures: { patterns: 3, recordsInNoPattern: 0, severities: severities(1_000, 10, 0) } },
  after: { run: head(after, 'execution_failed', 3_600_000), log: whole, figures: { patterns: 3, recordsInNoPattern: 0, severities: severities(1_010, 40, 3) } },
  counts: { new: 1, moreOften: 1, gone: 1, lessOften: 0, unchanged: 1 },
  patterns: changes,
  newCauses: [],
  goneCauses: [],
  complete: true,
})

/** @type {Schema['ProblemBody']} */
export const problem = {
  id: 'ba7816bf8f01cfea', title: 'java.lang.IllegalStateException: the last row does not fit', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb',
  workspaceName: 'data engineering', state: 'open', stateSetAt: iso(60_000), cameBackAt: iso(60_000), note: 'fixed in 1.2',
  firstSeen: iso(86_400_000), lastSeen: iso(60_000), runs: 12, tasks: 3,
}

/** @type {Schema['ProblemBody'][]} */
export const problems = [
  problem,
  { ...problem, id: 'ca7816bf8f01cfea', title: 'ORA-<number>: invalid username/password; logon denied', state: 'muted', stateSetBy: 'admin', mutedUntil: iso(-86_400_000), cameBackAt: undefined, note: undefined },
  { ...problem, id: 'da7816bf8f01cfea', title: `x${'y'.repeat(190)}`, state: 'resolved', stateSetBy: 'admin', cameBackAt: undefined, note: 'é'.repeat(300) },
]

/** @type {(runId: string) => Schema['ProblemDetailBody']} */
export const problemDetail = (runId) => ({
  problem,
  tasks: [
    { taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', runs: 9 },
    { taskId: 'cccccccccccccccccccccccc', taskName: 'hourly orders', runs: 3 },
  ],
  runs: [{ runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', status: 'execution_failed', endedAt: iso(60_000) }],
})

/** @type {(runId: string, other: string, first: string) => Schema['RunReport']} */
export const report = (runId, other, first) => ({
  run: head(runId, 'execution_failed', 3_600_000),
  log: whole,
  problem,
  problemTasks: [{ taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', runs: 9 }],
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

/** @type {(runId: string) => Schema['Reason'][]} */
const reasons = (runId) => [
  { kind: 'failing', runId, runsInARow: 9, since: iso(86_400_000), error: 'Task 1 in stage 38.0 failed 1 times; aborting job' },
  { kind: 'slow', runId, durationMs: 6_780_000, usualMs: 28_000, isRunning: false },
  { kind: 'newErrors', errorGroups: 1, title: 'could not write row <number>', runId },
]

const looked = { since: iso(604_800_000), until: iso(0), workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', workspaceName: 'data engineering', isCut: false, outcomes: [] }

/** @type {(taskId: string, runId: string) => Schema['TaskReport']} */
export const taskReport = (taskId, runId) => ({
  ...looked,
  taskId,
  taskName: 'nightly orders',
  runs: [],
  flips: 0,
  reasons: reasons(runId),
  durations: { runs: 10, minMs: 12_000, p50Ms: 28_000, p90Ms: 60_000, p95Ms: 80_000, p99Ms: 90_000, maxMs: 6_780_000, trend: { earlierP50Ms: 20_000, laterP50Ms: 31_000, times: 1.55 } },
  errorGroups: [
    { kind: 'cause', id: 'p1', title: 'java.lang.IllegalStateException: the last row does not fit', severity: 'ERROR', runs: 4, records: 120, firstSeen: iso(86_400_000), firstRun: runId, lastSeen: iso(60_000), lastRun: runId, isCurrent: true, isFlaky: true },
    { kind: 'pattern', id: 'p2', title: 'disk <path> is full', severity: 'FATAL', runs: 1, records: 1, firstSeen: iso(96_400_000), firstRun: runId, lastSeen: iso(96_400_000), lastRun: runId, isCurrent: false, isFlaky: false },
  ],
})

/** @type {(taskId: string, runId: string) => Schema['WorkspaceReport']} */
export const workspaceReport = (taskId, runId) => ({
  ...looked, tasksFine: 0, newErrorGroups: [], tasksToCheck: [{ taskId, taskName: 'nightly orders', reasons: reasons(runId), runs: [] }],
})

/** @type {(taskId: string, runId: string) => Schema['WorkspaceReport']} */
export const lateReport = (taskId, runId) => ({
  ...looked, tasksFine: 0, newErrorGroups: [],
  tasksToCheck: [
    {
      taskId, taskName: 'nightly orders', reasons: [{ kind: 'late', last: iso(93_600_000), usualMs: 3_600_000 }],
      runs: [{ runId, status: 'execution_successful', triggeredAt: iso(93_600_000), durationMs: 60_000, records: 1_096, errors: 0, warnings: 6 }],
    },
  ],
})

/** @type {Schema['WorkspaceReport']} */
export const fineReport = { ...looked, tasksFine: 4, newErrorGroups: [], tasksToCheck: [] }

export const sql = [
  { day: '2026-11-21T00:00:00', runs: 12, failed: 1 },
  { day: '2026-11-22T00:00:00', runs: 14, failed: 0 },
  { day: '2026-11-23T00:00:00', runs: 11, failed: 6 },
].map((row) => JSON.stringify(row)).join('\n')

/** @type {(runId: string) => Schema['SearchAnswer']} */
export const search = (runId) => ({
  items: [
    { runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', logTimestamp: ms - 5_000, severity: 'ERROR', logMessage: 'could not write row 7\njava.sql.SQLException: no' },
    { runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'nightly orders', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', logTimestamp: ms - 9_000, severity: 'INFO', logMessage: 'row 7 read' },
  ],
  cursor: 'further',
  scanned: { records: 120_000, bytes: 9_000_000 },
  complete: false,
})

/** @type {Schema['LogSetback']} */
export const setback = { upstream: 'talend-eu', problem: '320 of 350 records came', expected: 350, againAt: iso(-7_200_000) }

/** @type {(runId: string) => Schema['CollectionBody']} */
export const collection = (runId) => ({
  upstreams: [
    {
      name: 'talend-eu', known: 12_040, going: 2, waiting: 31, failing: 1, incomplete: 1, landed: 11_900, noLog: 60, gone: 2, leftOut: 45,
      records: 84_000_000, pages: 12_400, waitingSince: iso(340_000), listedUntil: iso(20_000),
      problems: [
        {
          runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', status: 'execution_failed', finishTimestamp: iso(340_000), attempts: 4, nextAttempt: iso(-7_200_000),
          problem: '320 of 4,320 records came', expectedRecords: 4_320,
        },
      ],
    },
  ],
  collectors: [
    { id: 'c1', host: 'api.eu.cloud.talend.com', seen: iso(2_000), requestsPerMinute: 100, requestsLeft: 37, requests: 48_210, repeated: 12, limited: 3 },
  ],
})

/** @type {Schema['RetriedBody']} */
export const retried = { runs: 63 }

/** @type {Schema['SinkBody'][]} */
export const sinks = [
  {
    name: 'elastic', kind: 'elasticsearch', due: 12, failing: 3, done: 900, dead: 2, records: 3_100_000, refused: 7, lagSeconds: 61, lastSeen: iso(4_000),
    problem: 'the destination answers 429',
    failedDeliveries: [{ runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', attempts: 3, nextAttempt: iso(-600_000), problem: 'the destination answers 429' }],
    deadLetters: [{ runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', time: iso(86_400_000), records: 7, reason: 'mapper_parsing_exception: failed to parse field [extra]', refusedAt: iso(60_000) }],
  },
  {
    name: 'hook', kind: 'webhook', due: 0, failing: 0, done: 2, dead: 12, records: 10, refused: 0, lagSeconds: 0, lastSeen: iso(4_000),
    failedDeliveries: [{ runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18', attempts: 1, problem: 'the destination answers 410' }], deadLetters: [],
  },
  { name: 'files', kind: 'files', due: 0, failing: 0, done: 914, dead: 0, records: 3_200_000, refused: 0, lagSeconds: 0, lastSeen: iso(4_000), failedDeliveries: [], deadLetters: [] },
]

/** @type {() => Schema['SearchFacetsAnswer']} */
export const facets = () => ({
  records: 1_234, complete: false, scanned: { records: 120_000, bytes: 9_000_000 },
  tasks: { values: [{ value: 'aaaaaaaaaaaaaaaaaaaaaaaa', name: 'nightly orders', count: 1_200 }], others: 34 },
  workspaces: { values: [{ value: 'bbbbbbbbbbbbbbbbbbbbbbbb', count: 1_234 }], others: 0 },
  severities: { values: [{ value: 'ERROR', count: 34 }, { value: 'INFO', count: 1_200 }], others: 0 },
  components: { values: [...Array.from({ length: 9 }, (_, index) => ({ value: `org.talend.components.tMap_${index}`, count: 100 - index })), { value: '', count: 12 }], others: 0 },
  statuses: { values: [{ value: 'execution_failed', count: 1_034 }, { value: 'execution_successful', count: 200 }], others: 0 },
  days: { values: [{ value: '2026-11-22T00:00:00Z', count: 34 }, { value: '2026-11-23T00:00:00Z', count: 1_200 }], others: 0 },
  histogram: { start: '2026-11-22T00:00:00Z', bucketMs: 43_200_000, buckets: [[0, 0, 0, 0, 0, 34, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 200, 900, 0, 0, 0], [0, 0, 0, 100, 0, 0, 0]] },
})

/** @type {Schema['AlertRuleBody'][]} */
export const alertRules = [
  {
    name: 'chat', since: iso(9e9), lastSeen: iso(9_000), delivered: 12, waiting: 0, lastEvent: iso(86_400_000),
    description: { when: ['new_problem', 'problem_came_back'], workspaces: [], tasks: [], taskNames: [], destinations: ['webhook chat.example.com 7b51a4bb'] },
    mute: { until: iso(-7_200_000), by: 'kim', note: 'planned work on the database' },
  },
  {
    name: 'night-shift', since: iso(9e9), lastSeen: iso(9_000), delivered: 1_203, waiting: 0, lastEvent: iso(7_200_000),
    description: { when: ['run_failed', 'task_late', 'log_incomplete'], workspaces: ['sales'], tasks: ['aaaaaaaaaaaaaaaaaaaaaaaa'], taskNames: ['nightly-*'], destinations: ['mail ops@example.com', 'pagerduty events.pagerduty.com 5c1d09ab'], maintenance: [{ name: 'nightly backup', until: iso(-5_400_000) }, { name: 'move' }] },
    refused: 2,
    open: [
      { what: 'run_failed', text: 'nightly orders ended with execution_failed: the last row does not fit', runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', since: iso(7_200_000) },
      { what: 'task_late', text: 'hourly has not run since 2026-11-23T10:00:00Z; it usually runs every 60 min', taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', since: iso(9_200_000), endedAt: iso(600_000) },
    ],
  },
  { name: 'old-rule', since: iso(9e9), lastSeen: iso(9e8), delivered: 0, waiting: 1, problem: 'it answered 503' },
]

/** @type {(runId: string) => Schema['AlertBody'][]} */
export const alertHistory = (runId) => [
  {
    rule: 'chat', destination: 'webhook chat.example.com 7b51a4bb', what: 'new_problem', text: 'new problem in sales: ORA-12541: no listener (tasks: hourly)', problemId: 'ca7816bf8f01cfea',
    notedAt: iso(7_000_000), state: 'delivered', deliveredAt: iso(6_990_000), attempts: 1,
  },
  {
    rule: 'night-shift', destination: 'mail ops@example.com', what: 'run_failed', text: 'nightly orders ended with execution_failed', runId,
    notedAt: iso(7_200_000), state: 'delivered', deliveredAt: iso(7_190_000), attempts: 1,
  },
  {
    rule: 'old-rule', destination: 'webhook chat.example.com 7b51a4bb', what: 'task_late', text: 'hourly has not run since 2026-11-23T10:00:00Z; it usually runs every 60 min',
    taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', notedAt: iso(9_200_000), state: 'waiting', nextAttempt: iso(-300_000), attempts: 4, problem: 'it answered 503',
  },
  { rule: 'chat', destination: 'webhook chat.example.com 7b51a4bb', what: 'sink_behind', text: 'sink elastic is behind by 2 h 3 min: 12 runs are due', notedAt: iso(9_900_000), state: 'muted', attempts: 0 },
  { rule: 'night-shift', destination: 'mail ops@example.com', what: 'run_failed', text: 'hourly ended with execution_failed', notedAt: iso(9_990_000), state: 'dropped', attempts: 0 },
  { rule: 'night-shift', destination: 'pagerduty events.pagerduty.com 5c1d09ab', what: 'run_failed', text: 'hourly ended with execution_failed', notedAt: iso(9_999_000), state: 'refused', attempts: 1, problem: 'it answered 400 Bad Request' },
]

/** @type {(runId: string) => Schema['AlertPreviewBody'][]} */
export const alertPreview = (runId) => [
  { rule: 'chat', events: 0, muted: 0, complete: true, items: [] },
  {
    rule: 'night-shift', events: 2_000, muted: 1, complete: false,
    items: [
      { what: 'run_failed', text: 'nightly orders ended with execution_failed: the last row does not fit', at: iso(7_200_000), runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', muted: false },
      { what: 'run_failed', text: 'hourly ended with execution_failed', at: iso(9_200_000), runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', muted: true },
    ],
  },
]

/** @type {(runId: string) => Schema['DeliveryBody'][]} */
export const deliveries = (runId) => [
  { runId, taskName: 'nightly orders', state: 'done', deliveredAt: iso(60_000), records: 1_096, attempts: 0 },
  { runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', taskName: 'nightly orders', state: 'dead', records: 0, attempts: 1, problem: 'the destination answers 410' },
]

/** @type {(runId: string) => Schema['LandedRunBody'][]} */
export const landed = (runId) => [
  { runId, status: 'execution_successful', finishTimestamp: iso(400_000), landedAt: iso(340_000), records: 4_320, pages: 1 },
]

/** @type {(id: string, status: string, before: number) => Schema['PlanLine']} */
const plan = (id, status, before) => ({
  executionId: id, planId: 'e7734729-cf3d-4578-939c-30381e95cd10', planName: 'month end', workspaceId: 'bbbbbbbbbbbbbbbbbbbbbbbb', status,
  startTimestamp: iso(before), ...(status === 'executing' ? {} : { finishTimestamp: iso(before - 600_000) }), planned: 4, done: 2, isReported: true,
})

/** @type {Schema['PlanLine'][]} */
export const plans = [
  plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd4', 'executing', 60_000),
  plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5', 'execution_failed', 3_600_000),
  { ...plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd6', 'execution_misfired', 90_000_000), misfiredReason: 'PLAN_EXECUTIONS_PAUSED', done: 0 },
  { ...plan('odd', 'pondering <b>', 180_000_000), planName: `a plan with a long name ${'that goes on '.repeat(8)}` },
]

/** @type {(runId: string) => Schema['PlanView']} */
export const planView = (runId) => ({
  ...plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5', 'execution_failed', 3_600_000),
  workspaceName: 'books', executionType: 'SCHEDULED', userId: 'fupton', reason: 'step sum failed: 1 of 2 runs; 1 step was not started',
  steps: [
    {
      id: 'a', name: 'load', condition: 'ALL_SUCCEEDED', outcome: 'succeeded', executionStatus: 'EXECUTION_SUCCESS', startTimestamp: iso(3_600_000), finishTimestamp: iso(3_400_000), planned: 1, planExecutions: [],
      runs: [{ runId: '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'load orders', status: 'execution_successful', startTimestamp: iso(3_600_000), finishTimestamp: iso(3_400_000), isArchived: true }],
    },
    {
      id: 'b', name: `sum <b>up</b> ${'everything '.repeat(12)}`, condition: 'AT_LEAST_ONE_SUCCEEDED', outcome: 'failed', executionStatus: 'EXECUTION_FAILED', startTimestamp: iso(3_400_000), finishTimestamp: iso(3_100_000), planned: 2, planExecutions: [],
      runs: [
        { runId, taskId: 'aaaaaaaaaaaaaaaaaaaaaaaa', taskName: 'sum orders', status: 'execution_failed', startTimestamp: iso(3_400_000), finishTimestamp: iso(3_100_000), errorMessage: 'java.lang.IllegalStateException: the last row does not fit', isArchived: true },
        { runId: '1b0e4d52-6a3c-4f0e-9a57-0000000000ff', taskName: 'sum customers', status: 'execution_successful', isArchived: false },
      ],
      errorHandler: { id: 'h', outcome: 'succeeded', executionStatus: 'EXECUTION_SUCCESS', startTimestamp: iso(3_100_000), finishTimestamp: iso(3_000_000), planned: 1, runs: [], planExecutions: ['7fb48c7a-5ea5-4cb9-9333-e345f28d9dd7'] },
    },
    { id: 'c', name: 'send', outcome: 'not_started', runs: [], planExecutions: [], notStartedBecause: 'step sum failed, and one of its tasks must succeed for the next step to start' },
  ],
  otherRuns: [],
  earlier: [plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd8', 'execution_successful', 90_000_000), plan('7fb48c7a-5ea5-4cb9-9333-e345f28d9dd9', 'execution_failed', 180_000_000)],
})
