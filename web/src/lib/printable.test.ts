import { describe, expect, it } from 'vitest'
import { printable, printableJson } from './printable'

describe('a text of a log', () => {
  it('shows what would change it', () => {
    expect(printable('a\u001b[2J\u009b2J\b')).toBe('a\\x1b[2J\\u{9b}2J\\x08')
    expect(printable('user\u202enimda\u202c \u2067x\u2069\u2028')).toBe('user\\u{202e}nimda\\u{202c} \\u{2067}x\\u{2069}\\u{2028}')
  })
  it('shows the end of a progress bar', () => {
    expect(printable('loading\n5%\r50%\r100%\r\ndone')).toBe('loading\n\\r100%\ndone')
    expect(printable('\r\r\none\r\r\n\rtwo')).toBe('\none\n\\rtwo')
  })
  it('is shown without delay, however many carriage returns are in it', () => {
    expect(printable(`${'\r'.repeat(500_000)}x`)).toBe('\\rx')
  })
  it('is otherwise as it is', () => {
    const text = 'größer\n\tשלום\u200f 日本語 👩‍👩‍👧'
    expect(printable(text)).toBe(text)
  })
})

describe('an answer', () => {
  it('shows its texts and names', () => {
    const json = JSON.stringify({ 'a\u202e': ['b\u001b', 1, null, { c: 'd\re' }] })
    expect(JSON.parse(printableJson(json))).toEqual({ 'a\\u{202e}': ['b\\x1b', 1, null, { c: '\\re' }] })
  })
  it('is otherwise the same, byte by byte', () => {
    const json = '{"n": 12345678901234567890, "text": "a\\nb\\tc \\\\r"}'
    expect(printableJson('{"n": 1.50, "text": "a\\nb"}')).toBe('{"n": 1.50, "text": "a\\nb"}')
    expect(JSON.parse(printableJson(json))).toEqual(JSON.parse(json))
    expect(printableJson('no JSON \u202e')).toBe('no JSON \u202e')
  })
  it('keeps the colours of messages, and nothing else', () => {
    const record = { logMessage: '\u001b[31mred\u001b[0m \u001b[2J\u202e', bundleName: '\u001b[31mx' }
    expect(JSON.parse(printableJson(JSON.stringify({ items: [{ record }] }), { colours: true }))).toEqual({
      items: [{ record: { logMessage: '\u001b[31mred\u001b[0m \\x1b[2J\\u{202e}', bundleName: '\\x1b[31mx' } }],
    })
  })
})
