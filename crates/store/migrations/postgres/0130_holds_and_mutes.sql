-- Who put a run under legal hold, when and why. Earlier versions did not record it.
ALTER TABLE runs ADD COLUMN hold_reason TEXT;
ALTER TABLE runs ADD COLUMN hold_by TEXT;
ALTER TABLE runs ADD COLUMN hold_at BIGINT;
CREATE INDEX runs_held ON runs (id) WHERE legal_hold <> 0;

-- What a rule reports and to whom, as JSON, as a process with the settings has seen it last; and until when nothing is
-- sent for it, the greatest number without an end.
ALTER TABLE alert_rules ADD COLUMN description TEXT;
ALTER TABLE alert_rules ADD COLUMN seen_at BIGINT;
ALTER TABLE alert_rules ADD COLUMN muted_until BIGINT;
ALTER TABLE alert_rules ADD COLUMN muted_by TEXT;
ALTER TABLE alert_rules ADD COLUMN mute_note TEXT;

-- The history of alerts, newest first.
CREATE INDEX alerts_by_time ON alerts (noted_at);

-- The history of collection and deliveries, newest first.
CREATE INDEX collected_runs_landed ON collected_runs (upstream, state, landed_at);
CREATE INDEX deliveries_done ON deliveries (sink, COALESCE(done_at, 0) DESC, run_id);
