// Every page in a browser: with the mouse and with the keyboard, light and dark, wide and on a phone; without errors of
// the browser, and without accessibility problems found by axe.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, describe, it } from 'node:test'
import * as answers from './answers.js'
import { delay, openBrowser, openPage } from './browser.js'
import { accessTests } from './access.js'
import { administrationTests } from './administration.js'
import { contentsTests } from './contents.js'
import { historyTests } from './history.js'
import { outageTests } from './outage.js'
import { readingTests } from './reading.js'
import { rightsTests } from './rights.js'
import { EMPTY_RUN, GOING_RUN, LONG_RECORDS, LONG_RUN, push, pushLongRun, pushOddRun, pushShortRuns, send, start } from './service.js'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const FAILED_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'
const EARLIER_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17'
/** Maximum time after the end of scrolling until the visible lines are loaded. */
const SHOWN_WITHIN_MS = 300 + 2 * delay
const shots = process.env.RUNLOG_BROWSE_SHOTS

let service
let chrome
/** The problem of the long run. */
let problemId
before(async () => {
  service = await start()
  await pushShortRuns(service)
  await pushOddRun(service)
  await pushLongRun(service)
  problemId = await problemOf('does not fit')
  chrome = await openBrowser()
})
after(async () => {
  await chrome?.close()
  service?.stop()
})

/** Opens a page, runs a test on it, and checks that the browser reported no error. */
async function visit(path, options, act) {
  const { page, context, complaints } = await openPage(chrome.browser, service, options)
  try {
    if (options.answers) await answerFor(page)
    await options.prepare?.(page)
    await page.goto(service.url + path)
    await act(page, context)
    assert.deepEqual(complaints, [])
  } catch (error) {
    if (shots) {
      mkdirSync(shots, { recursive: true })
      await page.screenshot({ path: `${shots}/failed.png` })
    }
    const shown = await page.locator('body').innerText().catch(() => '')
    error.message += `\nShown at ${page.url()}: ${shown.slice(0, 1_500)}`
    throw error
  } finally {
    await context.close()
  }
}

accessTests({ visit, hasNoBarrier, fits, service: () => service, chrome: () => chrome })
administrationTests({ visit, hasNoBarrier, fits, service: () => service })
readingTests({ visit, hasNoBarrier, fits, tokenOfNobody, service: () => service, chrome: () => chrome })
contentsTests({ visit, hasNoBarrier, fits, service: () => service })
outageTests({ visit, hasNoBarrier, service: () => service, chrome: () => chrome })
historyTests({ visit, service: () => service })
rightsTests({ hasNoBarrier, fits, tokenOfNobody, service: () => service, chrome: () => chrome })

/** Cases that the demonstration does not produce. */
async function answerFor(page) {
  const json = (body) => (route) => route.fulfill({ json: body })
  await page.route('**/runlog/v1/runs/*/patterns', json(answers.patterns))
  await page.route('**/runlog/v1/runs/*/report', json(answers.report(FAILED_RUN, EARLIER_RUN, '2026-11-23T12:00:20Z')))
  await page.route('**/runlog/v1/runs/*/diff/*', json(answers.diff(EARLIER_RUN, FAILED_RUN)))
  await page.route('**/runlog/v1/tasks/*/report?*', json(answers.taskReport(service.taskId, FAILED_RUN)))
  await page.route('**/runlog/v1/workspaces/*/report?*', json(answers.workspaceReport(service.taskId, FAILED_RUN)))
  await page.route('**/runlog/v1/sql', (route) =>
    (route.request().postData()?.includes('information_schema') ? route.continue() : route.fulfill({ body: answers.sql, contentType: 'application/x-ndjson' })))
  await page.route('**/runlog/v1/problems?*', json({ items: answers.problems, limit: 50, offset: 0, total: answers.problems.length }))
  await page.route('**/runlog/v1/problems/*', json(answers.problemDetail(FAILED_RUN)))
  await page.route('**/runlog/v1/search?*', json(answers.search(FAILED_RUN)))
  await page.route('**/runlog/v1/search/facets?*', json(answers.facets()))
  await page.route('**/runlog/v1/alerts', json(answers.alertRules))
  await page.route('**/runlog/v1/alerts/history?*', json({ items: answers.alertHistory(FAILED_RUN), limit: 50, offset: 0, total: 3 }))
  await page.route('**/runlog/v1/alerts/preview?*', json(answers.alertPreview(FAILED_RUN)))
  await page.route('**/runlog/v1/sinks/*/deliveries?*', json({ items: answers.deliveries(FAILED_RUN), limit: 20, offset: 0, total: 2 }))
  await page.route('**/runlog/v1/collection/*/runs?*', json({ items: answers.landed(FAILED_RUN), limit: 20, offset: 0, total: 1 }))
  await page.route('**/runlog/v1/plan-executions?*', json({ items: answers.plans, limit: 50, offset: 0, total: answers.plans.length }))
  await page.route('**/runlog/v1/plan-executions/*', json(answers.planView(FAILED_RUN)))
  await page.route('**/runlog/v1/collection', json(answers.collection(FAILED_RUN)))
  await page.route('**/runlog/v1/sinks', json(answers.sinks))
}

/** The ID of a problem by its title; it is known once the log of the run is summarised. */
async function problemOf(title) {
  for (let tries = 0; tries < 600; tries += 1) {
    const { items } = await (await send(service, 'GET', `/runlog/v1/problems?q=${encodeURIComponent(title)}`)).json()
    if (items.length > 0) return items[0].id
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  throw new Error(`there is no problem ${title}`)
}

let nobodies = 0
/** The token of a new user without any right. */
async function tokenOfNobody() {
  const create = async (what, body) => (await send(service, 'POST', `/runlog/v1/${what}`, JSON.stringify(body))).json()
  const user = await create('users', { name: `nobody-${process.pid}-${(nobodies += 1)}` })
  return (await create('tokens', { name: 'test', userId: user.id })).token
}

/** No accessibility problems found by axe, not even during an animation, when text could be too faint. */
async function hasNoBarrier(page) {
  await page.evaluate(axe)
  const found = await page.evaluate(async () => {
    const animations = document.getAnimations().filter((one) => one.playState === 'running')
    for (const one of animations) {
      one.pause()
      one.currentTime = one.effect.getComputedTiming().duration / 2
    }
    const found = await window.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })
    animations.forEach((one) => one.play())
    return found
  })
  const told = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`)
  assert.deepEqual(told, [])
}

/** The page does not scroll sideways. */
async function fits(page) {
  const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth])
  assert.ok(inner <= outer, `${page.url()}: ${inner} pixels in ${outer}`)
}

const pages = () => [
  { name: 'overview', path: '/?hours=2160', shows: 'Needs attention' },
  { name: 'workspaces', path: '/workspaces?hours=2160', shows: 'data engineering' },
  { name: 'tasks', path: '/tasks?hours=2160', shows: 'nightly orders' },
  { name: 'task', path: `/tasks/${service.taskId}?hours=2160`, shows: 'Median duration' },
  { name: 'run', path: `/runs/${FAILED_RUN}#1`, shows: 'Running Spark version' },
  { name: 'run, filtered', path: `/runs/${FAILED_RUN}?severity=WARN,ERROR`, shows: '9 matching lines' },
  { name: 'empty run', path: `/runs/${EMPTY_RUN}`, shows: 'ended' },
  { name: 'plans', path: '/plans', shows: 'Plans' },
  { name: 'compare', path: `/runs/${EARLIER_RUN}/compare/${FAILED_RUN}`, shows: 'Swap' },
  { name: 'problems', path: '/problems', shows: 'the last row does not fit' },
  { name: 'problem', path: `/problems/${problemId}`, shows: 'Latest runs' },
  { name: 'search', path: '/search?q=row', shows: 'Search all logs' },
  { name: 'sql', path: '/sql', shows: 'Saved queries' },
  { name: 'collection', path: '/collection', shows: 'Upstreams' },
  { name: 'alerts', path: '/alerts', shows: 'Rules' },
  { name: 'retention', path: '/retention', shows: 'When logs are deleted' },
  { name: 'access', path: '/access', shows: 'Access tokens' },
  { name: 'audit log', path: '/access/audit', shows: 'run SQL query' },
  { name: 'tenant audit logs', path: '/access/tenant-audit-logs', shows: 'Audit logs of tenants' },
  { name: 'missing page', path: '/nowhere', shows: 'Page not found' },
]

describe('each page', () => {
  for (const [form, options] of Object.entries({
    'light and wide': { dark: false },
    'dark and wide': { dark: true, answers: true },
    'light and on a phone': { dark: false, width: 390, height: 844, answers: true },
    'dark and on a phone': { dark: true, width: 360, height: 740 },
  })) {
    it(form, async () => {
      for (const { name, path, shows } of pages()) {
        await visit(path, options, async (page) => {
          await page.getByText(shows).first().waitFor()
          await page.waitForFunction(() => !document.querySelector('main .pulse[role=status]'))
          await fits(page)
          await hasNoBarrier(page)
          if (shots) {
            mkdirSync(shots, { recursive: true })
            await page.screenshot({ path: `${shots}/${name.replace(/\W+/g, '-')}-${form.replace(/\W+/g, '-')}.png` })
          }
        })
      }
    })
  }
})

describe('plans', () => {
  for (const [form, options] of Object.entries({
    'light and wide': { dark: false },
    'dark and on a phone': { dark: true, width: 360, height: 740 },
  })) {
    it(`show what failed and what was not started, by keys alone, ${form}`, async () => {
      await visit('/plans', { ...options, answers: true }, async (page) => {
        const shot = async (name) => {
          await fits(page)
          await hasNoBarrier(page)
          if (!shots) return
          mkdirSync(shots, { recursive: true })
          await page.screenshot({ path: `${shots}/${name}-${form.replace(/\W+/g, '-')}.png`, fullPage: true })
        }
        await page.getByText('did not start').last().waitFor()
        await page.getByText('pondering <b>').waitFor()
        await shot('plan-executions')
        await page.getByRole('link', { name: 'month end' }).nth(1).focus()
        await page.keyboard.press('Enter')
        await page.getByText('Not started: step sum failed, and one of its tasks must succeed').waitFor()
        await page.getByText('step sum failed: 1 of 2 runs; 1 step was not started').waitFor()
        await page.getByText('not in the archive').waitFor()
        await page.getByRole('link', { name: '7fb48c7a-5ea5-4cb9-9333-e345f28d9dd7' }).waitFor()
        assert.equal(await page.getByRole('link', { name: 'sum orders' }).getAttribute('href'), `/runs/${FAILED_RUN}`)
        await shot('plan-execution')
      })
    })
  }

  it('are derived from runs where no upstream describes them', async () => {
    const id = '6c0e5a34-0000-4000-8000-0000000000dd'
    const start = { taskId: service.taskId, planId: 'books', planName: 'close books', planExecutionId: 'of runs/1', planStepId: 'sum' }
    await send(service, 'PUT', `/runlog/v1/runs/${id}`, JSON.stringify(start))
    await send(service, 'POST', `/runlog/v1/runs/${id}/finish`, JSON.stringify({ status: 'execution_failed' }))
    await visit('/plans?status=execution_failed', {}, async (page) => {
      await page.getByRole('link', { name: 'close books' }).click()
      await page.getByText('Derived from its runs').waitFor()
      await page.getByRole('list', { name: 'Runs of sum' }).getByRole('link').click()
      await page.getByText('Why there is no log: the run was pushed without records').waitFor()
    })
  })
})

describe('signing in', () => {
  it('trades a token for a session, by keys alone, and ends it', async () => {
    await visit('/tasks', { signedIn: false }, async (page, context) => {
      await page.getByLabel('Token').waitFor()
      await hasNoBarrier(page)
      await page.keyboard.type('rlp_not-a-token')
      await page.keyboard.press('Enter')
      await page.getByText('Invalid or expired token.').waitFor()
      await page.getByLabel('Token').focus()
      await page.keyboard.type(service.token)
      await page.keyboard.press('Enter')
      await page.getByRole('heading', { name: 'Tasks' }).waitFor()
      const [cookie] = await context.cookies()
      assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, 'Strict'])
      assert.equal(await page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage })), '{}')
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByLabel('Token').waitFor()
    })
  })

  it('is asked for again when the session has ended', async () => {
    await visit('/', {}, async (page, context) => {
      await page.getByRole('heading', { name: 'Overview' }).waitFor()
      await context.clearCookies()
      // The first request fails, whichever it is.
      await page.getByRole('combobox', { name: 'Time' }).selectOption('72', { timeout: 2_000 }).catch(() => {})
      await page.getByLabel('Token').waitFor()
    })
  })
})

describe('a log of two million lines', () => {
  const line = (page, index) => page.locator(`article[data-index="${index}"]`)

  /** Time until the line is visible. Unit: milliseconds. */
  async function within(page, index, act) {
    await act()
    const begun = performance.now()
    await line(page, index).waitFor({ timeout: 5_000 })
    return performance.now() - begun
  }

  it('shows its first, its middle and its last line at once, with the scroll bar', async () => {
    const times = { last: [], middle: [], first: [], quarter: [] }
    // With a new page each time. The median of three counts, because other programs may be running.
    for (let round = 0; round < 3; round += 1) {
      await visit(`/runs/${LONG_RUN}#30000`, { height: 1_000 }, async (page) => {
        await line(page, 29_999).waitFor()
        await page.waitForFunction(() => !document.querySelector('main .pulse[role=status]'))
        const rows = await page.evaluate(() => document.querySelector('.scroller').clientHeight / 20)
        for (const [name, share] of [['last', 1], ['middle', 0.5], ['first', 0], ['quarter', 0.25]]) {
          const scroll = () =>
            page.evaluate((to) => {
              const scroller = document.querySelector('.scroller')
              scroller.scrollTop = to * (scroller.scrollHeight - scroller.clientHeight)
            }, share)
          const index = share === 1 ? LONG_RECORDS - 1 : Math.round(share * (LONG_RECORDS - rows)) + 2
          times[name].push(await within(page, index, scroll))
        }
      })
    }
    const middle = Object.entries(times).map(([name, three]) => [name, Math.round(three.sort((a, b) => a - b)[1])])
    assert.ok(middle.every(([, ms]) => ms <= SHOWN_WITHIN_MS), middle.map(([name, ms]) => `${name} ${ms} ms`).join(', '))
  })

  it('that did not come whole says so, and when it is tried again', async () => {
    const incomplete = async (page) => {
      await page.route(`**/runs/${GOING_RUN}/summary`, async (route) => {
        const answer = await route.fetch()
        const run = await answer.json()
        await route.fulfill({ response: answer, json: { ...run, log: { ...run.log, state: 'INCOMPLETE', setback: answers.setback } } })
      })
    }
    for (const width of [1_280, 390]) {
      await visit(`/runs/${GOING_RUN}`, { width, prepare: incomplete }, async (page) => {
        await page.getByText('! incomplete').waitFor()
        await page.getByText(/The log is incomplete: 320 of 350 records came\. talend-eu reports 350 records.*The next attempt to collect it from talend-eu is in 1 h/).waitFor()
        await fits(page)
        await hasNoBarrier(page)
      })
    }
  })

  it('is read by keys alone', async () => {
    await visit(`/runs/${LONG_RUN}#1`, { height: 1_000 }, async (page) => {
      await line(page, 0).waitFor()
      const viewer = page.getByRole('region', { name: /^The log,/ })
      await viewer.focus()
      const times = [
        await within(page, LONG_RECORDS - 1, () => page.keyboard.press('End')),
        await within(page, 0, () => page.keyboard.press('Home')),
        await within(page, 40, () => page.keyboard.press('PageDown')),
      ]
      assert.ok(Math.max(...times) <= SHOWN_WITHIN_MS, `${times.map(Math.round)} ms`)
      await page.keyboard.press('End')
      await line(page, LONG_RECORDS - 1).waitFor()
      for (let index = 0; index < 200; index += 1) {
        await page.keyboard.press('ArrowDown')
        if (page.url().endsWith(`#${LONG_RECORDS}`)) break
      }
      assert.ok(page.url().endsWith(`#${LONG_RECORDS}`))
      await page.keyboard.press('Enter')
      await page.keyboard.press('End')
      await page.getByText('Caused by: java.lang.IllegalStateException').waitFor()
      await hasNoBarrier(page)
      await page.keyboard.press('Enter')
      await page.getByText('Caused by: java.lang.IllegalStateException').waitFor({ state: 'detached' })
    })
  })

  it('is led to by a link to a line, and by the number of a line', async () => {
    await visit(`/runs/${LONG_RUN}#1234568`, {}, async (page) => {
      await line(page, 1_234_567).waitFor()
      assert.match(await line(page, 1_234_567).textContent(), /row 1234567 read/)
      await page.getByLabel('Line', { exact: true }).fill('77')
      await page.keyboard.press('Enter')
      await line(page, 76).waitFor()
    })
  })

  it('is moved by the wheel row by row', async () => {
    await visit(`/runs/${LONG_RUN}#1000000`, {}, async (page) => {
      await line(page, 999_999).waitFor()
      await page.locator('.scroller').hover()
      await page.mouse.wheel(0, 400)
      const top = async () => Number(await page.locator('.scroller').getAttribute('data-top'))
      const before = await top()
      await page.mouse.wheel(0, 400)
      await page.waitForFunction((from) => Number(document.querySelector('.scroller').dataset.top) === from + 20, before)
      await line(page, before + 22).waitFor()
    })
  })

  it('is searched and filtered, with what fits marked, and the address says so', async () => {
    await visit(`/runs/${LONG_RUN}#1`, {}, async (page) => {
      await line(page, 0).waitFor()
      await page.keyboard.press('/')
      await page.keyboard.type('ROW 1999')
      await page.keyboard.press('Enter')
      await page.getByText(/matching lines/).waitFor()
      await line(page, 1_999).waitFor()
      assert.equal(await line(page, 1_999).locator('mark').textContent(), 'row 1999')
      assert.match(page.url(), /q=ROW\+1999/)
      await page.getByRole('button', { name: 'Clear' }).click()
      await page.getByRole('group', { name: 'Severities' }).getByRole('button', { name: /FATAL/ }).click()
      await page.getByText('1 matching line').waitFor({ timeout: 20_000 })
      await line(page, LONG_RECORDS - 1).waitFor()
      await page.getByLabel('Matches only').uncheck()
      await page.getByText('All lines, with matches highlighted').waitFor()
      await page.getByRole('button', { name: 'Previous match' }).click()
      await page.waitForURL(`**#${LONG_RECORDS}`)
      await page.goBack().catch(() => {})
    })
  })

  it('is cut to a stretch of time with the mouse and with keys', async () => {
    await visit(`/runs/${LONG_RUN}`, { height: 1_000 }, async (page) => {
      const bars = page.getByRole('application', { name: /^Records over time/ })
      await bars.waitFor()
      const box = await bars.boundingBox()
      await page.mouse.move(box.x + box.width * 0.5 + 1, box.y + 20)
      await page.mouse.down()
      await page.mouse.move(box.x + box.width * 0.75 - 1, box.y + 20, { steps: 4 })
      await page.mouse.up()
      await page.waitForURL(/lines=/)
      const [, first, last] = /lines=(\d+)-(\d+)/.exec(page.url()).map(Number)
      assert.ok(Math.abs(first - LONG_RECORDS * 0.5) < LONG_RECORDS / 90 && Math.abs(last - LONG_RECORDS * 0.75) < LONG_RECORDS / 90, `${first} to ${last}`)
      await line(page, first - 1).waitFor()
      await bars.focus()
      await page.keyboard.press('Escape')
      await page.waitForURL((url) => !url.search.includes('lines='))
      await page.keyboard.press('Home')
      await page.keyboard.press('Shift+ArrowRight')
      await page.keyboard.press('Enter')
      await page.waitForURL(/lines=1-/)
    })
  })
})

describe('a problem', () => {
  it('is listed, muted with a note, resolved and reopened, and a run leads to it', async () => {
    await visit('/problems', {}, async (page) => {
      await page.getByRole('link', { name: /does not fit/ }).click()
      await page.getByRole('heading', { name: /does not fit/ }).waitFor()
      await page.getByText('Latest runs').waitFor()
      await page.getByLabel('Note').fill('the DBA knows')
      await page.getByLabel('How long to mute').selectOption('3')
      await page.getByRole('button', { name: 'Mute' }).click()
      await page.getByText('Muted until').waitFor()
      await page.getByText('the DBA knows').waitFor()
      await hasNoBarrier(page)
      await page.getByRole('link', { name: 'Problems' }).first().click()
      await page.getByLabel('State').selectOption('muted')
      await page.getByRole('link', { name: /does not fit/ }).waitFor()
      await page.goto(`${service.url}/problems/${problemId}`)
      await page.getByRole('button', { name: 'Resolve' }).click()
      await page.getByText('resolved').waitFor()
      await page.getByRole('button', { name: 'Reopen' }).click()
      await page.getByRole('button', { name: 'Resolve' }).waitFor()
    })
    await visit(`/runs/${LONG_RUN}`, {}, async (page) => {
      await page.getByRole('link', { name: `Problem ${problemId}` }).click()
      await page.getByRole('heading', { name: /does not fit/ }).waitFor()
    })
  })

  it('is not shown to who may not read the log', async () => {
    const { page, context } = await openPage(chrome.browser, { ...service, token: await tokenOfNobody() })
    try {
      await page.goto(`${service.url}/problems/${problemId}`)
      await page.getByText(/lacks the rights/).waitFor()
      await fits(page)
    } finally {
      await context.close()
    }
  })
})

describe('a run', () => {
  it('that goes on is followed', async () => {
    await visit(`/runs/${GOING_RUN}`, {}, async (page) => {
      await page.getByText('still being written').waitFor()
      await page.getByRole('button', { name: 'Follow' }).click()
      await push(service, GOING_RUN, 100, 'later line')
      await page.getByText('later line 99').waitFor({ timeout: 10_000 })
    })
  })

  it('shows what failed first, what is new and its patterns, where the service tells', async () => {
    await visit(`/runs/${FAILED_RUN}`, { answers: true, height: 1_200 }, async (page) => {
      await page.getByRole('button', { name: 'Show details' }).click()
      await page.getByText('What failed first', { exact: true }).waitFor()
      await page.getByText('could not write row <number> | java.sql.SQLException').waitFor()
      await page.getByRole('button', { name: 'Patterns' }).click()
      await page.getByRole('button', { name: /Changing <\*> acls to: root/ }).click()
      await page.getByText(/^\d+ matching lines$/).waitFor()
      assert.equal(await page.locator('article mark').first().textContent(), 'Changing ')
      await hasNoBarrier(page)
    })
  })

  it('is downloaded whole in each form', async () => {
    await visit(`/runs/${FAILED_RUN}`, {}, async (page) => {
      for (const [name, ending] of [['Text, one line per record', 'log'], ['NDJSON, one object per line', 'ndjson'], ['JSON, one array', 'json']]) {
        await page.getByText('Download', { exact: true }).click()
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name, exact: true }).click()])
        assert.match(download.suggestedFilename(), new RegExp(`^nightly-orders_2026-11-23T[0-9-]+Z_${FAILED_RUN.slice(0, 8)}\\.${ending}$`))
        const text = readFileSync(await download.path(), 'utf8')
        const records = ending === 'json' ? JSON.parse(text).length : ending === 'ndjson' ? text.trim().split('\n').length : 1_096
        assert.equal(records, 1_096)
        await page.getByText('Download', { exact: true }).click()
      }
    })
  })

  it('says why there is no log: not yet, none, deleted, forbidden, unknown', async () => {
    const waiting = '6c0e5a34-0000-4000-8000-0000000000e1'
    const deleted = '6c0e5a34-0000-4000-8000-0000000000e2'
    for (const id of [waiting, deleted]) await send(service, 'PUT', `/runlog/v1/runs/${id}`, JSON.stringify({ taskId: service.taskId }))
    await push(service, deleted, 3)
    await send(service, 'POST', `/runlog/v1/runs/${deleted}/finish`, JSON.stringify({ status: 'execution_successful' }))
    await send(service, 'DELETE', `/monitoring/executions/${deleted}/logs`)
    const cases = [
      [waiting, 'has not logged anything yet'], [EMPTY_RUN, /ended without (a log|any lines)/], [deleted, 'was deleted'],
      ['6c0e5a34-0000-4000-8000-00000000ffff', 'Not found'],
    ]
    for (const [id, text] of cases) await visit(`/runs/${id}`, {}, (page) => page.getByText(text).first().waitFor())

    const { page, context } = await openPage(chrome.browser, { ...service, token: await tokenOfNobody() })
    await page.goto(`${service.url}/runs/${FAILED_RUN}`)
    await page.getByText('No access to the run').waitFor()
    await page.getByText('lacks the right').waitFor()
    await hasNoBarrier(page)
    await context.close()
  })
})

describe('workspaces', () => {
  for (const [form, size] of Object.entries({ 'on a desktop': {}, 'on a phone': { width: 390, height: 844 } })) {
    it(`are sorted, filtered, and lead to their tasks, ${form}`, async () => {
      const create = async (what, body) => (await send(service, 'POST', `/runlog/v1/${what}`, JSON.stringify(body))).json()
      const suffix = size.width ? 'phone' : 'desktop'
      const environment = await create('environments', { name: `test of <b>the ${suffix}</b>` })
      const empty = await create('workspaces', { name: `empty ${suffix}`, environmentId: environment.id })
      await visit('/workspaces?hours=2160', size, async (page) => {
        const names = () => page.locator('tbody .title a').allTextContents()
        const known = page.getByRole('row').filter({ hasText: 'data engineering' })
        await known.waitFor()
        await page.getByRole('link', { name: empty.name }).waitFor()
        if (size.width) await page.getByLabel('Sort by').selectOption('runs')
        else await page.getByRole('button', { name: 'Runs' }).click()
        await page.waitForURL(/order=runs/)
        await page.waitForFunction(() => document.querySelector('tbody .title a')?.textContent === 'data engineering')
        if (!size.width) assert.equal(await page.getByRole('columnheader', { name: 'Runs' }).getAttribute('aria-sort'), 'descending')
        // Of the ten runs of the demonstration, all that have ended have failed, and one was terminated.
        assert.match(await known.innerText(), /\d+ %/)
        await page.getByRole('row').filter({ hasText: empty.name }).getByRole('button', { name: /^Environment test of/ }).click()
        await page.waitForURL(new RegExp(`environment=${environment.id}`))
        await known.waitFor({ state: 'detached' })
        assert.deepEqual(await names(), [empty.name])
        await fits(page)
        await hasNoBarrier(page)
        await page.getByRole('button', { name: 'Clear the environment' }).click()
        await page.getByLabel('Name', { exact: true }).fill('ENGINEERING')
        await page.getByRole('link', { name: empty.name }).waitFor({ state: 'detached' })
        const link = page.getByRole('link', { name: 'data engineering' })
        await link.focus()
        await page.keyboard.press('Enter')
        await page.waitForURL(/\/tasks\?workspace=/)
        await page.getByText('nightly orders').first().waitFor()
        await page.getByRole('link', { name: 'nightly orders' }).click()
        // The trail of a task leads back to its workspace.
        await page.locator('.trail').getByRole('link', { name: 'data engineering' }).click()
        await page.waitForURL(/\/tasks\?workspace=/)
      })
    })
  }
})

describe('tasks', () => {
  it('are filtered, and the address says how', async () => {
    await visit('/tasks?hours=2160', {}, async (page) => {
      await page.getByText('nightly orders').first().waitFor()
      await page.getByLabel('Name', { exact: true }).fill('nothing like it')
      await page.getByText('No matching tasks').waitFor()
      assert.match(page.url(), /name=nothing/)
      await page.reload()
      await page.getByText('No matching tasks').waitFor()
    })
  })

  for (const [form, size] of Object.entries({ 'on a desktop': {}, 'on a phone': { width: 390, height: 844 } })) {
    it(`are sorted by a column and filtered by a tag, ${form}`, async () => {
      const task = await (await send(service, 'GET', `/runlog/v1/overview/tasks?taskId=${service.taskId}&recent=0`)).json()
      const tags = ['month end', '<b>']
      await send(service, 'PUT', `/runlog/v1/tasks/${service.taskId}`, JSON.stringify({ name: task.items[0].name, version: '1.0', tags }))
      await visit('/tasks?hours=2160', size, async (page) => {
        const first = page.locator('tbody tr').first().locator('a').first()
        const other = page.getByRole('link', { name: 'nightly-items' })
        await other.waitFor()
        if (size.width) await page.getByLabel('Sort by').selectOption('failed')
        else await page.getByRole('button', { name: 'Failed' }).click()
        await page.waitForURL(/order=failed/)
        await page.waitForFunction(() => document.querySelector('tbody tr a')?.textContent === 'nightly orders')
        if (!size.width) {
          assert.equal(await page.getByRole('columnheader', { name: 'Failed' }).getAttribute('aria-sort'), 'descending')
          await page.getByRole('button', { name: 'Failed' }).focus()
          await page.keyboard.press('Enter')
          await page.waitForURL(/reversed=true/)
          assert.equal(await page.getByRole('columnheader', { name: 'Failed' }).getAttribute('aria-sort'), 'ascending')
          await page.waitForFunction(() => document.querySelector('tbody tr a')?.textContent !== 'nightly orders')
        }
        await page.getByRole('button', { name: 'Tag month end' }).click()
        await page.waitForURL(/tag=month/)
        await other.waitFor({ state: 'detached' })
        assert.equal(await first.textContent(), 'nightly orders')
        await fits(page)
        await hasNoBarrier(page)
        await page.getByRole('button', { name: 'Clear the tag' }).click()
        await other.waitFor()
      })
    })

    it(`have a plot of their runs that fills its width, with labels that do not repeat, ${form}`, async () => {
      await visit(`/tasks/${service.taskId}?hours=2160`, size, async (page) => {
        const plot = page.getByRole('application', { name: /^Durations of/ })
        await plot.waitFor()
        const [shown, box] = [await plot.locator('.stem').last().boundingBox(), await plot.boundingBox()]
        assert.ok(shown.x > box.x + box.width * 0.85, `${shown.x} of ${box.x + box.width}`)
        const labels = await page.locator('.axis span').evaluateAll((spans) => spans.map((span) => ({ text: span.textContent, left: span.getBoundingClientRect().left, right: span.getBoundingClientRect().right })))
        assert.equal(new Set(labels.map(({ text }) => text)).size, labels.length, JSON.stringify(labels))
        for (const [index, label] of labels.entries()) assert.ok(index === 0 || label.left >= labels[index - 1].right, JSON.stringify(labels))
      })
    })
  }

  it('show why they need attention', async () => {
    await visit('/?hours=2160', { answers: true }, async (page) => {
      await page.getByRole('link', { name: 'failed 9 times in a row' }).waitFor()
      await page.getByRole('link', { name: 'nightly orders' }).click()
      await page.getByText('disk <path> is full').waitFor()
      await page.getByText('the median changed from 20 s').waitFor()
    })
  })

  it('need attention while they are late', async () => {
    let report = answers.lateReport(service.taskId, FAILED_RUN)
    const prepare = async (page) => {
      await page.clock.install()
      await page.route('**/runlog/v1/overview/tasks?*', (route) => route.fulfill({ json: { items: [], limit: 20, offset: 0, total: 0 } }))
      await page.route('**/runlog/v1/workspaces/*/report?*', (route) => route.fulfill({ json: report }))
    }
    await visit('/', { prepare }, async (page) => {
      await page.getByText('usually every 1 h').waitFor()
      assert.equal(await page.getByRole('link', { name: 'nightly orders' }).count(), 1)
      assert.equal(await page.getByText('No runs failed').count(), 0)
      await hasNoBarrier(page)
      // Reports are requested again every five minutes.
      report = answers.fineReport
      await page.clock.fastForward(300_000)
      await page.getByText('no task is late, slow or flaky, or logs new errors').waitFor()
      assert.equal(await page.getByText('usually every 1 h').count(), 0)
    })
  })

  it('need attention even if a workspace could not be checked, which is reported', async () => {
    const refused = 'c'.repeat(24)
    const prepare = async (page) => {
      await page.route('**/runlog/v1/session', async (route) => {
        const session = await (await route.fetch()).json()
        session.workspaces.push(
          { id: refused, name: 'refused', environment: 'production', rights: ['AUTHOR', 'EXECUTE', 'VIEW'] },
          { id: 'd'.repeat(24), name: 'not to be read', environment: 'production', rights: ['VIEW'] },
        )
        return route.fulfill({ json: session })
      })
      await page.route('**/runlog/v1/workspaces/*/report?*', (route) =>
        route.request().url().includes(refused)
          ? route.fulfill({ status: 403, json: { status: 403, message: 'the caller lacks the right Author' } })
          : route.fulfill({ json: answers.lateReport(service.taskId, FAILED_RUN) }))
    }
    await visit('/', { prepare }, async (page) => {
      await page.getByText('usually every 1 h').waitFor()
      await page.getByText('1 workspace could not be checked for late, slow or flaky tasks and new errors: the caller lacks the right Author').waitFor()
      await page.getByText('1 workspace was not checked').waitFor()
      await fits(page)
      await hasNoBarrier(page)
    })
  })

  it('have two of their runs compared', async () => {
    await visit(`/tasks/${service.taskId}?hours=2160`, { answers: true }, async (page) => {
      const boxes = page.getByRole('checkbox')
      await boxes.first().waitFor()
      await boxes.nth(3).check()
      await boxes.nth(4).check()
      await page.getByRole('button', { name: 'Compare selected' }).click()
      await page.getByRole('heading', { name: 'Compare runs' }).waitFor()
      await page.getByText('slow batch <number> took <number> ms').waitFor()
      await page.getByRole('button', { name: /Unchanged/ }).click()
      await page.getByText('row <number> read').waitFor()
    })
  })
})

describe('SQL', () => {
  it('shows a result as a table and as a plot, and keeps queries', async () => {
    await visit('/sql', { answers: true }, async (page) => {
      await page.getByLabel('Query', { exact: true }).fill('SELECT day, runs, failed FROM t')
      await page.keyboard.press('Control+Enter')
      await page.getByText('3 rows').waitFor()
      await page.getByRole('button', { name: 'Lines' }).click()
      await page.locator('.uplot canvas').waitFor()
      await page.getByRole('button', { name: 'Bars' }).click()
      await page.locator('.uplot canvas').waitFor()
      await hasNoBarrier(page)
      await page.getByLabel('Name for this query').fill('failures by day')
      await page.getByRole('button', { name: 'Save' }).click()
      await page.getByRole('button', { name: 'failures by day', exact: true }).waitFor()
      await page.reload()
      await page.getByLabel('Query', { exact: true }).fill('')
      await page.getByRole('button', { name: 'failures by day', exact: true }).click()
      assert.match(await page.getByLabel('Query', { exact: true }).inputValue(), /SELECT day/)
      await page.getByRole('button', { name: 'Delete failures by day' }).click()
      await page.getByText('None yet').waitFor()
    })
  })

  it('marks where a query is wrong', async () => {
    await visit('/sql', {}, async (page) => {
      await page.getByText('bundle_name').first().waitFor({ state: 'attached' })
      await page.route('**/runlog/v1/sql', (route) =>
        route.fulfill({ status: 400, json: { status: 400, message: 'there is no column oops', detail: 'line 1, column 8: oops' } }))
      await page.getByLabel('Query', { exact: true }).fill('SELECT oops')
      await page.getByRole('button', { name: 'Run', exact: true }).click()
      await page.getByText('there is no column oops').waitFor()
      assert.equal(await page.evaluate(() => document.querySelector('textarea').selectionStart), 7)
    })
  })
})

describe('search', () => {
  it('shows matches, and loads more', async () => {
    await visit('/search', { answers: true }, async (page) => {
      await page.getByRole('searchbox').fill('row')
      await page.keyboard.press('Enter')
      await page.getByText('2+ matches').waitFor()
      assert.equal(await page.locator('li mark').first().textContent(), 'row')
      const [request] = await Promise.all([page.waitForRequest('**/runlog/v1/search?*'), page.getByRole('combobox', { name: 'Time' }).selectOption('any time')])
      assert.equal(new URL(request.url()).searchParams.get('from'), null)
      await page.getByRole('button', { name: 'Load more' }).click()
      await page.getByText('4+ matches').waitFor()
      // A result links to its line: here the last one, because it is of today.
      await page.getByRole('link', { name: 'nightly orders' }).first().click()
      await page.waitForURL(/#1096$/)
    })
  })

  it('says what could not be searched, or not be counted', async () => {
    for (const damaged of ['search', 'facets']) {
      await visit('/search?q=row', { answers: true }, async (page) => {
        const answer = damaged === 'search' ? answers.search(FAILED_RUN) : answers.facets()
        const unreadable = { records: 3, runs: [FAILED_RUN], objects: ['segments/0a/1', 'segments/0a/2'] }
        await page.route(`**/runlog/v1/search${damaged === 'search' ? '' : '/facets'}?*`, (route) => route.fulfill({ json: { ...answer, unreadable } }))
        await page.reload()
        const alert = page.getByRole('alert').filter({ hasText: 'damaged or missing' })
        await alert.getByText(/Some records of 1 run .* in 2 objects \(such as segments\/0a\/1\)/).waitFor()
      })
    }
  })
})

describe('collection', () => {
  /** The table row that contains this. */
  const row = (page, text) => page.getByRole('row').filter({ hasText: text })

  it('shows the runs that fail, who collects and how far the sinks are behind', async () => {
    for (const width of [1_280, 390]) {
      await visit('/collection', { answers: true, width }, async (page) => {
        const failing = row(page, '320 of 4,320 records came')
        await failing.getByText(/in 1 h/).waitFor()
        assert.equal(await failing.getByRole('link').getAttribute('href'), `/runs/${FAILED_RUN}`)
        assert.deepEqual((await failing.getByRole('cell').allInnerTexts()).slice(1, 6), ['talend-eu', '✕ failed', '320 of 4,320 records came', '4,320', '4'])
        await row(page, 'api.eu.cloud.talend.com').getByText('37 of 100').waitFor()
        await row(page, 'the destination answers 429').getByText('1 min 1 s').waitFor()
        assert.equal(await page.getByText('up to date').count(), 1)
        await fits(page)
        await hasNoBarrier(page)
      })
    }
  })

  it('that fails is shown on the overview, too', async () => {
    await visit('/', { answers: true }, async (page) => {
      assert.equal(await page.getByRole('link', { name: '320 of 4,320 records came' }).getAttribute('href'), `/runs/${FAILED_RUN}`)
      await page.getByText('1 min 1 s behind').waitFor()
    })
  })

  it('is tried again', async () => {
    await visit('/collection', { answers: true }, async (page) => {
      const tried = []
      await page.route('**/runlog/v1/*/*/retry', (route) => {
        tried.push(new URL(route.request().url()).pathname, route.request().headers()['x-runlog-web'])
        return route.fulfill({ json: answers.retried })
      })
      await row(page, '84,000,000').getByRole('button', { name: 'Retry now' }).click()
      await page.getByText('63 runs of talend-eu will be retried').waitFor()
      await row(page, 'the destination answers 429').getByRole('button', { name: 'Retry now' }).click()
      await page.getByText('63 runs of elastic will be retried').waitFor()
      assert.deepEqual(tried, ['/runlog/v1/collection/talend-eu/retry', '1', '/runlog/v1/sinks/elastic/retry', '1'])
    })
  })

  it('is for administrators', async () => {
    const { page, context } = await openPage(chrome.browser, { ...service, token: await tokenOfNobody() })
    await page.goto(service.url)
    await page.getByRole('heading', { name: 'No access to any workspace' }).waitFor()
    assert.equal(await page.getByRole('heading', { name: 'Sinks' }).count(), 0)
    await context.close()
  })
})

describe('the description of the API', () => {
  for (const [form, size] of Object.entries({ 'on a desktop': {}, 'on a phone': { width: 390, height: 844 } })) {
    it(`has the colours of the other pages, and a way back, ${form}`, async () => {
      const ground = (page) => page.evaluate(() => getComputedStyle(document.querySelector('.swagger-ui')).backgroundColor)
      const grounds = []
      for (const dark of [false, true]) {
        await visit('/docs', { ...size, dark }, async (page) => {
          await page.getByText('run logs').first().waitFor()
          grounds.push(await ground(page))
          await page.getByRole('link', { name: '← Runlog' }).click()
          await page.getByRole('heading', { name: 'Overview' }).waitFor()
          // What was chosen there holds here.
          await page.evaluate((theme) => localStorage.setItem('runlog.theme', theme), dark ? 'light' : 'dark')
          await page.goBack()
          await page.reload()
          await page.getByText('run logs').first().waitFor()
          grounds.push(await ground(page))
        })
      }
      assert.deepEqual([grounds[0], grounds[1]], [grounds[3], grounds[2]])
      assert.notEqual(grounds[0], grounds[1])
    })
  }
})

describe('colours', () => {
  it('follow the system, or what was chosen', async () => {
    await visit('/', { dark: true }, async (page) => {
      const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
      const dark = await ground()
      await page.getByRole('button', { name: /^Colours/ }).click()
      assert.notEqual(await ground(), dark)
      await page.reload()
      assert.notEqual(await ground(), dark)
      await page.getByRole('button', { name: /^Colours/ }).click()
      assert.equal(await ground(), dark)
    })
  })
})
