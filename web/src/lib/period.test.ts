import { describe, expect, it } from 'vitest'
import { periodOf } from './period'

describe('a period in the URL', () => {
  it('is two times in epoch milliseconds, the earlier one first', () => {
    expect(periodOf('1764547200000-1764633600000')).toEqual([1_764_547_200_000, 1_764_633_600_000])
  })
  it('is ignored if it is malformed', () => {
    for (const text of [null, '', '5', '9-5', '5-5', '-5-9', '5-9-', 'a-b', '1-9999999999999999']) expect(periodOf(text)).toBeUndefined()
  })
})
