import { describe, expect, it } from 'vitest'
import { severityOf } from './words'

describe('severityOf', () => {
  it('knows the words and numbers of other loggers, as the service does', () => {
    expect(['warn', 'WARNING', 'Severe', 'critical', 'NOTICE', 'FINE', ' err '].map(severityOf))
      .toEqual(['WARN', 'WARN', 'ERROR', 'FATAL', 'INFO', 'DEBUG', 'ERROR'])
    expect(['3', '50', '300', '40000', '7', 'ERROR2'].map(severityOf))
      .toEqual(['ERROR', 'ERROR', 'WARN', 'ERROR', 'DEBUG', 'ERROR'])
  })

  it('calls what no logger has OTHER', () => {
    expect(['AUDIT', '500x', '', null, undefined, 'constructor', 'OTHER'].map(severityOf)).toEqual(Array(7).fill('OTHER'))
  })
})
