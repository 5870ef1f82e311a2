// The page of tokens, users and rights: its changes take effect immediately.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { openPage } from './browser.js'

const FAILED_RUN = '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'

/** @param {{ visit: Function, hasNoBarrier: Function, fits: Function, service: () => any, chrome: () => any }} stage */
export function accessTests({ visit, hasNoBarrier, fits, service, chrome }) {
  /** The status of a request with a token. */
  const status = async (token, path) => (await fetch(service().url + path, { headers: { authorization: `Bearer ${token}` } })).status

  describe('the page of sign-in', () => {
    it('leads to the identity provider and back to the page that was asked for, and says why it has failed', async () => {
      const { page, context, complaints } = await openPage(chrome().browser, service(), { signedIn: false })
      try {
        await page.route('**/runlog/v1/sign-in', (route) =>
          route.fulfill({ json: { identityProvider: { name: 'Example', path: '/runlog/v1/sign-in/oidc' } } }),
        )
        await page.goto(`${service().url}/problems?state=open`)
        const link = page.getByRole('link', { name: 'Sign in with Example' })
        assert.equal(await link.getAttribute('href'), '/runlog/v1/sign-in/oidc?to=%2Fproblems%3Fstate%3Dopen')
        await page.getByLabel('Token').waitFor()
        await fits(page)
        await hasNoBarrier(page)
        // The link leaves the web UI.
        const asked = page.waitForRequest('**/runlog/v1/sign-in/oidc?to=*')
        await link.click()
        await asked

        await page.goto(`${service().url}/?sign_in=no-access`)
        await page.getByRole('alert').getByText('Your account has no access to this archive').waitFor()
        assert.equal(await link.getAttribute('href'), '/runlog/v1/sign-in/oidc?to=%2F')
        assert.deepEqual(complaints, [])
      } finally {
        await context.close()
      }
    })
  })

  describe('the page of access', () => {
    for (const [form, size] of Object.entries({ 'on a desktop': { width: 1_440, height: 900 }, 'on a phone': { width: 390, height: 844 } })) {
      it(`creates a user, grants rights, creates a token and revokes it, ${form}`, async () => {
        const name = `reader-${size.width}`
        await visit('/access', size, async (page) => {
          await page.getByLabel('Name of the user').fill(name)
          await page.getByRole('button', { name: 'Create user' }).click()
          const rights = page.getByRole('button', { name: `Hide rights of ${name}` })
          await rights.waitFor()
          for (const right of ['Viewer', 'Executor', 'Author']) {
            await page.getByLabel(`${right} in data engineering`).check()
            await page.waitForFunction((wanted) => document.querySelectorAll('.rights input:checked:enabled').length === wanted, ['Viewer', 'Executor', 'Author'].indexOf(right) + 1)
          }
          await page.getByText(`Rights of ${name} in data engineering saved`).waitFor()
          await fits(page)
          await hasNoBarrier(page)

          await page.getByLabel('Name of the token').fill('laptop')
          await page.getByLabel('Owner of the token').selectOption({ label: `for ${name}` })
          await page.getByRole('button', { name: 'Create token' }).click()
          const token = await page.locator('.secret').textContent()
          assert.match(token, /^rlp_/)
          await hasNoBarrier(page)
          assert.equal(await status(token, `/runlog/v1/runs/${FAILED_RUN}/records`), 200)
          await page.getByRole('button', { name: 'Done' }).click()
          assert.equal(await page.getByText(token).count(), 0)

          await page.getByLabel('Author in data engineering').uncheck()
          await page.waitForFunction(() => document.querySelectorAll('.rights input:checked:enabled').length === 2)
          assert.equal(await status(token, `/runlog/v1/runs/${FAILED_RUN}/records`), 403)

          await page.getByRole('button', { name: `Revoke laptop of ${name}` }).click()
          assert.equal(await status(token, '/runlog/v1/session'), 200)
          await page.getByRole('button', { name: `Confirm: revoke laptop of ${name}` }).click()
          await page.getByRole('button', { name: `Revoke laptop of ${name}` }).waitFor({ state: 'detached' })
          assert.equal(await status(token, '/runlog/v1/session'), 401)
        })
      })
    }

    it('leads to the audit log, which is filtered', async () => {
      await visit('/access', {}, async (page) => {
        await page.getByRole('link', { name: 'Audit log', exact: true }).click()
        await page.getByRole('cell', { name: 'create token' }).first().waitFor()
        await page.getByLabel('Subject').fill(FAILED_RUN)
        await page.waitForURL(/subject=/)
        await page.getByRole('link', { name: FAILED_RUN }).first().waitFor()
        await page.waitForFunction(() => [...document.querySelectorAll('tbody tr')].every((row) => row.cells[3].textContent === '1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18'))
        await hasNoBarrier(page)
        await page.getByLabel('Subject').fill('nothing like it')
        await page.getByText('No matching entries').waitFor()
      })
    })

    it('says why a change was refused', async () => {
      await visit('/access', {}, async (page) => {
        await page.getByLabel('Name of the user').fill('admin')
        await page.getByRole('button', { name: 'Create user' }).click()
        await page.getByRole('alert').getByText(/is taken/).waitFor()
      })
    })

    it('lists only the own tokens of a user who is not an administrator', async () => {
      const create = async (what, body) =>
        (await fetch(`${service().url}/runlog/v1/${what}`, { method: 'POST', headers: { authorization: `Bearer ${service().token}` }, body: JSON.stringify(body) })).json()
      const user = await create('users', { name: `user-${process.pid}` })
      const { token } = await create('tokens', { name: 'the only one', userId: user.id })
      const { page, context, complaints } = await openPage(chrome().browser, { ...service(), token })
      try {
        await page.goto(`${service().url}/access`)
        await page.getByRole('heading', { name: 'Your access tokens' }).waitFor()
        await page.getByText('the only one').waitFor()
        assert.equal(await page.locator('tbody tr').count(), 1)
        assert.equal(await page.getByRole('heading', { name: 'Users' }).count(), 0)
        await hasNoBarrier(page)
        assert.deepEqual(complaints, [])
      } finally {
        await context.close()
      }
    })
  })
}
