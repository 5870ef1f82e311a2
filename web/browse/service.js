// A service with data: the ten logs of the demonstration, and a run of two million records.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import { Readable } from 'node:stream'

const root = new URL('../..', import.meta.url).pathname
const program = process.env.RUNLOG ?? `${process.env.CARGO_TARGET_DIR ?? `${root}target`}/debug/runlog`

export const LONG_RUN = '6c0e5a34-0000-4000-8000-0000002000aa'
export const GOING_RUN = '6c0e5a34-0000-4000-8000-0000000000bb'
export const EMPTY_RUN = '6c0e5a34-0000-4000-8000-0000000000cc'
export const LONG_RECORDS = Number(process.env.RUNLOG_BROWSE_RECORDS ?? 2_000_000)

/** Starts the demonstration and leaves it running. */
export async function start() {
  const child = spawn(program, ['demo', '--keep', '--json'], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`runlog demo ended with ${code}`)
  })
  const [line] = await Promise.race([once(lines, 'line'), ended])
  ended.catch(() => {})
  const demo = JSON.parse(line)
  const service = { ...demo, stop: () => child.kill('SIGTERM') }
  process.on('exit', service.stop)
  return service
}

/** Sends a request as the administrator. */
export async function send(service, method, path, body, duplex) {
  const headers = { authorization: `Bearer ${service.token}` }
  const answer = await fetch(service.url + path, { method, headers, body, ...(duplex ? { duplex } : {}) })
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
  return answer
}

const run = (id) => `/runlog/v1/runs/${id}`

/** Pushes a run of two million records: mostly progress, with a warning now and then and a stack trace at its end. */
export async function pushLongRun(service) {
  const begun = Date.now() - 7_200_000
  await send(service, 'PUT', run(LONG_RUN), JSON.stringify({ taskId: service.taskId, startTimestamp: new Date(begun).toISOString() }))
  await send(service, 'POST', `${run(LONG_RUN)}/records`, Readable.toWeb(Readable.from(longLog(begun))), 'half')
  const finish = { status: 'execution_failed', finishTimestamp: new Date(begun + 3.4 * LONG_RECORDS).toISOString(), errorMessage: 'java.lang.IllegalStateException: the last row does not fit' }
  await send(service, 'POST', `${run(LONG_RUN)}/finish`, JSON.stringify(finish))
}

function* longLog(begun) {
  const components = ['org.talend.tFileInput', 'org.talend.tMap_1', 'org.talend.tDBOutput_2']
  let lines = []
  for (let index = 0; index < LONG_RECORDS; index += 1) {
    lines.push(JSON.stringify(record(index, begun, components)))
    if (lines.length === 5_000) {
      yield Buffer.from(lines.join('\n') + '\n')
      lines = []
    }
  }
  yield Buffer.from(lines.join('\n') + '\n')
}

function record(index, begun, components) {
  const logTimestamp = begun + Math.floor(index * 3.4)
  const bundleName = components[index % 3]
  if (index === LONG_RECORDS - 1) {
    return { logTimestamp, severity: 'FATAL', bundleName, logType: 'JOB', logMessage: trace(index) }
  }
  if (index % 50_021 === 50_000) return { logTimestamp, severity: 'ERROR', bundleName, logType: 'JOB', logMessage: trace(index) }
  if (index % 2_003 === 2_000) return { logTimestamp, severity: 'WARN', bundleName, logType: 'JOB', logMessage: `slow batch ${index} took ${(index * 7) % 900} ms` }
  return { logTimestamp, severity: index % 5 === 0 ? 'DEBUG' : 'INFO', bundleName, logType: 'JOB', logMessage: `row ${index} read from orders_${index % 97}.csv and written to table ORDERS` }
}

const trace = (index) =>
  [
    `could not write row ${index}`,
    'java.sql.SQLException: value too long for column CUSTOMER_NAME',
    '\tat org.talend.jobs.Orders.tDBOutput_2Process(Orders.java:1204)',
    '\tat org.talend.jobs.Orders.runJobInTOS(Orders.java:2101)',
    '\tat java.base/java.lang.Thread.run(Thread.java:840)',
    'Caused by: java.lang.IllegalStateException: the last row does not fit',
    '\t... 3 more',
  ].join('\n')

/** A running run, and one that ended without a log. */
export async function pushShortRuns(service) {
  await send(service, 'PUT', run(GOING_RUN), JSON.stringify({ taskId: service.taskId }))
  await push(service, GOING_RUN, 40)
  await send(service, 'PUT', run(EMPTY_RUN), JSON.stringify({ taskId: service.taskId }))
  await send(service, 'POST', `${run(EMPTY_RUN)}/finish`, JSON.stringify({ status: 'terminated' }))
}

/** Pushes some more lines to a run. */
export async function push(service, id, count, message = 'still going') {
  const now = Date.now()
  const lines = Array.from({ length: count }, (_, index) => JSON.stringify({ logTimestamp: now + index, severity: 'INFO', logMessage: `${message} ${index}` }))
  await send(service, 'POST', `${run(id)}/records`, lines.join('\n'))
}

/** Stores the metrics of two components of a run; the second wrote this many rows, or failed. */
export async function measure(service, id, rows, stacktrace) {
  const pid = `p-${id}`
  const component = (type, number, label) => ({ pid, connector_type: type, connector_id: `${type}_${number}`, connector_label: label, component_start_time_seconds: 1_795_000_000 })
  const flow = { target_connector_type: 'tDBOutput', target_id: 'tDBOutput_2', target_label: 'write orders', component_connection_rows_total: rows, component_execution_duration_milliseconds: 2_000 }
  const items = [
    { ...component('tDBInput', 1, 'tDBInput_1'), ...flow },
    component('tDBOutput', 2, 'write orders'),
    { ...component('tLogRow', 1, HOSTILE), ...(stacktrace ? { stacktrace } : {}) },
  ]
  const processes = [{ process_id: 'j', job_name: 'nightly_orders', pid, father_pid: pid, root_pid: pid }]
  await send(service, 'PUT', `${run(id)}/component-metrics`, JSON.stringify({ processes, items, rows_rejected: 3 }))
}

export const ODD_RUN = '6c0e5a34-0000-4000-8000-0000000000d1'
export const HOSTILE = '<img src=x onerror="document.title=1">'
export const LONG_LINE = `${'long '.repeat(120)}end of the long line`

/** Pushes a failed run with colours, characters that change the order of text, JSON, a long line and a stack trace. */
export async function pushOddRun(service) {
  const escape = '\u001b'
  const messages = [
    `${escape}[32mstarted${escape}[0m ${escape}[1;31mred and bold${escape}[0m`, 'user \u202enimda logged in',
    JSON.stringify({ event: 'load', nested: { rows: [1, 2], isWhole: true } }), LONG_LINE, HOSTILE,
    `could not connect\n${escape}[31m\tat demo.Orders.run(Orders.java:12)${escape}[0m\nCaused by: demo.Refused: connection refused by needle-host`,
  ]
  const begun = Date.parse('2026-11-20T23:30:00Z')
  const severity = (index) => (index === 5 ? 'ERROR' : 'INFO')
  const lines = Array.from({ length: 60 }, (_, index) => ({
    logTimestamp: begun + index * 1_000, severity: severity(index), bundleName: 'demo.tMap_1', logType: 'JOB', logMessage: messages[index] ?? `line ${index}`,
  }))
  await send(service, 'PUT', run(ODD_RUN), JSON.stringify({ taskId: service.taskId, startTimestamp: new Date(begun).toISOString() }))
  await send(service, 'POST', `${run(ODD_RUN)}/records`, lines.map((line) => JSON.stringify(line)).join('\n'))
  await send(service, 'POST', `${run(ODD_RUN)}/finish`, JSON.stringify({ status: 'execution_failed', finishTimestamp: new Date(begun + 60_000).toISOString(), errorMessage: 'it broke' }))
}
