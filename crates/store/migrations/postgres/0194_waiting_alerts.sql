-- What waits to be sent, to find out what comes before it; far fewer than all alerts of the last months.
CREATE INDEX alerts_waiting ON alerts (rule, subject, destination, is_recovery, noted_at) WHERE delivered_at IS NULL;

-- Logs that were not collected completely; far fewer than all collected runs.
CREATE INDEX collected_runs_incomplete ON collected_runs (upstream, run_id) WHERE state = 'due' AND expected IS NOT NULL;
CREATE INDEX collected_runs_lost ON collected_runs (upstream, run_id) WHERE state = 'no_log' AND problem IS NOT NULL;
