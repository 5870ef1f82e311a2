-- Summaries of logs: what analysis found in them, made once a log is sealed, and again when it has changed.
CREATE TABLE summaries (
    run_id TEXT PRIMARY KEY REFERENCES runs (id),
    -- Which log it is of: after so many deletions, with so many records.
    log_epoch BIGINT NOT NULL,
    records BIGINT NOT NULL,
    -- How it was made; made again when that is older than what makes it now.
    version BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    -- JSON, compressed with zstd, and the SHA-256 of that.
    body BLOB NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE INDEX summaries_by_version ON summaries (version);

-- The kinds of errors of each summarised log, so that what is new in a task costs a lookup.
CREATE TABLE problems (
    run_id TEXT NOT NULL REFERENCES runs (id),
    task_id TEXT NOT NULL REFERENCES tasks (id),
    -- `pattern`: by the template of its message. `cause`: by the root cause of its stack trace.
    kind TEXT NOT NULL,
    -- The same in every run.
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    -- The highest of a record: from 0, none that is known, to 6, FATAL.
    severity BIGINT NOT NULL,
    records BIGINT NOT NULL,
    first_time BIGINT NOT NULL,
    last_time BIGINT NOT NULL,
    PRIMARY KEY (run_id, kind, id)
);
CREATE INDEX problems_by_task ON problems (task_id, kind, id, first_time);
CREATE INDEX problems_by_time ON problems (task_id, last_time);

-- When its summary is to be made; absent when it is as it should be, or there is none to make.
ALTER TABLE runs ADD COLUMN summarize_at BIGINT;
-- Until when one node has that in its hands.
ALTER TABLE runs ADD COLUMN summarize_claimed_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_to_summarize ON runs (summarize_at) WHERE summarize_at IS NOT NULL;
UPDATE runs SET summarize_at = 0 WHERE records > 0 AND seal_at IS NULL;
