import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

// `npm run dev` serves the pages with the data of a local service.
const service = process.env['RUNLOG_API_URL'] ?? 'http://127.0.0.1:8480'
const paths = ['/runlog/v1', '/orchestration', '/processing', '/monitoring', '/docs', '/openapi.json']

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // The content security policy of the service forbids inline scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, { target: service }])) },
  test: { include: ['src/**/*.test.ts'] },
})
