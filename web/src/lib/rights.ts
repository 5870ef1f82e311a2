// What a user may read, by the rights in the workspaces.
import type { Session } from './api'

export type Workspace = Session['workspaces'][number]

/** The rights that reading logs requires, as in the service. */
const readingLogs = ['AUTHOR', 'VIEW', 'EXECUTE'] as const

export const mayReadLogs = (workspace: Workspace): boolean => readingLogs.every((right) => workspace.rights.includes(right))

/** The workspaces in scope whose runs the user may see, but not their logs; `chosen` is the only workspace in scope, or empty for all. */
export function withoutLogs(session: Session | null | undefined, chosen: string): Workspace[] {
  if (!session || session.administrator) return []
  return session.workspaces.filter((one) => (!chosen || one.id === chosen) && one.rights.includes('VIEW') && !mayReadLogs(one))
}

/** True for a user who may not read the logs of any workspace. */
export const readsNothing = (session: Session | null | undefined): boolean =>
  Boolean(session && !session.administrator && !session.workspaces.some(mayReadLogs))
