import { describe, expect, it } from 'vitest'
import { sequenceAt, styled, withoutColours } from './ansi'

const red = '\u001b[31m'
const off = '\u001b[0m'

describe('colours of a terminal', () => {
  it('become styles', () => {
    expect(styled(`a ${red}b${off} \u001b[1;38;5;46mc\u001b[m`)).toEqual([
      { text: 'a ', style: '' }, { text: 'b', style: 'ansi-red' }, { text: ' ', style: '' }, { text: 'c', style: 'ansi-green ansi-bold' },
    ])
    expect(styled('\u001b[38;2;250;240;20mx')[0]?.style).toBe('ansi-yellow')
  })
  it('cannot hide text', () => {
    expect(styled('\u001b[8mhidden\u001b[30;40mblack on black\u001b[7minverted').map((part) => part.style)).toEqual(['', 'ansi-black', 'ansi-black'])
  })
  it('are left out of plain text', () => expect(withoutColours(`${red}a${off}b`)).toBe('ab'))
  it('leave other sequences alone', () => {
    expect(withoutColours('a\u001b[2Jb')).toBe('a\u001b[2Jb')
    expect(sequenceAt(`a${red}`, 1)).toBe(red)
    expect(sequenceAt('a\u001b[2J', 1)).toBeUndefined()
  })
})
