// The session. The token is sent to the service and not kept; an HttpOnly cookie replaces it.
import { Problem, answer, client, onSignedOut, type Session } from './api'
import { connection } from './connection.svelte'

/** The user or service account that has signed in. */
class CurrentUser {
  /** Undefined while unknown, null if no user has signed in. */
  session = $state.raw<Session | null | undefined>(undefined)
  problem = $state.raw<Problem | undefined>(undefined)

  async load(): Promise<void> {
    try {
      this.session = await answer(client.GET('/runlog/v1/session'))
      this.problem = undefined
    } catch (error) {
      if (error instanceof Problem && error.kind === 'signed out') this.session = null
      else this.problem = error as Problem
      if (this.problem?.kind === 'unreachable') connection.lost(this.again)
    }
  }
  again = (): void => void this.load()

  /** True for a caller who may not see any workspace. */
  get isWithoutAccess(): boolean {
    return Boolean(this.session && !this.session.administrator && !this.session.workspaces.some((one) => one.rights.includes('VIEW')))
  }

  async signIn(token: string): Promise<void> {
    this.session = await answer(client.POST('/runlog/v1/session', { body: { token } }))
    this.problem = undefined
  }

  async signOut(): Promise<void> {
    try {
      await answer(client.DELETE('/runlog/v1/session'))
    } finally {
      this.session = null
    }
  }
}

export const currentUser = new CurrentUser()

onSignedOut(() => {
  if (currentUser.session) currentUser.session = null
})
