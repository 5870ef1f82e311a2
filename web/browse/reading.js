// Reading in a browser: lines are brought into sight, copied and shared; what a log contains is shown safely; empty pages
// say why they are empty; nothing moves while a page is loaded.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { openPage } from './browser.js'
import { GOING_RUN, HOSTILE, LONG_LINE, LONG_RECORDS, LONG_RUN, measure, ODD_RUN } from './service.js'

const FAILED_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'
const EARLIER_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17'
const FIRST_ERROR = 1_075
const forms = { 'on a desktop': { width: 1_440, height: 900 }, 'on a phone': { width: 390, height: 844 } }

const line = (page, index) => page.locator(`article[data-index="${index}"]`)

/** The line is within the window, and not under anything else. */
async function isInSight(page, index) {
  await line(page, index).waitFor()
  await page.waitForFunction((at) => {
    const box = document.querySelector(`article[data-index="${at}"]`)?.getBoundingClientRect()
    if (!box || box.top < 0 || box.bottom > innerHeight) return false
    const found = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2)
    return found?.closest('article')?.dataset.index === String(at)
  }, index)
}

/** @param {{ visit: Function, hasNoBarrier: Function, fits: Function, tokenOfNobody: Function, service: () => any, chrome: () => any }} stage */
export function readingTests({ visit, hasNoBarrier, fits, tokenOfNobody, service, chrome }) {
  describe('a line', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`is in sight when a failed run is opened, and when it is jumped to, ${form}`, async () => {
        await visit(`/runs/${FAILED_RUN}`, size, async (page) => {
          await isInSight(page, FIRST_ERROR)
          assert.match(await line(page, FIRST_ERROR).getAttribute('class'), /cursor/)
          assert.equal(new URL(page.url()).hash, '')
          await page.getByRole('button', { name: 'Show details' }).click()
          await page.getByRole('button', { name: /^\d\d:\d\d:\d\d\.\d+$/ }).first().click()
          await page.waitForURL(`**#${FIRST_ERROR + 1}`)
          await isInSight(page, FIRST_ERROR)
        })
        const middle = Math.floor(LONG_RECORDS * 0.8)
        await visit(`/runs/${LONG_RUN}#${middle + 1}`, size, (page) => isInSight(page, middle))
        await visit('/search?q=needle-host&days=any', size, async (page) => {
          await page.getByRole('link', { name: 'nightly orders' }).click()
          await isInSight(page, 5)
        })
      })
    }

    for (const [form, size] of Object.entries(forms)) {
      it(`is in sight when a failed run is opened, also at the end of its log, with the head of the page, ${form}`, async () => {
        const headers = { authorization: `Bearer ${service().token}` }
        const { items } = await (await fetch(`${service().url}/runlog/v1/runs?status=execution_failed`, { headers })).json()
        const { runId, records } = items.find((run) => run.taskName === 'nightly-orders')
        await visit(`/runs/${runId}`, size, async (page) => {
          const current = page.locator('article.cursor')
          await current.waitFor()
          const index = Number(await current.getAttribute('data-index'))
          assert.ok(records - index < 6, `line ${index} of ${records}`)
          await isInSight(page, index)
          const why = await page.locator('.detail.why').last().boundingBox()
          assert.ok(why.y + why.height <= size.height, `why it failed is at ${why.y}`)
          assert.equal(await page.evaluate(() => scrollY), 0)
          await page.getByRole('region', { name: /^The log,/ }).focus()
          await page.keyboard.press('End')
          await isInSight(page, records - 1)
        })
      })
    }

    it('is opened by one click, whatever its length, and its text stands there once', async () => {
      await visit(`/runs/${ODD_RUN}#1`, { width: 1_000, height: 900 }, async (page) => {
        await line(page, 3).click()
        await page.getByText('end of the long line').waitFor()
        const shown = await page.locator('.detail.rest').allTextContents()
        const first = await line(page, 3).locator('.text').textContent()
        assert.equal(first + shown.join(''), LONG_LINE)
        await line(page, 8).click()
        await page.getByText('bundleName: demo.tMap_1').first().waitFor()
        await hasNoBarrier(page)
      })
    })

    it('before the last one is reached from the end', async () => {
      await visit(`/runs/${LONG_RUN}#1`, {}, async (page) => {
        await line(page, 0).waitFor()
        await page.getByRole('region', { name: /^The log,/ }).focus()
        await page.keyboard.press('End')
        await line(page, LONG_RECORDS - 1).waitFor()
        await page.keyboard.press('ArrowUp')
        await page.waitForURL(`**#${LONG_RECORDS - 1}`)
      })
    })

    it('is wrapped on request, which is remembered', async () => {
      await visit(`/runs/${ODD_RUN}#1`, { width: 1_000, height: 900 }, async (page) => {
        await line(page, 3).waitFor()
        assert.equal(await page.locator('.detail.rest').count(), 0)
        await page.getByRole('button', { name: 'Wrap' }).click()
        await page.locator('.detail.rest', { hasText: 'end of the long line' }).waitFor()
        await page.reload()
        await page.locator('.detail.rest', { hasText: 'end of the long line' }).waitFor()
        await hasNoBarrier(page)
      })
    })
  })

  describe('a log', () => {
    it('is shared and copied by lines, as clean text', async () => {
      await visit(`/runs/${ODD_RUN}#L5-L7`, { width: 1_440, height: 900, permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
        const pasted = () => page.evaluate(() => navigator.clipboard.readText())
        await page.locator('article.picked').nth(2).waitFor()
        assert.equal(await page.locator('article.picked').count(), 3)
        await page.getByRole('button', { name: 'Copy lines' }).click()
        await page.getByText('3 lines copied').waitFor()
        const expected = [
          `2026-11-20T23:30:04.000Z | INFO  | JOB | demo.tMap_1 | ${HOSTILE}`,
          '2026-11-20T23:30:05.000Z | ERROR | JOB | demo.tMap_1 | could not connect',
          '\tat demo.Orders.run(Orders.java:12)', 'Caused by: demo.Refused: connection refused by needle-host',
          '2026-11-20T23:30:06.000Z | INFO  | JOB | demo.tMap_1 | line 6',
        ]
        assert.equal(await pasted(), expected.join('\n'))
        await line(page, 9).locator('.no').click()
        await page.getByText('Link copied').waitFor()
        assert.match(await pasted(), /#10$/)
        await line(page, 11).locator('.no').click({ modifiers: ['Shift'] })
        await page.waitForURL('**#L10-L12')
        await page.getByText('Lines 10–12').waitFor()
        await page.keyboard.press('Tab')
        await page.getByRole('region', { name: /^The log,/ }).focus()
        await page.keyboard.press('Shift+ArrowDown')
        await page.waitForURL('**#L10-L13')
        await page.getByRole('button', { name: 'Copy messages' }).click()
        await page.getByText('4 messages copied').waitFor()
        assert.equal(await pasted(), 'line 9\nline 10\nline 11\nline 12')
      })
    })

    it('is copied by a selection with the mouse, without the layout of its rows', async () => {
      await visit(`/runs/${ODD_RUN}?q=line&all=true#1`, { width: 1_440, height: 900, permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
        await line(page, 8).locator('mark').waitFor()
        const [from, to] = [await line(page, 8).locator('.text').boundingBox(), await line(page, 9).locator('.text').boundingBox()]
        await page.mouse.move(from.x + 2, from.y + 10)
        await page.mouse.down()
        await page.mouse.move(to.x + 30, to.y + 10, { steps: 5 })
        await page.mouse.up()
        await page.keyboard.press('Control+C')
        assert.equal(
          await page.evaluate(() => navigator.clipboard.readText()),
          '2026-11-20T23:30:08.000Z | INFO  | JOB | demo.tMap_1 | line 8\n2026-11-20T23:30:09.000Z | INFO  | JOB | demo.tMap_1 | line 9',
        )
        // Marked text within an expanded line is copied without gaps.
        await page.evaluate(() => getSelection().removeAllRanges())
        await line(page, 8).locator('.text').click()
        await page.getByText('bundleName: demo.tMap_1').first().waitFor()
        assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.detail')).display), 'block')
      })
    })

    it('shows colours, and nothing that it contains acts', async () => {
      for (const dark of [false, true]) {
        await visit(`/runs/${ODD_RUN}#1`, { width: 1_440, height: 900, dark }, async (page) => {
          await page.locator('.ansi-green', { hasText: 'started' }).waitFor()
          assert.equal(await page.locator('.ansi-red.ansi-bold').first().textContent(), 'red and bold')
          assert.equal(await line(page, 1).locator('.text').textContent(), 'user \\u{202e}nimda logged in')
          assert.equal(await line(page, 4).locator('.text').textContent(), HOSTILE)
          await line(page, 2).click()
          await page.locator('.detail.json', { hasText: '"isWhole": true' }).waitFor()
          await line(page, 5).click()
          await page.locator('.detail.frame .ansi-red', { hasText: 'at demo.Orders.run' }).waitFor()
          assert.match(await page.title(), /nightly orders/)
          await hasNoBarrier(page)
        })
      }
    })

    it('fills the screen on request', async () => {
      await visit(`/runs/${ODD_RUN}#6`, { width: 1_440, height: 900 }, async (page) => {
        await isInSight(page, 5)
        await page.getByRole('button', { name: 'Full screen' }).click()
        await page.waitForFunction(() => {
          const box = document.querySelector('.log').getBoundingClientRect()
          return box.top === 0 && Math.round(box.height) === innerHeight && Math.round(box.width) === innerWidth
        })
        await isInSight(page, 5)
        await hasNoBarrier(page)
        await page.keyboard.press('Escape')
        await page.getByRole('heading', { name: /nightly orders/ }).waitFor()
      })
    })

    it('keeps its toolbar in sight while it is read', async () => {
      for (const size of Object.values(forms)) {
        await visit(`/runs/${FAILED_RUN}`, size, async (page) => {
          await isInSight(page, FIRST_ERROR)
          await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight))
          await page.waitForFunction(() => {
            const [bar, view] = ['.toolbar', '.viewer'].map((name) => document.querySelector(name).getBoundingClientRect())
            return bar.top >= 0 && bar.bottom < innerHeight && view.height > innerHeight / 2
          })
        })
      }
    })

    it('marks its errors above the bars, however many lines it has', async () => {
      await visit(`/runs/${LONG_RUN}#1`, { width: 1_440, height: 900 }, async (page) => {
        const errors = Math.floor((LONG_RECORDS - 1 - 50_000) / 50_021) + 1
        await page.waitForFunction((most) => document.querySelectorAll('.histogram .tick').length >= most, errors)
        const [tick, bar] = await page.evaluate(() => ['.histogram .tick', '.histogram svg'].map((name) => document.querySelector(name).getBoundingClientRect()))
        assert.ok(tick.width >= 3 && tick.height >= 5 && tick.top >= bar.top && tick.bottom <= bar.top + 10, JSON.stringify(tick))
      })
    })

    it('is looked at more closely by its bars', async () => {
      await visit(`/runs/${LONG_RUN}#1`, { width: 1_440, height: 900 }, async (page) => {
        const bars = page.getByRole('application', { name: /^Records over time/ })
        const lengthOf = async () => (await page.locator('.histogram .scale').textContent()).split(' per ')[1]
        await bars.waitFor()
        const whole = await lengthOf()
        await bars.focus()
        await page.keyboard.press('Home')
        for (let step = 0; step < 5; step += 1) await page.keyboard.press('Shift+ArrowRight')
        await page.keyboard.press('Enter')
        await page.getByRole('button', { name: 'Zoom in' }).click()
        await page.waitForFunction((before) => !document.querySelector('.histogram .scale').textContent.endsWith(` per ${before}`), whole)
        await page.getByRole('button', { name: 'Zoom out' }).click()
        await page.waitForFunction((before) => document.querySelector('.histogram .scale').textContent.endsWith(` per ${before}`), whole)
        await hasNoBarrier(page)
      })
    })

    it('has a history of its filters', async () => {
      await visit(`/runs/${FAILED_RUN}`, {}, async (page) => {
        await isInSight(page, FIRST_ERROR)
        await page.getByLabel('Find in this log').fill('Executor')
        await page.keyboard.press('Enter')
        await page.waitForURL(/q=Executor/)
        await page.getByRole('group', { name: 'Severities' }).getByRole('button', { name: /WARN/ }).click()
        await page.waitForURL(/severity=WARN/)
        await page.goBack()
        await page.waitForURL((url) => !url.search.includes('severity') && url.search.includes('q=Executor'))
        await page.goBack()
        await page.waitForURL((url) => url.search === '')
        await page.getByRole('heading', { name: /nightly orders/ }).waitFor()
      })
    })

    it('that may not be read says so once, and offers nothing that would fail', async () => {
      const prepare = async (page) => {
        const message = `the caller lacks the right Author on workspace ${service().workspaceId}`
        const detail = `a manager of the workspace can grant it: runlog admin rights grant --workspace ${service().workspaceId} --user kim author`
        const forbid = (route) => route.fulfill({ status: 403, json: { status: 403, message, detail } })
        for (const what of ['histogram?*', 'records?*', 'report', 'patterns']) await page.route(`**/runlog/v1/runs/*/${what}`, forbid)
      }
      await visit(`/runs/${FAILED_RUN}`, { prepare }, async (page) => {
        await page.getByText('You may see this run, but not its log: the caller lacks the right Author on the workspace data engineering.', { exact: true }).waitFor()
        await page.getByText(`A manager of the workspace can grant it: runlog admin rights grant --workspace ${service().workspaceId}`).waitFor()
        await page.waitForFunction(() => !document.querySelector('.pulse'))
        await page.waitForLoadState('networkidle')
        assert.equal(await page.getByText(/Ask a manager/).count(), 0)
        assert.equal(await page.getByText(/lacks the right Author/).count(), 1)
        for (const name of ['Find', 'Patterns', 'Download']) assert.equal(await page.getByText(name, { exact: true }).count(), 0, name)
        await hasNoBarrier(page)
      })
    })

    for (const [form, size] of Object.entries(forms)) {
      it(`has its components beside those of the last successful run, ${form}`, async () => {
        await measure(service(), EARLIER_RUN, 48_112)
        await measure(service(), FAILED_RUN, 0, 'java.sql.SQLException: no such table\n\tat demo.Orders.run(Orders.java:12)')
        await visit(`/runs/${FAILED_RUN}`, size, async (page) => {
          const panel = page.getByRole('region', { name: 'Components' }).first()
          const button = panel.getByRole('button', { name: 'Show 3 components' })
          await button.waitFor()
          const before = await panel.boundingBox()
          assert.ok(before.height < 110, `folded, it leaves the window to the log: ${before.height}`)
          await button.click()
          await panel.getByText('tLogRow_1').first().waitFor()
          const told = await panel.innerText()
          assert.match(told, /failed: java\.sql\.SQLException: no such table/)
          assert.match(told, /write orders/)
          assert.ok(told.includes(HOSTILE), 'a label is text, whatever it contains')
          await hasNoBarrier(page)
          await fits(page)
          const rows = await panel.locator('tbody tr').allInnerTexts()
          assert.match(rows[0], /^tLogRow_1/, 'what failed comes first')
          assert.ok(rows.some((row) => /tDBOutput_2/.test(row) && /48,112/.test(row)), rows.join('\n'))
        })
        // A run without component metrics has no such panel.
        await visit(`/runs/${ODD_RUN}`, size, async (page) => {
          await line(page, 0).waitFor()
          assert.equal(await page.getByRole('heading', { name: 'Components' }).count(), 0)
        })
      })
    }

    it('of a running run says for how long', async () => {
      await visit(`/runs/${GOING_RUN}`, {}, async (page) => {
        await page.getByText(/^\d[\d.a-z ]* so far$/).waitFor()
      })
    })
  })

  describe('times', () => {
    it('are in the zone that was chosen, which is named', async () => {
      await visit(`/runs/${ODD_RUN}#1`, { width: 1_440, height: 900, timezoneId: 'America/New_York' }, async (page) => {
        await page.getByText('2026-11-20 · UTC−05:00').waitFor()
        assert.match(await line(page, 0).locator('.time').textContent(), /^18:30:00/)
        await page.getByText('2026-11-20 18:30:00 UTC−05:00').first().waitFor()
        await page.getByRole('button', { name: /^Time zone: local/ }).click()
        await page.getByText('2026-11-20 · UTC', { exact: true }).waitFor()
        assert.match(await line(page, 0).locator('.time').textContent(), /^23:30:00/)
        await page.reload()
        await page.getByText('2026-11-20 · UTC', { exact: true }).waitFor()
        await page.getByRole('button', { name: /^Time zone: UTC/ }).click()
        assert.match(await line(page, 0).locator('.time').textContent(), /^18:30:00/)
      })
    })
    it('name their zone on a phone, too', async () => {
      await visit('/', { width: 390, height: 844, timezoneId: 'Asia/Kolkata' }, async (page) => {
        assert.ok(await page.getByText('UTC+05:30').first().isVisible())
        await fits(page)
      })
    })
  })

  describe('a match of a search', () => {
    it('shows the matching line, and the lines around it on request', async () => {
      await visit('/search?q=needle-host&days=any', {}, async (page) => {
        await page.getByText('connection refused by').waitFor()
        assert.equal(await page.locator('li mark').first().textContent(), 'needle-host')
        await page.getByRole('button', { name: 'Show context' }).click()
        await page.locator('.context').getByText('line 10').waitFor()
        assert.equal(await page.locator('.context li').count(), 11)
        assert.match(await page.locator('.context .match').textContent(), /needle-host/)
        await hasNoBarrier(page)
        await page.locator('.context').getByRole('link', { name: '8', exact: true }).click()
        await isInSight(page, 7)
      })
    })

    for (const [form, size] of Object.entries(forms)) {
      it(`in a stack trace is shown below its record, ${form}`, async () => {
        await visit(`/runs/${ODD_RUN}?q=needle-host`, size, async (page) => {
          await page.getByText('1 matching line').waitFor()
          const found = page.locator('.detail.found')
          await found.locator('mark', { hasText: 'needle-host' }).waitFor()
          assert.match(await found.textContent(), size.width > 900 ? /^Caused by: demo\.Refused: connection refused by needle-host$/ : /needle-host$/)
          await fits(page)
          await hasNoBarrier(page)
          // Among all lines as well, once each, and an expanded record shows it where it is.
          await page.getByLabel('Matches only').uncheck()
          await line(page, 20).waitFor()
          assert.equal(await found.count(), 1)
          await line(page, 5).locator('.text').click()
          await page.locator('.detail.cause', { hasText: 'Caused by: demo.Refused' }).waitFor()
          assert.equal(await found.count(), 0)
          await line(page, 5).locator('.text').click()
          await found.waitFor()
          await page.getByRole('button', { name: 'Clear', exact: true }).click()
          await found.waitFor({ state: 'detached' })
        })
      })

      it(`is not needed to see why a run failed: the line that says so stands below its record, ${form}`, async () => {
        await visit(`/runs/${ODD_RUN}`, size, async (page) => {
          const why = page.locator('.detail.why')
          await why.first().waitFor()
          assert.equal((await why.allTextContents()).join(''), 'Caused by: demo.Refused: connection refused by needle-host')
          await hasNoBarrier(page)
        })
      })
    }

    it('is counted over time by the service, and a selected time narrows the search', async () => {
      // Of one day, so that few lines are counted, however slow the machine is.
      await visit('/search?q=line&days=any&day=2026-11-20T00:00:00.000Z', {}, async (page) => {
        const bars = page.getByRole('application', { name: /^All matches over time\. 96 bars/ })
        await bars.focus()
        for (const key of ['End', 'ArrowLeft']) await page.keyboard.press(key)
        await page.locator('.tip', { hasText: /\b5\d other/ }).waitFor()
        await page.keyboard.press('Enter')
        await page.waitForURL((url) => /period=\d+-\d+/.test(url.search) && !url.search.includes('day='))
        await page.getByText(/^From 2026-11-2\d/).waitFor()
        await page.getByText(/^5\d matches/).waitFor()
        // The bars are those of the selected time, whose bars are shorter.
        await page.getByRole('application', { name: /^All matches over time\. 60 bars/ }).waitFor()
        await hasNoBarrier(page)
        await page.getByRole('button', { name: 'Clear the selected time' }).click()
        await page.waitForURL((url) => !url.search.includes('period='))
        await page.goBack()
        await page.getByText(/^5\d matches/).waitFor()
      })
    })

    it('needs no text if something else narrows the search', async () => {
      await visit('/search?severity=FATAL&days=any', {}, async (page) => {
        await page.locator('li', { hasText: `could not write row ${LONG_RECORDS - 1}` }).waitFor()
        await page.getByRole('link', { name: 'nightly orders' }).first().waitFor()
        await hasNoBarrier(page)
      })
      await visit('/search?days=any', {}, (page) => page.getByText('Without a text, choose a severity or a workspace').waitFor())
    })

    it('is not expected of a quotation that was not closed', async () => {
      await visit(`/search?q=${encodeURIComponent('"not there at all')}&days=1`, {}, (page) => page.getByText('The quotation mark is not closed.').waitFor())
    })
  })

  describe('a phone', () => {
    it('shows the current page in the navigation, and that there are more', async () => {
      for (const [path, name] of [['/sql', 'SQL'], ['/alerts', 'Alerts'], ['/access', 'Access'], ['/', 'Overview']]) {
        await visit(path, { width: 390, height: 844 }, async (page) => {
          const link = page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true })
          await link.waitFor()
          await page.waitForFunction(() => {
            const box = document.querySelector('nav [aria-current]').getBoundingClientRect()
            return box.left >= 0 && box.right <= innerWidth
          })
          const sides = await page.locator('nav').getAttribute('class')
          assert.equal(/more-left/.test(sides), name !== 'Overview', sides)
          if (name !== 'Alerts') assert.equal(/more-right/.test(sides), name !== 'Access', sides)
          await hasNoBarrier(page)
        })
      }
    })

    it('shows the most severe first', async () => {
      await visit(`/runs/${FAILED_RUN}`, { width: 390, height: 844 }, async (page) => {
        const chips = page.getByRole('group', { name: 'Severities' }).getByRole('button')
        await chips.first().waitFor()
        assert.deepEqual((await chips.allInnerTexts()).map((text) => text.split(/\s/)[0]), ['ERROR', 'WARN', 'INFO'])
        const box = await chips.first().boundingBox()
        assert.ok(box.x >= 0 && box.x + box.width <= 390)
      })
    })

    it('shows tables as cards, each value with its name and within the screen', async () => {
      for (const path of ['/?hours=2160', '/tasks?hours=2160', `/tasks/${service().taskId}?hours=2160`, '/problems', '/collection']) {
        await visit(path, { width: 390, height: 844, answers: true }, async (page) => {
          await page.locator('table.cards tbody tr').first().waitFor()
          await page.waitForFunction(() => !document.querySelector('main .pulse[role=status]'))
          const outside = await page.evaluate(() => [...document.querySelectorAll('table.cards tbody tr > *')].filter((cell) => cell.getBoundingClientRect().right > innerWidth + 1).map((cell) => cell.textContent.slice(0, 60)))
          assert.deepEqual(outside, [], path)
          await fits(page)
          await hasNoBarrier(page)
        })
      }
    })
  })

  describe('a user without rights', () => {
    it('is told so, instead of that nothing failed', async () => {
      for (const path of ['/', '/tasks', '/problems', '/search', '/sql']) {
        const { page, context, complaints } = await openPage(chrome().browser, { ...service(), token: await tokenOfNobody() })
        try {
          await page.goto(service().url + path)
          await page.getByText(/may not see any workspace yet/).waitFor()
          assert.equal(await page.getByText('No runs failed').count(), 0)
          await hasNoBarrier(page)
          assert.deepEqual(complaints, [])
        } finally {
          await context.close()
        }
      }
    })
  })

  describe('the overview', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`shows the latest runs of a task whatever the period, and the cause rather than the exit code, ${form}`, async () => {
        await visit('/', size, async (page) => {
          const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'nightly orders', exact: true }) })
          await row.locator('.strip .bar').nth(9).waitFor()
          assert.ok((await row.locator('.strip .bar').count()) <= 15)
          const failed = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'nightly-orders', exact: true }) })
          const told = await failed.locator('.said').innerText()
          assert.match(told, /duplicate key value/)
          assert.doesNotMatch(told, /Process exited/)
          const [cell, card] = [await failed.locator('.said').boundingBox(), await failed.boundingBox()]
          if (size.width < 640) assert.ok(cell.width > card.width * 0.95, `the reason has the width of its card: ${cell.width} of ${card.width}`)
          await fits(page)
        })
      })

      it(`says how many failures have no known cause yet, ${form}`, async () => {
        const prepare = (page) => page.route('**/runlog/v1/overview?*', async (route) => {
          const answer = await route.fetch()
          await route.fulfill({ response: answer, json: { ...(await answer.json()), unexplained: 3 } })
        })
        await visit('/?hours=2160', { ...size, prepare }, async (page) => {
          const causes = page.getByRole('region', { name: 'Failures by cause' })
          await causes.getByText('3 failed runs are still being summarised; their causes are not listed yet.').waitFor()
          await hasNoBarrier(page)
        })
      })
    }

    it('groups failures by cause, and a bar lists its runs', async () => {
      await visit('/?hours=2160', { width: 1_440, height: 900 }, async (page) => {
        const causes = page.getByRole('region', { name: 'Failures by cause' })
        await causes.getByRole('link', { name: /the last row does not fit/ }).waitFor()
        const bars = page.getByRole('application', { name: /^Runs by time/ })
        await bars.focus()
        await page.keyboard.press('Home')
        await page.keyboard.press('Shift+End')
        await page.keyboard.press('Enter')
        await page.getByRole('heading', { name: /^Runs from / }).waitFor()
        await page.locator('.selected tbody tr').nth(9).waitFor()
        await hasNoBarrier(page)
        await page.getByRole('button', { name: 'Close' }).click()
        await page.getByRole('heading', { name: /^Runs from / }).waitFor({ state: 'detached' })
      })
    })
  })

  describe('the collection', () => {
    it('says why records and runs were not delivered', async () => {
      await visit('/collection', { answers: true }, async (page) => {
        await page.getByText('mapper_parsing_exception: failed to parse field [extra]').waitFor()
        await page.getByRole('heading', { name: 'Runs that were not delivered to hook' }).waitFor()
        assert.equal(await page.getByRole('row').filter({ hasText: 'webhook' }).getByText('! the destination answers 410').count(), 1)
        assert.equal(await page.getByRole('row').filter({ hasText: 'webhook' }).getByText('up to date').count(), 0)
      })
    })
  })

  describe('a query', () => {
    it('that fails leaves no earlier result', async () => {
      await visit('/sql', {}, async (page) => {
        await page.getByLabel('Query', { exact: true }).fill('SELECT 1 AS one')
        await page.keyboard.press('Control+Enter')
        await page.getByText('1 row', { exact: false }).first().waitFor()
        await page.getByLabel('Query', { exact: true }).fill('SELECT mesage FROM records')
        await page.keyboard.press('Control+Enter')
        await page.getByText(/there is no column mesage/).waitFor()
        assert.equal(await page.getByRole('region', { name: 'Result' }).count(), 0)
      })
    })

    it('is completed from the tables, which are listed', async () => {
      await visit('/sql', {}, async (page) => {
        await page.locator('summary', { hasText: 'records' }).click()
        await page.getByRole('button', { name: 'bundle_version' }).waitFor()
        await page.getByLabel('Query', { exact: true }).fill('')
        await page.getByLabel('Query', { exact: true }).pressSequentially('SELECT count(*) FROM records WHERE seve')
        await page.getByRole('button', { name: 'severity', exact: true }).first().waitFor()
        await page.keyboard.press('Tab')
        assert.equal(await page.getByLabel('Query', { exact: true }).inputValue(), 'SELECT count(*) FROM records WHERE severity')
        await hasNoBarrier(page)
      })
    })

    for (const [form, size] of Object.entries(forms)) {
      it(`is coloured while it is typed, letter for letter, ${form}`, async () => {
        await visit('/sql', size, async (page) => {
          const editor = page.getByLabel('Query', { exact: true })
          await editor.fill('')
          await editor.pressSequentially("SELECT 'it''s', status -- why\nFROM runs")
          await page.keyboard.press('Escape')
          await page.locator('.sql-keyword', { hasText: 'FROM' }).waitFor()
          await page.locator('.sql-name', { hasText: 'status' }).waitFor()
          assert.equal(await page.locator('.sql-text').textContent(), "'it''s'")
          assert.equal(await page.locator('.sql-comment').textContent(), '-- why')
          assert.equal(await page.locator('.backdrop').textContent(), `${await editor.inputValue()}\n`)
          // The colours are exactly below the letters, and scroll with them.
          await editor.fill(Array.from({ length: 60 }, (_, row) => `-- line ${row} ${'wide '.repeat(row)}`).join('\n'))
          await editor.evaluate((field) => (field.scrollTop = field.scrollHeight))
          await page.waitForFunction(() => {
            const [above, below] = [document.querySelector('textarea'), document.querySelector('.backdrop')]
            return above.scrollTop > 100 && above.scrollTop === below.scrollTop && above.clientWidth === below.clientWidth && Math.abs(above.scrollHeight - below.scrollHeight) < 24
          })
          await hasNoBarrier(page)
          await fits(page)
        })
      })
    }

    it('is among the examples: errors that are new this week', async () => {
      await visit('/sql', {}, async (page) => {
        await page.getByRole('button', { name: 'Errors new this week' }).click()
        await page.getByRole('button', { name: 'Run', exact: true }).click()
        await page.getByRole('region', { name: 'Result' }).getByText('the last row does not fit').waitFor()
      })
    })

    it('with numbers of different sizes has an axis for each', async () => {
      await visit('/sql', {}, async (page) => {
        await page.getByLabel('Query', { exact: true }).fill("SELECT * FROM (VALUES ('a', 1, 90000), ('b', 2, 80000)) AS t (name, errors, records)")
        await page.keyboard.press('Control+Enter')
        await page.getByText('2 rows').waitFor()
        await page.getByRole('button', { name: 'Lines' }).click()
        await page.locator('.u-legend', { hasText: 'records (right axis)' }).waitFor()
      })
    })

    it('is plotted with values of its columns in the legend', async () => {
      await visit('/sql', { answers: true }, async (page) => {
        await page.getByLabel('Query', { exact: true }).fill('SELECT day, runs, failed FROM t')
        await page.keyboard.press('Control+Enter')
        await page.getByText('3 rows').waitFor()
        await page.getByRole('button', { name: 'Bars' }).click()
        await page.locator('.uplot canvas').waitFor()
        const legend = await page.locator('.u-legend').textContent()
        assert.match(legend, /day/)
        assert.doesNotMatch(legend, /--|row:/)
      })
    })
  })

  describe('a service that cannot be reached', () => {
    it('is told by one banner, and the page goes on by itself', async () => {
      await visit('/tasks?hours=2160', {}, async (page) => {
        await page.getByText('nightly orders').first().waitFor()
        await page.route('**/runlog/v1/**', (route) => route.abort())
        await page.getByRole('combobox', { name: 'Time' }).selectOption('72')
        await page.getByText('Cannot reach Runlog. Retrying …').waitFor()
        assert.equal(await page.getByText('Cannot reach Runlog').count(), 1)
        assert.ok((await page.getByText('nightly orders').count()) > 0)
        await hasNoBarrier(page)
        await page.unroute('**/runlog/v1/**')
        await page.getByText('Cannot reach Runlog. Retrying …').waitFor({ state: 'detached' })
      })
    })
  })

  describe('a page that is loaded', () => {
    const watch = async (page) => {
      await page.addInitScript(() => {
        window.moved = 0
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value
        }).observe({ type: 'layout-shift', buffered: true })
      })
    }

    it('does not move', async () => {
      const paths = ['/?hours=2160', '/tasks?hours=2160', `/tasks/${service().taskId}?hours=2160`, `/runs/${FAILED_RUN}`, `/runs/${LONG_RUN}`, `/runs/${EARLIER_RUN}/compare/${FAILED_RUN}`, '/problems']
      const told = []
      for (const size of Object.values(forms)) {
        for (const path of paths) {
          await visit(path, { ...size, prepare: watch }, async (page) => {
            await page.waitForLoadState('networkidle')
            told.push([`${size.width} ${path}`, await page.evaluate(() => window.moved)])
          })
        }
      }
      assert.deepEqual(told.filter(([, moved]) => moved >= 0.05), [], 'layout shift of 0.05 or more')
    })

    it('does not wait for slow reports, whose results are shown on request', async () => {
      for (const [path, name, done, result] of [
        ['/?hours=2160', 'workspaces/*/report*', 'Show the results', /Fails since|new kind/],
        [`/tasks/${service().taskId}?hours=2160`, 'tasks/*/report*', 'Show the findings', /Kind of error/],
      ]) {
        let release
        const released = new Promise((resolve) => (release = resolve))
        const prepare = async (page) => {
          await watch(page)
          await page.route(`**/runlog/v1/${name}`, async (route) => {
            await released
            await route.continue().catch(() => {})
          })
        }
        await visit(path, { prepare }, async (page) => {
          await page.getByText(/Checking for late|Comparing the logs/).waitFor()
          await page.getByRole('link', { name: /[Ff]ailed/ }).first().waitFor()
          await hasNoBarrier(page)
          release()
          await page.getByRole('button', { name: done }).waitFor()
          const moved = await page.evaluate(() => window.moved)
          assert.ok(moved < 0.05, `${path} moved by ${moved}`)
          await page.getByRole('button', { name: done }).click()
          await page.getByText(result).first().waitFor()
        })
      }
    })

    it('does not move whichever answer is the last', async () => {
      const asked = {
        '/?hours=2160': ['overview?*', 'overview/tasks*', 'problems?*', 'workspaces/*/report*', 'collection', 'sinks'],
        [`/tasks/${service().taskId}?hours=2160`]: ['overview/tasks*', 'tasks/*/runs*', 'tasks/*/report*'],
        [`/runs/${FAILED_RUN}`]: ['runs/*/summary', 'runs/*/report*', 'runs/*/patterns*', 'runs/*/histogram*', 'runs/*/records*'],
      }
      const told = []
      for (const [path, slow] of Object.entries(asked)) {
        for (const name of slow) {
          const prepare = async (page) => {
            await watch(page)
            await page.route(`**/runlog/v1/${name}`, async (route) => {
              await new Promise((resolve) => setTimeout(resolve, 900))
              await route.continue().catch(() => {})
            })
          }
          await visit(path, { ...forms['on a phone'], prepare }, async (page) => {
            await page.waitForTimeout(1_200)
            await page.waitForLoadState('networkidle')
            told.push([`${name} of ${path}`, await page.evaluate(() => window.moved)])
          })
        }
      }
      assert.deepEqual(told.filter(([, moved]) => moved >= 0.05), [], 'layout shift of 0.05 or more')
    })
  })
}
