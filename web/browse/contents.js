// What a log contains is shown whole and safely: addresses, very long messages; figures and labels are not cut or misleading.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { send } from './service.js'

const forms = { 'on a desktop': { width: 1_440, height: 900 }, 'on a phone': { width: 390, height: 844, dark: true } }
const line = (page, index) => page.locator(`article[data-index="${index}"]`)
const CONTENTS_RUN = '6c0e5a34-0000-4000-8000-0000000000f2'
const LONG_ADDRESS = `https://example.com/${'long/'.repeat(60)}end`
const MESSAGES = [
  'see https://example.com/a?b=1#c, or (http://example.com/x_(y)). needle-address',
  `failed: ${LONG_ADDRESS}`,
  'hostile: javascript:alert(1) https://user:secret@evil.example/ https://example.com/"onclick="x https://example.com/\u202egpj.exe',
  'two\nlines, at https://example.com/second',
  'z'.repeat(2_000_000),
  'the last line',
]

/** @param {{ visit: Function, hasNoBarrier: Function, fits: Function, service: () => any }} stage */
export function contentsTests({ visit, hasNoBarrier, fits, service }) {
  let isPushed = false
  async function push() {
    if (isPushed) return
    const at = Date.parse('2026-11-19T10:00:00Z')
    const run = `/runlog/v1/runs/${CONTENTS_RUN}`
    const time = (seconds) => new Date(at + seconds * 1_000).toISOString()
    await send(service(), 'PUT', run, JSON.stringify({ taskId: service().taskId, startTimestamp: time(0) }))
    await send(service(), 'POST', `${run}/records`, MESSAGES.map((logMessage, index) => JSON.stringify({ logTimestamp: at + index * 1_000, severity: 'INFO', logMessage })).join('\n'))
    await send(service(), 'POST', `${run}/finish`, JSON.stringify({ status: 'execution_successful', errorMessage: 'done, with a note', finishTimestamp: time(1) }))
    isPushed = true
  }

  describe('addresses in a log', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`are links to the web, and nothing else is, ${form}`, async () => {
        await push()
        await visit(`/runs/${CONTENTS_RUN}#1`, size, async (page) => {
          await line(page, 0).waitFor()
          const hrefs = (index) => line(page, index).locator('.text a').evaluateAll((links) => links.map((link) => link.getAttribute('href')))
          assert.deepEqual(await hrefs(0), ['https://example.com/a?b=1#c', 'http://example.com/x_(y)'])
          assert.deepEqual(await hrefs(2), ['https://example.com/', 'https://example.com/'])
          for (const link of await page.locator('.scroller .text a').all()) {
            assert.deepEqual([await link.getAttribute('target'), await link.getAttribute('rel')], ['_blank', 'noopener noreferrer'])
          }
          // Each row of an address leads to the whole of it.
          await line(page, 1).locator('.fold').click()
          await page.locator('.detail.rest a').first().waitFor()
          const parts = await page.locator('.detail.rest a').evaluateAll((links) => links.map((link) => link.getAttribute('href')))
          assert.deepEqual([...new Set([...parts, ...(await hrefs(1))])], [LONG_ADDRESS])
          await line(page, 3).locator('.fold').click()
          await page.locator('.detail a[href="https://example.com/second"]').waitFor()
          await hasNoBarrier(page)
          await fits(page)
        })
        await visit('/search?q=needle-address&days=any', size, async (page) => {
          const link = page.locator('p.text a').first()
          assert.equal(await link.getAttribute('href'), 'https://example.com/a?b=1#c')
          assert.equal(await link.getAttribute('rel'), 'noopener noreferrer')
          await hasNoBarrier(page)
        })
      })
    }
  })

  describe('a message of two million characters', () => {
    it('says how much of it is not shown, and is copied and downloaded whole', async () => {
      await push()
      await visit(`/runs/${CONTENTS_RUN}#5`, { width: 1_440, height: 900, permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
        await line(page, 4).waitFor()
        await page.getByRole('region', { name: /^The log,/ }).focus()
        await page.keyboard.press('Enter')
        await page.locator('.detail.rest').first().waitFor()
        await page.keyboard.press('End')
        await line(page, 5).waitFor()
        await page.getByText('… 1,900,000 more characters').waitFor()
        await hasNoBarrier(page)
        await page.locator('.detail.whole').getByRole('button', { name: 'Copy message' }).click()
        await page.getByText('Message copied').waitFor()
        assert.equal(await page.evaluate(async () => (await navigator.clipboard.readText()).length), 2_000_000)
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download message' }).click()])
        assert.equal(readFileSync(await download.path(), 'utf8'), MESSAGES[4])
      })
    })
  })

  describe('the head of a run', () => {
    it('fits a phone: nothing lies over its message, and no size is told that is not known', async () => {
      await push()
      await visit(`/runs/${CONTENTS_RUN}`, { width: 390, height: 844 }, async (page) => {
        const more = page.getByRole('button', { name: 'More' })
        const [button, note] = [await more.boundingBox(), await page.locator('.run-head .note').boundingBox()]
        assert.ok(button.y + button.height <= note.y, `${JSON.stringify(button)} over ${JSON.stringify(note)}`)
        await more.click()
        await page.getByText(/^(less than 1 KiB|[\d.]+ [KM]iB)$/).waitFor()
        await fits(page)
      })
    })
  })

  describe('the labels of a time axis', () => {
    for (const [form, size] of Object.entries(forms)) {
      it(`are not cut, ${form}`, async () => {
        for (const path of ['/?hours=24', '/?hours=168', '/?hours=2160', `/runs/${CONTENTS_RUN}`]) {
          await visit(path, size, async (page) => {
            await page.locator('.axis span').first().waitFor()
            const cut = await page.locator('.axis span').evaluateAll((labels) => labels.filter((label) => label.getBoundingClientRect().right > label.parentElement.getBoundingClientRect().right + 0.5).map((label) => label.textContent))
            assert.deepEqual(cut, [], path)
          })
        }
      })
    }
  })

  describe('the durations of a task', () => {
    it('are those of its ended runs in the whole period, in its figures and in its plot', async () => {
      const at = Date.now() - 3_600_000
      const run = (number, seconds, isEnded = true) => ({
        runId: `6c0e5a34-0000-4000-8000-${String(number).padStart(12, '0')}`, status: isEnded ? 'execution_successful' : 'executing', triggerTimestamp: new Date(at - number * 1_000).toISOString(),
        startTimestamp: new Date(at - number * 1_000).toISOString(), ...(isEnded ? { finishTimestamp: new Date(at - number * 1_000 + seconds * 1_000).toISOString() } : {}), records: 1, errors: 0, warnings: 0,
      })
      // The newest 200 take three seconds, one of them still goes on; the 700 before them take one.
      const all = [run(0, 0, false), ...Array.from({ length: 899 }, (_, index) => run(index + 1, index < 199 ? 3 : 1))]
      const offsets = new Set()
      const prepare = async (page) => {
        await page.route('**/runlog/v1/tasks/*/runs?*', (route) => {
          const query = new URL(route.request().url()).searchParams
          const [limit, offset] = [Number(query.get('limit')), Number(query.get('offset') ?? 0)]
          offsets.add(offset)
          return route.fulfill({ json: { items: all.slice(offset, offset + limit), limit, offset, total: all.length } })
        })
        await page.route('**/runlog/v1/tasks/*/durations?*', (route) => route.fulfill({ json: { runs: 899, medianMs: 1_000, p95Ms: 3_000, longestMs: 3_000 } }))
      }
      await visit(`/tasks/${service().taskId}?hours=2160`, { prepare }, async (page) => {
        await page.getByText('median 1.0 s').waitFor()
        const facts = await page.locator('.facts').innerText()
        assert.match(facts, /Median duration\s+1\.0 s/)
        assert.match(facts, /Longest\s+3\.0 s/)
        // The service computes them: only the runs of the page are loaded.
        assert.deepEqual([...offsets], [0])
      })
    })
  })

  describe('names without spaces that are longer than the screen', () => {
    const NAMED_RUN = '6c0e5a34-0000-4000-8000-0000000000f3'
    const name = (what) => `${what}_${'long_name_'.repeat(8)}end`
    let paths
    async function pushNamed() {
      if (paths) return paths
      const create = async (path, body) => await (await send(service(), 'POST', path, JSON.stringify(body))).json()
      const environment = await create('/runlog/v1/environments', { name: name('environment') })
      const workspace = await create('/runlog/v1/workspaces', { name: name('workspace'), environmentId: environment.id })
      const task = await create('/runlog/v1/tasks', { name: name('task'), workspaceId: workspace.id })
      const run = `/runlog/v1/runs/${NAMED_RUN}`
      await send(service(), 'PUT', run, JSON.stringify({ taskId: task.executable }))
      await send(service(), 'POST', `${run}/records`, JSON.stringify({ logTimestamp: Date.now(), severity: 'ERROR', logMessage: 'needle-of-names' }))
      await send(service(), 'POST', `${run}/finish`, JSON.stringify({ status: 'execution_failed' }))
      paths = ['/', '/tasks', `/tasks/${task.executable}`, `/runs/${NAMED_RUN}`, '/search?q=needle-of-names&days=any']
      return paths
    }
    for (const [form, size] of Object.entries(forms)) {
      it(`are shown whole, ${form}`, async () => {
        for (const path of await pushNamed()) {
          await visit(path, size, async (page) => {
            await page.locator('main').getByText(name('task')).filter({ visible: true }).first().waitFor()
            await fits(page)
          })
        }
      })
    }
  })
}
