import { describe, expect, it } from 'vitest'
import { formattedJson, hashOf, plainLine, rangeOf, splitMessage } from './lines'

describe('the address of lines', () => {
  it('names one or several', () => {
    expect(['#7', '#L7', '#L10-L20', '#20-10'].map(rangeOf)).toEqual([{ first: 6, last: 6 }, { first: 6, last: 6 }, { first: 9, last: 19 }, { first: 9, last: 19 }])
    expect(['', '#0', '#sinks', '#L1-'].map(rangeOf)).toEqual([undefined, undefined, undefined, undefined])
    expect([{ first: 6, last: 6 }, { first: 9, last: 19 }].map(hashOf)).toEqual(['#7', '#L10-L20'])
  })
})

describe('a copied line', () => {
  it('is the one of a download', () => {
    const record = { logTimestamp: 1629367872345, severity: 'INFO', logType: 'JOB', logMessage: '\u001b[31mone\u001b[0m\ntwo\n' }
    expect(plainLine({ index: 0, record } as never)).toBe('2021-08-19T10:11:12.345Z | INFO  | JOB |  | one\ntwo')
  })
})

describe('a message', () => {
  it('has a first line and others', () => {
    expect(splitMessage('\n  \na\nb\n')).toEqual({ first: 'a', rest: ['b'] })
    expect(splitMessage(undefined)).toEqual({ first: '', rest: [] })
  })
  it('that is JSON is readable, with all its digits', () => {
    expect(formattedJson('{"a":12345678901234567890,"b":[1,"x,{\\"y"],"c":{},"d":[ ]}')).toBe(
      '{\n  "a": 12345678901234567890,\n  "b": [\n    1,\n    "x,{\\"y"\n  ],\n  "c": {},\n  "d": []\n}',
    )
    expect(['[INFO] a', '{a}', '[]', '5'].map(formattedJson)).toEqual([undefined, undefined, undefined, undefined])
  })
})
