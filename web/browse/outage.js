// A service that fails for a while: each page goes on by itself once it responds again, or with its button.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as answers from './answers.js'
import { openPage } from './browser.js'

const FAILED_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'
const line = (page, index) => page.locator(`article[data-index="${index}"]`)
const BANNER = 'Cannot reach Runlog. Retrying …'

/** @param {{ visit: Function, hasNoBarrier: Function, service: () => any, chrome: () => any }} stage */
export function outageTests({ visit, hasNoBarrier, service, chrome }) {
  describe('a log', () => {
    it('that the service could not give is loaded with “Try again”', async () => {
      for (const query of ['', '?severity=WARN']) {
        let isBusy = true
        const prepare = (page) =>
          page.route('**/runlog/v1/runs/*/records?*', (route) => (isBusy ? route.fulfill({ status: 503, json: { status: 503, message: 'the archive is busy' } }) : route.continue()))
        await visit(`/runs/${FAILED_RUN}${query}#1`, { prepare }, async (page) => {
          const note = page.getByRole('alert').filter({ hasText: 'Runlog is busy' })
          await note.waitFor()
          // What loads later, such as the report, requests lines again.
          await page.waitForLoadState('networkidle')
          isBusy = false
          await note.getByRole('button', { name: 'Try again' }).click()
          await page.locator('article[data-index]').first().waitFor()
          await note.waitFor({ state: 'detached' })
        })
      }
    })

    it('goes on by itself when the network is back', async () => {
      for (const query of ['', '?severity=WARN']) {
        const prepare = (page) => page.route('**/runlog/v1/runs/*/records?*', (route) => route.abort())
        await visit(`/runs/${FAILED_RUN}${query}#1`, { prepare }, async (page) => {
          await page.getByText(BANNER).waitFor()
          // The probe of the connection succeeds, the lines are still out of reach.
          await page.waitForTimeout(500)
          await page.unroute('**/runlog/v1/runs/*/records?*')
          await page.locator('article[data-index]').first().waitFor({ timeout: 10_000 })
          await page.getByText(BANNER).waitFor({ state: 'detached' })
        })
      }
    })

    it('that is scrolled during an outage shows where it was scrolled to afterwards', async () => {
      await visit(`/runs/${FAILED_RUN}#1`, {}, async (page) => {
        await line(page, 0).waitFor()
        await page.route('**/runlog/v1/runs/*/records?*', (route) => route.abort())
        await page.getByRole('region', { name: /^The log,/ }).focus()
        await page.keyboard.press('G')
        await page.getByText(BANNER).waitFor()
        await page.unroute('**/runlog/v1/runs/*/records?*')
        await line(page, 1_075).waitFor({ timeout: 10_000 })
      })
    })
  })

  describe('the overview', () => {
    it('checks the workspaces again when the network is back, and on request', async () => {
      const prepare = (page) => page.route('**/runlog/v1/workspaces/*/report?*', (route) => route.abort())
      await visit('/', { prepare }, async (page) => {
        const told = page.getByText(/workspaces? could not be checked for late/)
        await told.waitFor()
        await page.unroute('**/runlog/v1/workspaces/*/report?*')
        await told.waitFor({ state: 'detached', timeout: 10_000 })
        await page.route('**/runlog/v1/workspaces/*/report?*', (route) => route.fulfill({ status: 503, json: { status: 503, message: 'the archive is busy' } }))
        await page.getByRole('combobox', { name: 'Time' }).selectOption('72')
        await told.waitFor()
        await hasNoBarrier(page)
        await page.unroute('**/runlog/v1/workspaces/*/report?*')
        await told.getByRole('button', { name: 'Try again' }).click()
        await told.waitFor({ state: 'detached' })
      })
    })
  })

  describe('a search', () => {
    it('keeps its matches when “Load more” fails, and goes on after them', async () => {
      const path = '**/runlog/v1/search?*'
      const prepare = (page) => page.route(path, (route) => route.fulfill({ json: answers.search(FAILED_RUN) }))
      await visit('/search?q=row', { prepare }, async (page) => {
        await page.getByText('2+ matches').waitFor()
        const isAway = (route) => route.abort()
        await page.route(path, isAway)
        await page.getByRole('button', { name: 'Load more' }).click()
        await page.getByText(BANNER).waitFor()
        assert.equal(await page.getByText('2+ matches').count(), 1)
        await page.unroute(path, isAway)
        await page.getByText('4+ matches').waitFor({ timeout: 10_000 })

        const isBusy = (route) => route.fulfill({ status: 503, json: { status: 503, message: 'the archive is busy' } })
        await page.route(path, isBusy)
        await page.getByRole('button', { name: 'Load more' }).click()
        const note = page.getByRole('alert').filter({ hasText: 'Runlog is busy' })
        await note.waitFor()
        assert.equal(await page.getByText('4+ matches').count(), 1)
        await hasNoBarrier(page)
        await page.unroute(path, isBusy)
        const [request] = await Promise.all([page.waitForRequest(path), note.getByRole('button', { name: 'Try again' }).click()])
        assert.equal(new URL(request.url()).searchParams.get('cursor'), 'further')
        await page.getByText('6+ matches').waitFor()
        await note.waitFor({ state: 'detached' })
      })
    })
  })

  describe('the menu of comparisons', () => {
    it('leads to a run with keys, not before Enter, and stays when its runs cannot be loaded', async () => {
      let isBusy = true
      const prepare = (page) =>
        page.route('**/runlog/v1/tasks/*/runs?*', (route) => (isBusy ? route.fulfill({ status: 503, json: { status: 503, message: 'the archive is busy' } }) : route.continue()))
      for (const size of [{ width: 1_440, height: 900 }, { width: 390, height: 844 }]) {
        isBusy = true
        await visit(`/runs/${FAILED_RUN}`, { ...size, prepare }, async (page) => {
          const menu = page.locator('summary', { hasText: 'Compare with …' })
          await menu.focus()
          await page.keyboard.press('Enter')
          await page.getByText('The archive is busy.').waitFor()
          isBusy = false
          await page.getByRole('alert').getByRole('button', { name: 'Try again' }).click()
          const first = page.locator('.menu li a[href*="/compare/"]').first()
          await first.waitFor()
          await hasNoBarrier(page)
          await menu.focus()
          await page.keyboard.press('ArrowDown')
          await page.keyboard.press('Tab')
          assert.equal(new URL(page.url()).pathname, `/runs/${FAILED_RUN}`)
          const href = await first.getAttribute('href')
          const box = await first.boundingBox()
          assert.ok(box.x >= 0 && box.x + box.width <= size.width, JSON.stringify(box))
          await page.keyboard.press('Escape')
          await first.waitFor({ state: 'hidden' })
          await page.keyboard.press('Enter')
          await page.keyboard.press('Tab')
          await page.keyboard.press('Enter')
          await page.waitForURL(`**${href}`)
        })
      }
    })
  })

  describe('the page of sign-in', () => {
    it('offers the identity provider once the service tells of it, and returns to the line that was asked for', async () => {
      const { page, context } = await openPage(chrome().browser, service(), { signedIn: false })
      try {
        let isAway = true
        await page.route('**/runlog/v1/sign-in', (route) =>
          (isAway ? route.abort() : route.fulfill({ json: { identityProvider: { name: 'Example', path: '/runlog/v1/sign-in/oidc' } } })))
        await page.goto(`${service().url}/runs/${FAILED_RUN}?all=true#L7-L9`)
        await page.getByLabel('Token').waitFor()
        isAway = false
        const link = page.getByRole('link', { name: 'Sign in with Example' })
        await link.waitFor({ timeout: 10_000 })
        assert.equal(await link.getAttribute('href'), `/runlog/v1/sign-in/oidc?to=${encodeURIComponent(`/runs/${FAILED_RUN}?all=true#L7-L9`)}`)
      } finally {
        await context.close()
      }
    })
  })

  describe('an internal error', () => {
    it('names its request only if there is an ID', async () => {
      for (const [requestId, advice] of [['r-1', 'See the log of the service for this request ID.'], [undefined, 'See the log of the service.']]) {
        const prepare = (page) => page.route('**/runlog/v1/problems?*', (route) => route.fulfill({ status: 500, json: { status: 500, message: 'it broke', requestId } }))
        await visit('/problems', { prepare }, async (page) => {
          await page.getByText(advice, { exact: true }).waitFor()
          assert.equal(await page.getByText('request ID', { exact: false }).count(), requestId ? 2 : 0)
        })
      }
    })
  })
}
