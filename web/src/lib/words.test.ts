import { describe, expect, it } from 'vitest'
import { severityOf, statusWords, statusesOf } from './words'

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

describe('a status', () => {
  it('is a failure unless the run went well, goes on or was terminated by a user, as in the service', () => {
    const outcomes = ['execution_failed', 'deploy_failed', 'terminated_timeout', 'terminated_shutdown', 'terminated'].map((status) => statusWords(status))
    expect(outcomes.map(({ outcome, word }) => `${outcome}: ${word}`)).toEqual(['failed: failed', 'failed: deployment failed', 'failed: timed out', 'failed: stopped by shutdown', 'ended: terminated'])
    expect(statusesOf('any_failure').sort()).toEqual(['deploy_failed', 'execution_failed', 'terminated_shutdown', 'terminated_timeout'])
    expect(statusesOf('terminated')).toEqual(['terminated'])
  })
})
