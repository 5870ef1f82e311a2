import { describe, expect, it } from 'vitest'
import type { Session } from './api'
import { readsNothing, withoutLogs, type Workspace } from './rights'

const workspace = (id: string, rights: Workspace['rights']): Workspace => ({ id, name: id, environment: 'production', rights })
const session = (administrator: boolean, ...workspaces: Workspace[]): Session => ({ id: 'u', name: 'kim', kind: 'USER', version: '', permissions: [], administrator, workspaces })
const sales = workspace('sales', ['VIEW'])
const ops = workspace('ops', ['AUTHOR', 'EXECUTE', 'VIEW'])

describe('the workspaces that are left out', () => {
  it('are those whose runs are seen, but whose logs may not be read', () => {
    expect(withoutLogs(session(false, sales, ops, workspace('hidden', ['PUBLISH'])), '')).toEqual([sales])
    expect([withoutLogs(session(false, sales, ops), 'ops'), withoutLogs(session(true, sales), ''), withoutLogs(null, '')]).toEqual([[], [], []])
  })
  it('are all of them for a user who reads nothing', () => {
    expect([session(false, sales), session(false, sales, ops), session(true)].map(readsNothing)).toEqual([true, false, false])
  })
})
