// Debian's Chromium, controlled by playwright-core.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** RUNLOG_BROWSE_DELAY_MS delays each response by up to so many milliseconds, so that responses arrive in other orders. */
export const delay = Number(process.env.RUNLOG_BROWSE_DELAY_MS ?? 0)

async function respondLate(route) {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * delay))
  // The page may have been closed meanwhile.
  await route.fallback().catch(() => {})
}

export async function openBrowser() {
  const profile = await mkdtemp(join(tmpdir(), 'runlog-browse-'))
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args, env: { ...process.env, HOME: profile } })
  return {
    browser,
    close: async () => {
      await browser.close()
      await rm(profile, { recursive: true, force: true })
    },
  }
}

/** A page of a user who has signed in; all errors and warnings of the browser are recorded. */
export async function openPage(browser, service, { width = 1280, height = 860, dark = false, signedIn = true, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', ...options })
  if (delay > 0) await context.route('**/runlog/v1/**', respondLate)
  const page = await context.newPage()
  const complaints = []
  page.on('console', (message) => {
    // The browser reports every failed request as an error; pages handle those.
    if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  if (signedIn) {
    const answer = await context.request.post(`${service.url}/runlog/v1/session`, { data: { token: service.token } })
    if (!answer.ok()) throw new Error(`signing in: ${answer.status()} ${await answer.text()}`)
  }
  return { page, context, complaints }
}
