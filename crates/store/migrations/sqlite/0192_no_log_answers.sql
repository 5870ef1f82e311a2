-- How often the upstream has answered that it has no log of a run (404): other failures say nothing about that.
ALTER TABLE collected_runs ADD COLUMN no_log_answers BIGINT NOT NULL DEFAULT 0;
