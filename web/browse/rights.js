// Users with some rights: a page says what it leaves out, and who can help.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { openPage } from './browser.js'
import { send } from './service.js'

const READING = ['AUTHOR', 'EXECUTE', 'VIEW']

/** @param {{ hasNoBarrier: Function, fits: Function, tokenOfNobody: Function, service: () => any, chrome: () => any }} stage */
export function rightsTests({ hasNoBarrier, fits, tokenOfNobody, service, chrome }) {
  /** Opens a page as a user who has these rights in two workspaces, as the session says. */
  async function visitAs(rights, path, options, act) {
    const { page, context, complaints } = await openPage(chrome().browser, service(), options)
    try {
      await page.route('**/runlog/v1/session', async (route) => {
        const session = await (await route.fetch()).json()
        const workspaces = Object.entries(rights).map(([name, held], index) => ({ id: String(index).repeat(24), name, environment: 'production', rights: held }))
        return route.fulfill({ json: { ...session, administrator: false, permissions: [], workspaces } })
      })
      await page.goto(service().url + path)
      await act(page)
      assert.deepEqual(complaints, [])
    } finally {
      await context.close()
    }
  }

  describe('a user who may read some logs', () => {
    for (const [form, size] of Object.entries({ 'on a desktop': { width: 1_440, height: 900 }, 'on a phone': { width: 390, height: 844, dark: true } })) {
      it(`is told which workspaces are left out, ${form}`, async () => {
        const paths = { '/search?q=row': 'searched', '/problems': 'covered', '/sql': 'queried', '/?hours=2160': 'covered' }
        for (const [path, action] of Object.entries(paths)) {
          await visitAs({ sales: ['VIEW'], ops: READING }, path, size, async (page) => {
            await page.getByText(`1 workspace is not ${action}: you lack the right to read its logs (sales).`).first().waitFor()
            await fits(page)
            await hasNoBarrier(page)
          })
        }
        await visitAs({ sales: READING, ops: READING }, '/search?q=row', size, async (page) => {
          await page.getByText(/lines? scanned/).waitFor()
          assert.equal(await page.getByText('you lack the right').count(), 0)
        })
      })
    }
  })

  describe('a user who may read no log', () => {
    it('is told so, instead of that nothing matches', async () => {
      await visitAs({ sales: ['VIEW'] }, '/search?q=row', {}, async (page) => {
        await page.getByText('No logs were searched: you may not read those of any workspace.').waitFor()
        assert.equal(await page.getByText('No matches').count(), 0)
        await hasNoBarrier(page)
      })
      const prepare = (page) => page.route('**/runlog/v1/problems?*', (route) => route.fulfill({ json: { items: [], limit: 50, offset: 0, total: 0 } }))
      await visitAs({ sales: ['VIEW'] }, '/tasks', {}, async (page) => {
        await prepare(page)
        await page.getByRole('link', { name: 'Problems' }).click()
        await page.getByText('No problems are shown').waitFor()
      })
    })
  })

  describe('a page for administrators', () => {
    it('names who can help', async () => {
      const token = await tokenOfNobody()
      for (const path of ['/collection', '/retention', '/alerts', '/access/audit', '/access/tenant-audit-logs']) {
        const { page, context } = await openPage(chrome().browser, { ...service(), token })
        try {
          await page.goto(service().url + path)
          await page.getByText('Ask an administrator of this archive').first().waitFor()
          assert.equal(await page.getByText('Ask a manager').count(), 0, path)
          await hasNoBarrier(page)
        } finally {
          await context.close()
        }
      }
    })
  })

  describe('a run that timed out', () => {
    const TIMED_OUT = '6c0e5a34-0000-4000-8000-0000000000f1'
    it('has failed: it opens at its first error, and says why', async () => {
      const at = Date.parse('2026-11-20T23:30:00Z')
      const lines = Array.from({ length: 300 }, (_, index) => JSON.stringify({ logTimestamp: at + index * 1_000, severity: index === 250 ? 'ERROR' : 'INFO', logMessage: index === 250 ? 'lock wait timeout exceeded' : `row ${index}` }))
      const run = `/runlog/v1/runs/${TIMED_OUT}`
      await send(service(), 'PUT', run, JSON.stringify({ taskId: service().taskId, startTimestamp: new Date(at).toISOString() }))
      await send(service(), 'POST', `${run}/records`, lines.join('\n'))
      await send(service(), 'POST', `${run}/finish`, JSON.stringify({ status: 'terminated_timeout', finishTimestamp: new Date(at + 300_000).toISOString() }))
      for (const size of [{ width: 1_440, height: 900 }, { width: 390, height: 844 }]) {
        const { page, context } = await openPage(chrome().browser, service(), size)
        try {
          await page.goto(`${service().url}/runs/${TIMED_OUT}`)
          await page.getByText('✕ timed out').waitFor()
          await page.getByRole('heading', { name: 'Why it failed' }).waitFor()
          await page.locator('article.cursor[data-index="250"]').waitFor()
          await hasNoBarrier(page)
        } finally {
          await context.close()
        }
      }
    })
  })
}
