// The URL: the page and its parameters.

export interface Route {
  page: string
  params: Record<string, string>
}

const pages: [string, RegExp][] = [
  ['overview', /^\/$/],
  ['workspaces', /^\/workspaces\/?$/],
  ['tasks', /^\/tasks\/?$/],
  ['task', /^\/tasks\/(?<id>[^/]+)\/?$/],
  ['run', /^\/runs\/(?<id>[^/]+)\/?$/],
  ['compare', /^\/runs\/(?<id>[^/]+)\/compare\/(?<other>[^/]+)\/?$/],
  ['problems', /^\/problems\/?$/],
  ['problem', /^\/problems\/(?<id>[^/]+)\/?$/],
  ['plans', /^\/plans\/?$/],
  ['plan', /^\/plans\/(?<id>[^/]+)\/?$/],
  ['search', /^\/search\/?$/],
  ['sql', /^\/sql\/?$/],
  ['collection', /^\/collection\/?$/],
  ['alerts', /^\/alerts\/?$/],
  ['retention', /^\/retention\/?$/],
  ['access', /^\/access\/?$/],
  ['audit', /^\/access\/audit\/?$/],
  ['tenant-audit-logs', /^\/access\/tenant-audit-logs\/?$/],
]

/** Paths of this host that are not pages. */
const pathsOfService = /^\/(docs|runlog|orchestration|processing|monitoring|security|openapi\.json|metrics)(\/|$)/

export function routeOf(path: string): Route {
  for (const [page, form] of pages) {
    const found = form.exec(path)
    if (found) return { page, params: decoded(found.groups ?? {}) }
  }
  return { page: 'missing', params: {} }
}

function decoded(groups: Record<string, string>): Record<string, string> {
  const entries = Object.entries(groups).map(([name, value]) => {
    try {
      return [name, decodeURIComponent(value)] as const
    } catch {
      return [name, value] as const
    }
  })
  return Object.fromEntries(entries)
}

class Address {
  path = $state(location.pathname)
  search = $state(location.search)
  hash = $state(location.hash)
  route = $derived(routeOf(this.path))
  query = $derived(new URLSearchParams(this.search))

  read(): void {
    this.path = location.pathname
    this.search = location.search
    this.hash = location.hash
  }
}

export const address = new Address()

/** Navigates to a page. */
export function go(url: string, { replace = false }: { replace?: boolean } = {}): void {
  const target = new URL(url, location.href)
  const isOther = target.pathname !== location.pathname
  if (target.href === location.href) return
  history[replace ? 'replaceState' : 'pushState'](null, '', target)
  address.read()
  if (isOther) {
    window.scrollTo(0, 0)
    // Screen readers should announce the new page, not the link.
    requestAnimationFrame(() => document.querySelector<HTMLElement>('main')?.focus({ preventScroll: true }))
  }
}

/**
 * Changes parameters of the page; absent or empty values remove them. Each change is an entry of the history, so that the
 * browser goes back to what was shown before; with `replace`, for text that is being typed, it is not.
 */
export function setQuery(changes: Record<string, string | undefined>, { replace = false } = {}): void {
  const query = new URLSearchParams(location.search)
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === '') query.delete(name)
    else query.set(name, value)
  }
  const text = query.toString()
  go(`${location.pathname}${text === '' ? '' : `?${text}`}${location.hash}`, { replace })
}

/** Handles links and the navigation buttons of the browser. */
export function listen(): void {
  window.addEventListener('popstate', () => address.read())
  window.addEventListener('hashchange', () => address.read())
  document.addEventListener('click', (event) => {
    const link = (event.target as Element | null)?.closest?.('a')
    if (!link || event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    if (link.target || link.hasAttribute('download') || link.origin !== location.origin) return
    if (pathsOfService.test(link.pathname)) return
    event.preventDefault()
    go(link.href)
  })
}
