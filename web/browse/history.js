// The address and the history: what is chosen on a page can be shared, and the browser goes back to what was shown before.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ODD_RUN } from './service.js'

/** @param {{ visit: Function, service: () => any }} stage */
export function historyTests({ visit, service }) {
  describe('the browser', () => {
    it('goes back to the previous filter, not to the previous page', async () => {
      const pages = [
        ['/', 'Time', '72', 'hours=72'],
        ['/tasks', 'Time', '72', 'hours=72'],
        [`/tasks/${service().taskId}`, 'Status', 'any_failure', 'status=any_failure'],
        ['/problems', 'State', 'resolved', 'state=resolved'],
        ['/plans', 'Status', 'execution_failed', 'status=execution_failed'],
        ['/search?q=row', 'Severity', 'WARN', 'severity=WARN'],
      ]
      for (const [path, label, value, query] of pages) {
        await visit(path, {}, async (page) => {
          const choice = page.getByRole('combobox', { name: label })
          await choice.waitFor()
          const before = await choice.inputValue()
          await choice.selectOption(value)
          await page.waitForURL((url) => url.search.includes(query))
          await page.goBack()
          await page.waitForURL((url) => url.pathname + url.search === path)
          assert.equal(await choice.inputValue(), before, path)
        })
      }
    })

    it('goes back over a text that was typed in one step', async () => {
      await visit('/tasks?hours=2160', {}, async (page) => {
        await page.getByText('nightly orders').first().waitFor()
        await page.getByRole('link', { name: 'Problems' }).click()
        await page.getByRole('searchbox').pressSequentially('does', { delay: 260 })
        await page.waitForURL(/q=does/)
        await page.goBack()
        await page.waitForURL(/\/tasks\?hours=2160$/)
      })
    })

    it('does not apply to the next page what was begun on the one before', async () => {
      // A text that was typed a moment ago.
      await visit('/tasks?hours=2160', {}, async (page) => {
        await page.getByText('nightly orders').first().waitFor()
        await page.evaluate(() => {
          const box = document.querySelector('input[type=search]')
          box.value = 'nightly'
          box.dispatchEvent(new InputEvent('input', { bubbles: true }))
          document.querySelector('nav a[href="/problems"]').click()
        })
        await page.waitForTimeout(600)
        assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, '/problems')
      })
      // A jump to a line that is still searched for.
      let [release, reach] = [() => {}, () => {}]
      const held = new Promise((resolve) => (release = resolve))
      const asked = new Promise((resolve) => (reach = resolve))
      await visit(`/runs/${ODD_RUN}?at=1763681405000`, {
        prepare: (page) => page.route('**/runlog/v1/runs/*/histogram?*buckets=1', async (route) => {
          reach()
          await held
          await route.continue()
        }),
      }, async (page) => {
        await page.locator('article[data-index]').first().waitFor()
        await asked
        await page.locator('nav a[href="/problems"]').first().click()
        await page.getByRole('heading', { name: 'Problems' }).waitFor()
        release()
        await page.waitForTimeout(600)
        assert.equal(page.url().slice(service().url.length), '/problems')
      })
    })

    it('goes back to the previous query', async () => {
      await visit('/sql', {}, async (page) => {
        const editor = page.getByLabel('Query', { exact: true })
        for (const query of ['SELECT 1 AS one', 'SELECT 2 AS two']) {
          await editor.fill(query)
          await page.keyboard.press('Control+Enter')
          await page.getByRole('columnheader', { name: query.slice(-3) }).waitFor()
        }
        await page.goBack()
        await page.waitForFunction(() => document.querySelector('textarea').value === 'SELECT 1 AS one')
        assert.equal(await page.getByRole('region', { name: 'Result' }).count(), 0)
      })
    })

    it('goes back from a query that is running, whose result is not shown under the previous one', async () => {
      await visit('/sql', {}, async (page) => {
        const editor = page.getByLabel('Query', { exact: true })
        const run = async (query) => {
          await editor.fill(query)
          await page.keyboard.press('Control+Enter')
        }
        await run('SELECT 1 AS one')
        await page.getByRole('columnheader', { name: 'one' }).waitFor()
        let release = () => {}
        const held = new Promise((resolve) => (release = resolve))
        await page.route('**/runlog/v1/sql', async (route) => {
          await held
          await route.fulfill({ body: '{"two":2}', contentType: 'application/x-ndjson' })
        })
        await run('SELECT 2 AS two')
        await page.getByText('Running …').waitFor()
        await page.goBack()
        await page.waitForFunction(() => document.querySelector('textarea').value === 'SELECT 1 AS one')
        await page.getByText('Running …').waitFor({ state: 'detached' })
        release()
        await page.waitForTimeout(300)
        assert.equal(await page.getByRole('region', { name: 'Result' }).count(), 0)
      })
    })
  })

  describe('the overview', () => {
    it('has its selected bars in the address', async () => {
      await visit('/?hours=2160', { width: 1_440, height: 900 }, async (page) => {
        const heading = page.getByRole('heading', { name: /^Runs from / })
        const bars = page.getByRole('application', { name: /^Runs by time/ })
        await bars.focus()
        await page.keyboard.press('Home')
        await page.keyboard.press('Shift+End')
        await page.keyboard.press('Enter')
        await heading.waitFor()
        const told = await heading.textContent()
        const first = page.locator('.selected tbody a').first()
        const run = await first.getAttribute('href')
        await first.click()
        await page.waitForURL(`**${run}`)
        await page.goBack()
        await heading.waitFor()
        await page.reload()
        await heading.waitFor()
        assert.equal(await heading.textContent(), told)
        await page.locator('svg .selection').waitFor()
        await page.goBack()
        await heading.waitFor({ state: 'detached' })
      })
    })
  })

  describe('a result of a search', () => {
    it('leads to its own line, with what was searched for', async () => {
      const text = '"refused by" could'
      await visit(`/search?q=${encodeURIComponent(text)}&days=any`, {}, async (page) => {
        const link = page.getByRole('link', { name: 'nightly orders' }).first()
        assert.equal(await link.getAttribute('href'), `/runs/${ODD_RUN}?q=%22refused+by%22+%22could%22&all=true#6`)
        await page.getByRole('button', { name: 'Show context' }).first().click()
        await page.locator('.context .match').getByText('could not connect').waitFor()
        await link.click()
        await page.locator('article.cursor[data-index="5"]').waitFor()
        assert.equal(await page.locator('article[data-index="5"] mark').first().textContent(), 'could')
        assert.equal(await page.getByLabel('Find in this log').inputValue(), '"refused by" "could"')
      })
      // Lines that are alike each lead to themselves.
      await visit('/search?q=%22still%20going%22&days=any', {}, async (page) => {
        await page.locator('.where a').nth(30).waitFor()
        const hrefs = await page.locator('.where a').evaluateAll((links) => links.map((link) => link.getAttribute('href')))
        assert.equal(new Set(hrefs).size, hrefs.length)
      })
    })
  })
}
