// Runs an OpenID provider and Runlog on loopback, and signs in as a browser and `runlog login` do.
//
//   node tests/sign-in/check.mjs RUNLOG FOLDER_WITH_OIDC_PROVIDER
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [runlog, folder] = process.argv.slice(2)
// The provider says on each of its defaults that it should be changed.
console.info = console.warn = () => undefined
const require = createRequire(pathToFileURL(join(folder, 'x.js')))
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')))
const work = mkdtempSync(join(tmpdir(), 'runlog-sign-in-'))
const children = []

async function freePort() {
  const server = createServer()
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

// The accounts of the provider.
const accounts = { kim: ['oncall'], pat: ['platform'], guest: ['guests'] }
const providerPort = await freePort()
const issuer = `http://127.0.0.1:${providerPort}`
const servicePort = await freePort()
const service = `http://127.0.0.1:${servicePort}`

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'runlog',
      client_secret: 'a secret+/',
      redirect_uris: [`${service}/runlog/v1/sign-in/oidc/callback`],
      response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      backchannel_logout_uri: `${service}/runlog/v1/sign-in/oidc/logout`,
    },
  ],
  findAccount: (_, id) =>
    accounts[id] && { accountId: id, claims: async () => ({ sub: id, preferred_username: id, groups: accounts[id] }) },
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  features: { deviceFlow: { enabled: true }, backchannelLogout: { enabled: true } },
  pkce: { required: () => true, methods: ['S256'] },
  cookies: { keys: ['a key of this test'] },
})
const listener = provider.listen(providerPort, '127.0.0.1')
await new Promise((done) => listener.on('listening', done))

/** A browser that follows redirects and fills in the forms of the provider. */
class Browser {
  cookies = new Map()

  async request(url, form) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      redirect: 'manual',
      headers: cookie ? { cookie } : {},
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/)
      if (value === '') this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return response
  }

  /** The address of the first page after all redirects, and its text. */
  async go(url, form) {
    for (let step = 0; step < 12; step++) {
      const response = await this.request(url, form)
      form = undefined
      const location = response.headers.get('location')
      if (!location) return { url, status: response.status, text: await response.text() }
      url = new URL(location, url).href
    }
    throw new Error(`too many redirects; the last one to ${url}`)
  }

  /** Fills in the forms for sign-in and consent, until a page without one. */
  async approve(page, account) {
    for (let step = 0; step < 6; step++) {
      const action = /<form[^>]*action="([^"]*)"/.exec(page.text)
      if (!action) return page
      const fields = [...page.text.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) => [
        /name="([^"]*)"/.exec(input)[1],
        /value="([^"]*)"/.exec(input)[1],
      ])
      const form = Object.fromEntries(fields)
      if (page.text.includes('name="login"')) Object.assign(form, { login: account, password: 'x' })
      page = await this.go(new URL(action[1].replaceAll('&amp;', '&'), page.url).href, form)
    }
    return page
  }

  async session() {
    const response = await this.request(`${service}/runlog/v1/session`)
    return { status: response.status, ...(await response.json()) }
  }
}

function start(args, options = {}) {
  const env = { PATH: process.env.PATH, HOME: work, XDG_CONFIG_HOME: work, OIDC_SECRET: 'a secret+/' }
  const child = spawn(runlog, args, { env, cwd: work, stdio: ['pipe', 'pipe', 'pipe'], ...options })
  children.push(child)
  child.out = child.err = ''
  child.stdout.on('data', (text) => (child.out += text))
  child.stderr.on('data', (text) => (child.err += text))
  child.done = new Promise((done) => child.on('close', done))
  return child
}

async function succeeds(args) {
  const child = start(args)
  child.stdin.end()
  const code = await child.done
  assert.equal(code, 0, `runlog ${args.join(' ')}: ${child.err}`)
  return child.out
}

async function until(what, found) {
  for (let wait = 0; wait < 300; wait++) {
    const value = await found()
    if (value) return value
    await new Promise((done) => setTimeout(done, 100))
  }
  throw new Error(`still waiting for ${what}`)
}

async function check() {
  writeFileSync(
    join(work, 'runlog.toml'),
    `[oidc]
issuer = "${issuer}"
client_id = "runlog"
client_secret = { env = "OIDC_SECRET" }
name = "Example"
[[oidc.access]]
groups = ["platform"]
administrator = true
[[oidc.access]]
groups = ["oncall"]
workspaces = ["sales"]
rights = ["viewer", "executor", "author"]
`,
  )
  const serving = start(['serve', '--settings', 'runlog.toml', '--listen', `127.0.0.1:${servicePort}`, '--public-url', service])
  await until('the service', () => serving.err.includes(' listens on ') || serving.exitCode !== null)
  assert.equal(serving.exitCode, null, serving.err)
  const token = readFileSync(join(work, 'runlog-data/admin.token'), 'utf8').trim()
  const admin = (path, body) =>
    fetch(`${service}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  for (const name of ['sales', 'hr']) assert.equal((await admin('/runlog/v1/workspaces', { name })).status, 201)
  assert.match(await succeeds(['check', '--settings', 'runlog.toml']), /identity provider .*with the device flow/)

  // A browser.
  const kim = new Browser()
  const asked = await kim.go(`${service}/runlog/v1/sign-in/oidc?to=/problems`)
  assert.ok(asked.url.startsWith(issuer), asked.url)
  const landed = await kim.approve(asked, 'kim')
  assert.equal(landed.url, `${service}/problems`, landed.text)
  const session = await kim.session()
  assert.equal(session.name, 'kim')
  assert.deepEqual(
    session.workspaces.map((it) => [it.name, it.rights]),
    [['sales', ['AUTHOR', 'EXECUTE', 'VIEW']]],
  )

  const guest = new Browser()
  const refused = await guest.approve(await guest.go(`${service}/runlog/v1/sign-in/oidc`), 'guest')
  assert.equal(refused.url, `${service}/?sign_in=no-access`)
  assert.equal((await guest.session()).status, 401)

  // A device.
  const login = start(['login', service, '--device'])
  const [, address] = await until('the code', () => /open (\S+) in any browser/.exec(login.err))
  const pat = new Browser()
  const done = await pat.approve(await pat.go(address), 'pat')
  assert.equal(done.status, 200, done.text)
  assert.equal(await login.done, 0, login.err)
  assert.match(login.err, /logged in to .* as pat/)
  assert.match(await succeeds(['admin', 'users', 'list']), /kim/)

  // The user signs out at the provider, which tells the service.
  const page = await kim.go(`${issuer}/session/end`)
  const form = Object.fromEntries([...page.text.matchAll(/name="(\w+)"[^>]*value="([^"]*)"/g)].map(([, name, value]) => [name, value]))
  await kim.go(/action="([^"]*)"/.exec(page.text)[1], { ...form, logout: 'yes' })
  await until('the end of the session', async () => (await kim.session()).status === 401)

  serving.kill('SIGTERM')
  assert.equal(await serving.done, 0, serving.err)
  for (const secret of ['a secret+/', 'code=', 'refresh_token', token]) {
    assert.ok(!serving.err.includes(secret), `${secret} is in the log of the service`)
  }
}

try {
  await check()
  console.log('a certified OpenID provider signs people in: in a browser, on a device, and out again')
} finally {
  for (const child of children) child.kill('SIGKILL')
  listener.close()
  listener.closeAllConnections()
  rmSync(work, { recursive: true, force: true })
}
