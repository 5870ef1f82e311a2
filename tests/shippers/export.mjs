// Exports records over gRPC with the OpenTelemetry SDK for Node: export.mjs MODULES URL TOKEN RUN TASK COUNT. See `run`.
import { createRequire } from 'node:module'

const [modules, url, token, run, task, count] = process.argv.slice(2)
const require = createRequire(`${modules}/package.json`)
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs')
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-grpc')
const { resourceFromAttributes } = require('@opentelemetry/resources')
const { Metadata, credentials } = require('@grpc/grpc-js')

const metadata = new Metadata()
metadata.set('authorization', `Bearer ${token}`)
const exporter = new OTLPLogExporter({ url, metadata, credentials: credentials.createInsecure(), compression: 'gzip' })
const resource = resourceFromAttributes({ 'runlog.run.id': run, 'runlog.task.id': task })
const processor = new BatchLogRecordProcessor({ exporter, maxQueueSize: 100_000 })
const provider = new LoggerProvider({ resource, processors: [processor] })
const logger = provider.getLogger('node')
for (let number = 0; number < Number(count); number++) {
  logger.emit({ body: `message ${number}`, severityNumber: 9, severityText: 'INFO', timestamp: Date.now() })
}
await provider.shutdown()
