// Writes a compressed form of each file of `dist` that becomes smaller; the service sends it to clients that accept it.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const dist = new URL('../dist', import.meta.url).pathname
const isText = /\.(html|js|css|svg|json|webmanifest)$/

for (const name of readdirSync(dist, { recursive: true })) {
  const file = join(dist, name)
  if (!statSync(file).isFile() || !isText.test(name)) continue
  const plain = readFileSync(file)
  const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } })
  const forms = { br: brotli, gz: gzipSync(plain, { level: 9 }) }
  for (const [ending, packed] of Object.entries(forms)) {
    if (packed.length < plain.length) writeFileSync(`${file}.${ending}`, packed)
  }
}
