// The pictures of the web UI in the documentation: `npm run pictures` writes them to docs/images, from the demonstration.
import { openBrowser, openPage } from './browser.js'
import { send, start } from './service.js'

const images = new URL('../../docs/images', import.meta.url).pathname
const wide = { width: 1_440, height: 900 }

/** The failed run of the demonstration whose log names a cause. */
async function failedRun(service) {
  const { items } = await (await send(service, 'GET', '/runlog/v1/runs?status=execution_failed&limit=100')).json()
  return items.find((run) => run.taskName === 'nightly-orders').runId
}

/** Waits until every failed run is counted to its cause. */
async function summarised(service) {
  for (let tries = 0; tries < 300; tries += 1) {
    const { unexplained } = await (await send(service, 'GET', '/runlog/v1/overview?hours=2160')).json()
    if (unexplained === 0) return
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
  throw new Error('the logs of the demonstration are not summarised')
}

const service = await start()
const chrome = await openBrowser()
try {
  await summarised(service)
  const run = `/runs/${await failedRun(service)}`
  const pictures = [
    { name: 'overview', path: '/', options: wide, shows: '.cause' },
    { name: 'run', path: run, options: wide, shows: '.detail.why' },
    { name: 'phone', path: run, options: { width: 390, height: 844, dark: true }, shows: '.detail.why' },
  ]
  for (const { name, path, options, shows } of pictures) {
    const { page, context } = await openPage(chrome.browser, service, options)
    await page.goto(service.url + path)
    await page.locator(shows).first().waitFor()
    await page.waitForFunction(() => !document.querySelector('main .pulse[role=status]'))
    await page.screenshot({ path: `${images}/${name}.png` })
    await context.close()
  }
} finally {
  await chrome.close()
  service.stop()
}
