// The pages of administrators: retention with its preview, legal holds, alerts, the history of deliveries; and the facets
// of a search.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as answers from './answers.js'
import { push, send } from './service.js'

const FAILED_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'
const forms = { 'on a desktop': { width: 1_440, height: 900 }, 'on a phone': { width: 390, height: 844 } }

/** @param {{ visit: Function, hasNoBarrier: Function, fits: Function, service: () => any }} stage */
export function administrationTests({ visit, hasNoBarrier, fits, service }) {
  const get = async (path) => (await send(service(), 'GET', path)).json()

  describe('retention', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`is changed once it was shown what that deletes, by keys alone, ${form}`, async () => {
        const { workspaceId } = (await get('/runlog/v1/retention'))[0]
        await visit('/retention', size, async (page) => {
          const change = page.getByRole('button', { name: 'Change retention of data engineering' })
          await change.focus()
          await page.keyboard.press('Enter')
          const form = page.getByRole('form', { name: 'Retention of data engineering' })
          await form.getByText('Nothing would be deleted now.').waitFor()
          await form.getByLabel('Days after the end of a run').focus()
          await page.keyboard.type('1')
          await form.getByText(/^✕ The logs of \d+ runs would be deleted/).waitFor()
          const button = form.getByRole('button', { name: /^Save and delete \d+ logs$/ })
          await button.waitFor()
          await fits(page)
          await hasNoBarrier(page)
          // Nothing is saved until then.
          assert.equal((await get('/runlog/v1/retention'))[0].days, undefined)
          await page.keyboard.press('Control+A')
          await page.keyboard.type('0')
          await form.getByText(/Days are a whole number/).waitFor()
          assert.equal(await form.getByRole('button', { name: 'Save' }).isDisabled(), true)
          await page.keyboard.press('Control+A')
          await page.keyboard.type('36000')
          await form.getByText('Nothing would be deleted now.').waitFor()
          await page.keyboard.press('Enter')
          await page.getByText('Retention of data engineering saved').waitFor()
          await page.getByText('after 36,000 days').waitFor()
        })
        assert.equal((await get('/runlog/v1/retention'))[0].days, 36_000)
        await send(service(), 'PUT', `/runlog/v1/workspaces/${workspaceId}/retention`, '{}')
      })
    }
  })

  describe('a legal hold', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`is set with a reason, listed and lifted, ${form}`, async () => {
        await visit('/retention', size, async (page) => {
          await page.getByLabel('ID of the run').fill('1b0e4d52-6a3c-4f0e-9a57-0000000000ff')
          await page.getByLabel('Reason').fill('nothing')
          await page.getByRole('button', { name: 'Set hold' }).click()
          await page.getByText(/there is no run/).waitFor()
          await page.getByLabel('ID of the run').fill(FAILED_RUN)
          await page.getByLabel('Reason').fill('audit <b>2026</b>')
          await page.keyboard.press('Enter')
          await page.getByText(`Run ${FAILED_RUN} is under legal hold`).waitFor()
          await page.getByRole('cell', { name: 'audit <b>2026</b>' }).waitFor()
          await fits(page)
          await hasNoBarrier(page)
          const refused = await fetch(`${service().url}/monitoring/executions/${FAILED_RUN}/logs`, { method: 'DELETE', headers: { authorization: `Bearer ${service().token}` } })
          assert.equal(refused.status, 409)
          await page.getByRole('button', { name: `Lift the hold of run ${FAILED_RUN}` }).click()
          assert.equal((await get('/runlog/v1/holds')).total, 1)
          await page.getByRole('button', { name: `Confirm: lift the hold of run ${FAILED_RUN}` }).click()
          await page.getByText('No run is under legal hold.').waitFor()
        })
        assert.equal((await get('/runlog/v1/holds')).total, 0)
      })
    }
  })

  describe('the log of a run', () => {
    for (const [number, [form, size]] of Object.entries(forms).entries()) {
      it(`is placed under legal hold, released and deleted on the page of the run, by keys alone, ${form}`, async () => {
        const id = `6c0e5a34-0000-4000-8000-00000000f0${number}0`
        await send(service(), 'PUT', `/runlog/v1/runs/${id}`, JSON.stringify({ taskId: service().taskId }))
        await push(service(), id, 3)
        await send(service(), 'POST', `/runlog/v1/runs/${id}/finish`, JSON.stringify({ status: 'execution_successful' }))
        const isHeld = async () => (await get(`/runlog/v1/runs/${id}/summary`)).log.isHeld
        await visit(`/runs/${id}`, size, async (page) => {
          const open = async (name) => {
            await page.getByText('Manage log', { exact: true }).focus()
            await page.keyboard.press('Enter')
            await page.getByRole('button', { name }).focus()
            await page.keyboard.press('Enter')
            await page.getByRole('dialog').waitFor()
          }
          await open('Place under legal hold …')
          await hasNoBarrier(page)
          await fits(page)
          // Nothing is done without a reason, or when the dialog is left.
          await page.keyboard.press('Escape')
          await page.getByRole('dialog').waitFor({ state: 'detached' })
          assert.equal(await isHeld(), false)
          await open('Place under legal hold …')
          await page.getByLabel('Reason').fill('audit of <2026>')
          await page.keyboard.press('Enter')
          await page.getByText('The log is under legal hold', { exact: false }).first().waitFor()
          await page.waitForFunction(() => !document.querySelector('dialog'))
          assert.equal(await isHeld(), true)
          const { items } = await get('/runlog/v1/holds')
          assert.equal(items.find((run) => run.runId === id).reason, 'audit of <2026>')
          // A log under legal hold is not offered for deletion.
          await page.getByText('Manage log', { exact: true }).click()
          await page.getByText('Under legal hold: not deleted.').waitFor()
          assert.equal(await page.getByRole('button', { name: 'Delete the log …' }).count(), 0)
          await page.keyboard.press('Escape')
          await open('Lift the legal hold …')
          await page.getByRole('button', { name: 'Lift hold' }).focus()
          await page.keyboard.press('Enter')
          await page.getByText('The legal hold is lifted').waitFor()
          assert.equal(await isHeld(), false)
          await open('Delete the log …')
          await page.getByText('This cannot be undone.').waitFor()
          await hasNoBarrier(page)
          await fits(page)
          await page.getByRole('button', { name: 'Delete 3 records' }).focus()
          await page.keyboard.press('Enter')
          await page.getByText('The log of this run was deleted').waitFor()
          assert.equal((await get(`/runlog/v1/runs/${id}/summary`)).log.records, 0)
        })
      })
    }

    it('says why it was not deleted, if it was not', async () => {
      const refuse = (page) => page.route('**/monitoring/executions/*/logs', (route) =>
        route.fulfill({ status: 409, json: { status: 409, message: 'the log is under legal hold', detail: 'an administrator can lift it' } }))
      await visit(`/runs/${FAILED_RUN}`, { prepare: refuse }, async (page) => {
        await page.getByText('Manage log', { exact: true }).click()
        await page.getByRole('button', { name: 'Delete the log …' }).click()
        await page.getByRole('button', { name: /^Delete [\d,]+ records$/ }).click()
        await page.getByText('the log is under legal hold', { exact: true }).waitFor()
        await page.getByText('An administrator can lift it').waitFor()
        await hasNoBarrier(page)
        await page.getByRole('button', { name: 'Cancel' }).click()
        assert.ok((await get(`/runlog/v1/runs/${FAILED_RUN}/summary`)).log.records > 0)
      })
    })

    it('is not to be managed by who may not', async () => {
      const prepare = (page) => page.route('**/runlog/v1/session', async (route) => {
        const session = await (await route.fetch()).json()
        await route.fulfill({ json: { ...session, administrator: false, permissions: [] } })
      })
      await visit(`/runs/${FAILED_RUN}`, { prepare }, async (page) => {
        await page.getByText('Download', { exact: true }).waitFor()
        assert.equal(await page.getByText('Manage log', { exact: true }).count(), 0)
      })
    })
  })

  describe('alerts', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`about a problem or a run link to its page, ${form}`, async () => {
        await visit('/alerts', { ...size, answers: true }, async (page) => {
          const history = page.getByRole('region', { name: 'History' })
          assert.equal(await history.getByRole('link', { name: /new problem in sales/ }).getAttribute('href'), '/problems/ca7816bf8f01cfea')
          assert.equal(await history.getByRole('link', { name: 'nightly orders ended with execution_failed' }).getAttribute('href'), `/runs/${FAILED_RUN}`)
          assert.equal(await history.getByRole('link', { name: /^sink elastic is behind/ }).getAttribute('href'), '/collection#sinks')
        })
      })
    }

    for (const [form, size] of Object.entries(forms)) {
      it(`are listed with their rules, and a rule is muted, ${form}`, async () => {
        await visit('/alerts', { ...size, answers: true }, async (page) => {
          const row = (text) => page.getByRole('row').filter({ hasText: text })
          await row('night-shift').getByText(/maintenance window nightly backup until/).waitFor()
          await page.getByRole('heading', { name: 'Open' }).waitFor()
          await row('task late').getByText(/ended .*, not reported yet because it keeps recurring/).waitFor()
          await page.getByText('✕ given up: it answered 400 Bad Request').waitFor()
          await page.getByText('◌ not sent: it had ended').waitFor()
          await row('chat').first().getByText(/muted until .* by kim/).waitFor()
          await row('old-rule').getByText('– not active').waitFor()
          await page.getByText('✕ it answered 503').waitFor()
          assert.equal(await page.getByRole('link', { name: 'nightly orders ended with execution_failed', exact: true }).first().getAttribute('href'), `/runs/${FAILED_RUN}`)
          await fits(page)
          await hasNoBarrier(page)

          const told = []
          await page.route('**/runlog/v1/alerts/*/mute', (route) => {
            told.push(route.request().method(), new URL(route.request().url()).pathname, route.request().postData())
            return route.fulfill({ status: 204 })
          })
          await page.getByRole('button', { name: 'Mute night-shift' }).click()
          await page.getByLabel('How long').selectOption({ label: 'until it is unmuted' })
          await page.getByLabel('Note').fill('planned work')
          await hasNoBarrier(page)
          await page.keyboard.press('Enter')
          await page.getByText('night-shift is muted').waitFor()
          await page.getByRole('button', { name: 'Unmute chat' }).click()
          await page.getByText('chat sends alerts again').waitFor()
          assert.deepEqual(told, ['PUT', '/runlog/v1/alerts/night-shift/mute', '{"note":"planned work"}', 'DELETE', '/runlog/v1/alerts/chat/mute', null])
        })
      })
    }

    it('are previewed, and their history is filtered in the address', async () => {
      await visit('/alerts', { answers: true }, async (page) => {
        await page.getByLabel('Period of the preview').selectOption('7')
        const [request] = await Promise.all([page.waitForRequest('**/runlog/v1/alerts/preview?*'), page.getByRole('button', { name: 'Preview' }).click()])
        assert.equal(new URL(request.url()).searchParams.get('days'), '7')
        await page.getByRole('heading', { name: 'night-shift: at least 2,000 events, 1 of them muted' }).waitFor()
        await page.getByText('and 1,998 earlier events').waitFor()
        await fits(page)
        await hasNoBarrier(page)
        const [filtered] = await Promise.all([page.waitForRequest('**/runlog/v1/alerts/history?*state=waiting*'), page.getByRole('combobox', { name: 'State' }).selectOption('waiting')])
        assert.match(filtered.url(), /state=waiting/)
        await page.waitForURL(/state=waiting/)
        await page.goBack()
        await page.waitForURL((url) => url.search === '')
      })
    })

    it('of a service without rules say where rules come from', async () => {
      await visit('/alerts', {}, async (page) => {
        await page.getByText('No rules. They are defined in the settings file').waitFor()
        await page.getByRole('button', { name: 'Preview' }).click()
        await page.getByText('this service has no alert rules: start it with --settings').waitFor()
        await hasNoBarrier(page)
      })
    })
  })

  describe('the audit log', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`names users and workspaces, and its field shows what can be entered, ${form}`, async () => {
        const [user] = await get('/runlog/v1/users')
        const entry = { at: new Date().toISOString(), callerId: user.id, callerName: user.name, action: 'set retention', status: 204, address: '', requestId: 'r' }
        const items = [{ ...entry, subject: user.id }, { ...entry, subject: service().workspaceId }, { ...entry, subject: FAILED_RUN }, { ...entry, subject: 'f'.repeat(24) }]
        const prepare = (page) => page.route('**/runlog/v1/audit?*', (route) => route.fulfill({ json: { items, limit: 100, offset: 0, total: 4 } }))
        await visit('/access/audit', { ...size, prepare }, async (page) => {
          const subjects = page.locator('tbody tr td:nth-child(4)')
          // The names are loaded beside the entries.
          for (const name of [user.name, 'data engineering']) await subjects.getByText(name, { exact: true }).waitFor()
          assert.deepEqual(await subjects.allInnerTexts(), [user.name, 'data engineering', FAILED_RUN, 'f'.repeat(24)])
          const field = page.getByPlaceholder('ID of a run, user or token')
          assert.ok(await field.evaluate((input) => {
            const ruler = document.createElement('canvas').getContext('2d')
            ruler.font = getComputedStyle(input).font
            return ruler.measureText(input.placeholder).width <= input.clientWidth
          }))
          await fits(page)
          await hasNoBarrier(page)
        })
      })
    }
  })

  describe('deliveries', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`are listed, retried one by one, and repeated for a period, ${form}`, async () => {
        await visit('/collection', { ...size, answers: true }, async (page) => {
          const told = []
          await page.route(/\/runlog\/v1\/(sinks|collection)\/[^/]+\/(retry|replay)/, (route) => {
            const url = new URL(route.request().url())
            told.push(url.pathname + url.search, route.request().postData() ?? '')
            return route.fulfill({ json: answers.retried })
          })
          await page.getByRole('button', { name: 'Deliveries to elastic' }).click()
          const list = page.getByRole('table', { name: 'Deliveries to elastic' })
          await list.getByText('✕ rejected').waitFor()
          await fits(page)
          await hasNoBarrier(page)
          await page.waitForURL(/history=sink/)
          await list.getByRole('button', { name: /^Retry/ }).click()
          await page.getByText('63 runs of elastic will be retried').waitFor()

          await page.getByRole('button', { name: /^Local/ }).or(page.getByRole('button', { name: /^Time zone/ })).click()
          await page.getByRole('button', { name: 'Deliver a period again to elastic' }).click()
          await page.getByLabel('Runs that ended from').fill('2026-11-23T00:00')
          await page.getByLabel('to', { exact: true }).fill('2026-11-22T00:00')
          await page.getByText('The period ends before it begins.').waitFor()
          await page.getByLabel('to', { exact: true }).fill('2026-11-24T00:00')
          await hasNoBarrier(page)
          await page.getByRole('button', { name: 'Deliver again' }).click()
          await page.getByText('63 runs will be delivered to elastic again').waitFor()

          await page.getByRole('button', { name: 'Collected runs from talend-eu' }).click()
          await page.getByRole('table', { name: 'Runs collected from talend-eu' }).getByText('4,320').waitFor()
          await page.getByRole('row').filter({ hasText: '320 of 4,320 records came' }).getByRole('button', { name: /^Retry/ }).click()
          await page.getByText('63 runs of talend-eu will be retried').waitFor()
          assert.deepEqual(told, [
            '/runlog/v1/sinks/elastic/retry?runId=1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17', '',
            '/runlog/v1/sinks/elastic/replay', '{"from":"2026-11-23T00:00:00.000Z","to":"2026-11-24T00:00:00.000Z"}',
            `/runlog/v1/collection/talend-eu/retry?runId=${FAILED_RUN}`, '',
          ])
        })
      })
    }
  })

  describe('the facets of a search', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`narrow it, are in the address, and can be cleared, ${form}`, async () => {
        // Of one day, so that few lines are counted, however slow the machine is.
        await visit('/search?q=line&days=any&day=2026-11-20T00:00:00.000Z', size, async (page) => {
          const toggle = page.getByRole('button', { name: /^Filters/ })
          const facets = page.getByRole('region', { name: 'Filters' })
          const isCounted = () => page.waitForFunction(() => /matching line/.test(document.querySelector('.facets')?.textContent ?? ''))
          if (size.width < 900) await toggle.click()
          await isCounted()
          const component = facets.getByRole('group', { name: 'Component' }).getByRole('button', { name: /demo\.tMap_1/ })
          const count = Number((await component.textContent()).match(/([\d,]+)\s*$/)[1].replaceAll(',', ''))
          assert.ok(count >= 50, `${count} lines of the component`)
          await fits(page)
          await hasNoBarrier(page)
          const focused = () => page.evaluate(() => document.activeElement.textContent)
          await component.focus()
          await page.keyboard.press('Enter')
          await page.waitForURL(/component=demo\.tMap_1/)
          await isCounted()
          assert.equal(await facets.getByRole('button', { name: /✕ demo\.tMap_1/ }).getAttribute('aria-pressed'), 'true')
          // The focus is where it was, so that the choice can be taken back with the same key.
          assert.match(await focused(), /demo\.tMap_1/)
          await page.keyboard.press('Enter')
          await page.waitForURL((url) => !url.search.includes('component'))
          await isCounted()
          assert.match(await focused(), /demo\.tMap_1/)
          await page.keyboard.press('Enter')
          await page.waitForURL(/component=demo\.tMap_1/)
          await facets.getByRole('group', { name: 'Severity' }).getByRole('button', { name: /^INFO/ }).click()
          await page.waitForURL(/severity=INFO/)
          await isCounted()
          await facets.getByRole('group', { name: 'Status of the run' }).getByRole('button', { name: /^failed/ }).click()
          await page.waitForURL(/status=execution_failed/)
          await facets.getByRole('group', { name: 'Day' }).getByRole('button', { name: /✕ 2026-11-20/ }).click()
          await page.waitForURL((url) => !url.search.includes('day='))
          await page.goBack()
          await page.waitForURL(/day=/)
          await page.getByText(/^5\d matches/).waitFor()
        })
      })
    }

    it('are shown as lower bounds if not everything was counted', async () => {
      await visit('/search?q=row', { answers: true }, async (page) => {
        await page.getByText('at least 1,234 matching lines in 120K scanned').waitFor()
        await page.getByRole('button', { name: 'nightly orders ≥ 1,200' }).waitFor()
        await page.getByText('≥ 34 in others').waitFor()
        // All that were counted, not only the two that are loaded.
        await page.getByRole('application', { name: /^Counted matches over time\. 4 bars/ }).focus()
        for (const key of ['Home', 'ArrowRight', 'ArrowRight']) await page.keyboard.press(key)
        await page.getByText('12 h: 1,100 other').waitFor()
        await hasNoBarrier(page)
      })
    })
  })

  describe('a page of administrators', () => {
    it('does not move, whichever response comes last', async () => {
      const watch = (late) => async (page) => {
        await page.addInitScript(() => {
          window.moved = 0
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value
          }).observe({ type: 'layout-shift', buffered: true })
        })
        if (!late) return
        await page.route(late, async (route) => {
          await new Promise((resolve) => setTimeout(resolve, 900))
          await route.fallback()
        })
      }
      const cases = [
        ['/retention', ['**/runlog/v1/retention', '**/runlog/v1/holds?*']],
        ['/alerts', ['**/runlog/v1/alerts', '**/runlog/v1/alerts/history?*']],
        ['/search?q=row', ['**/runlog/v1/search?*', '**/runlog/v1/search/facets?*']],
      ]
      const told = []
      for (const size of Object.values(forms)) {
        for (const [path, requests] of cases) {
          for (const late of [undefined, ...requests]) {
            await visit(path, { ...size, answers: path !== '/retention', prepare: watch(late) }, async (page) => {
              await page.waitForLoadState('networkidle')
              await page.waitForFunction(() => !document.querySelector('main .pulse[role=status]'))
              told.push([`${size.width} ${path}, late: ${late}`, await page.evaluate(() => window.moved)])
            })
          }
        }
      }
      assert.deepEqual(told.filter(([, moved]) => moved >= 0.05), [], 'layout shift of 0.05 or more')
    })
  })
}
