// Copies the library that shows the API description to the folder of its page.
import { copyFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const library = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
const docs = new URL('../dist/docs', import.meta.url).pathname

for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js']) copyFileSync(join(library, name), join(docs, name))
