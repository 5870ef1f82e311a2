import { describe, expect, it } from 'vitest'
import { stretchesOf } from './fragments'
import { linkedPieces, linksOf } from './links'
import { printable } from './printable'

const found = (text: string): string[] => linksOf(text).map((link) => text.slice(link.from, link.to))

describe('links in a log', () => {
  it('are addresses of the web, without what follows them in a sentence', () => {
    expect(found('see https://example.com/a?b=c#d, or (http://example.com/x_(y)). "https://q.example/z"')).toEqual(['https://example.com/a?b=c#d', 'http://example.com/x_(y)', 'https://q.example/z'])
    expect(found('[docs](https://example.com/docs) **https://example.com/b**!')).toEqual(['https://example.com/docs', 'https://example.com/b'])
    expect(found('GET HTTPS://Example.com:8443/a%20b [https://[::1]:80/x]')).toEqual(['HTTPS://Example.com:8443/a%20b', 'https://[::1]:80/x'])
  })
  it('are nothing else, whatever the log contains', () => {
    for (const text of ['javascript:alert(1)', 'data:text/html,<b>', 'file:///etc/passwd', 'ftp://example.com', 'jdbc:mysql://db/x', 'https://', 'xhttps://example.com', 'https://user:secret@example.com/', 'https://bank.example@evil.example/']) {
      expect([text, found(text)]).toEqual([text, []])
    }
  })
  it('end before quotes, markup and characters that change the order of text', () => {
    expect(found(`<a href='https://example.com/a' onclick="x">`)).toEqual(['https://example.com/a'])
    expect(found(printable('https://example.com/\u202egpj.exe'))).toEqual(['https://example.com/'])
    expect(found('https://example.com/a\u200bb')).toEqual(['https://example.com/a'])
  })
  it('are not made of an address that is cut', () => expect(found('https://example.com/very/lo…')).toEqual([]))
  it('end before each bracket and mark that ends a sentence, in any order', () => {
    expect(found('(see [https://a.example/x(1)[2]].), https://a.example/(y).).')).toEqual(['https://a.example/x(1)[2]', 'https://a.example/(y)'])
  })
  it('are found without delay, however many brackets and dots follow', () => {
    for (const tail of [')', '.', '].']) expect([tail, found(`https://a${tail.repeat(200_000)}`)]).toEqual([tail, ['https://a']])
    for (const tail of ['()', '.x']) expect([tail, found(`https://a${tail.repeat(200_000)}`)]).toEqual([tail, []])
  })
  it('have at most 2,000 characters', () => {
    const longest = 'https://a.example/'.padEnd(2_000, 'x')
    expect(found(`${longest}). ${longest}x https://b.example/`)).toEqual([longest, 'https://b.example/'])
  })
  it('are in the rows of a line without delay, however many it has', () => {
    const line = 'https://a.b '.repeat(50_000)
    const rows = linkedPieces(line, 12)
    expect(rows.length).toBe(50_000)
    expect(rows.at(-1)).toEqual({ text: 'https://a.b ', links: [{ from: 0, to: 11, href: 'https://a.b/' }] })
  })
  it('lead to their whole address from each row of a line', () => {
    const href = 'https://example.com/long'
    expect(linkedPieces('\u001b[31mat https://example.com/long\u001b[0m.', 20, 10)).toEqual([
      { text: '\u001b[31mat https:/', links: [{ from: 3, to: 10, href }] },
      { text: '\u001b[31m/example.com/long\u001b[0m.', links: [{ from: 0, to: 17, href }] },
    ])
  })
})

describe('a text that is shown', () => {
  it('has links, of which a part may be highlighted or coloured', () => {
    const text = 'a \u001b[31mhttps://example.com/\u001b[0mORDERS b'
    expect(stretchesOf(text, ['orders']).map(({ href, fragments }) => [href, fragments.map((one) => [one.text, one.style, one.isMarked])])).toEqual([
      [undefined, [['a ', '', false]]],
      ['https://example.com/ORDERS', [['https://example.com/', 'ansi-red', false], ['ORDERS', '', true]]],
      [undefined, [[' b', '', false]]],
    ])
  })
  it('is complete, whatever is in it', () => {
    const text = 'http://a.example/ http://a.example/http://a.example/,'
    const all = stretchesOf(text, ['a.ex']).flatMap((one) => one.fragments.map((part) => part.text)).join('')
    expect(all).toBe(text)
    expect(stretchesOf('', [])).toEqual([{ href: undefined, fragments: [{ text: '', style: '', isMarked: false }] }])
  })
})
