-- What the components of runs measured.
--
-- The runs that have component metrics, and what the service that measured them says of each run.
CREATE TABLE component_runs (
    run_id TEXT PRIMARY KEY REFERENCES runs (id),
    -- They are deleted with the log: how many times it was deleted when they were stored.
    log_epoch BIGINT NOT NULL,
    -- How many metrics are stored, and how many the service had.
    metrics BIGINT NOT NULL,
    total BIGINT NOT NULL,
    -- When the first and the last component started; absent if none did.
    first_started_at BIGINT,
    last_started_at BIGINT,
    engine_id TEXT,
    artifact_id TEXT,
    artifact_name TEXT,
    artifact_version TEXT,
    operator TEXT,
    -- As JSON: a number, and an array.
    rows_rejected TEXT,
    processes TEXT NOT NULL,
    stored_at BIGINT NOT NULL,
    -- Of everything that is stored of the run.
    sha256 TEXT NOT NULL
);
CREATE INDEX component_runs_by_start ON component_runs (last_started_at);

-- The processes of runs by their `pid`.
CREATE TABLE component_processes (
    run_id TEXT NOT NULL REFERENCES component_runs (run_id),
    pid TEXT NOT NULL,
    process_id TEXT NOT NULL,
    job_name TEXT NOT NULL,
    father_pid TEXT NOT NULL,
    root_pid TEXT NOT NULL,
    PRIMARY KEY (run_id, pid)
);

CREATE TABLE component_metrics (
    run_id TEXT NOT NULL REFERENCES component_runs (run_id),
    -- In the order of the service, starting at 0.
    position BIGINT NOT NULL,
    pid TEXT NOT NULL,
    connector_type TEXT NOT NULL,
    connector_label TEXT NOT NULL,
    connector_id TEXT NOT NULL,
    target_connector_type TEXT,
    target_label TEXT,
    target_id TEXT,
    connection_type TEXT,
    connection_name TEXT,
    started_at BIGINT,
    rows_total BIGINT,
    duration_ms BIGINT,
    stacktrace TEXT,
    -- Fields that the columns do not have, or not exactly, as a JSON object.
    others TEXT,
    PRIMARY KEY (run_id, position)
);

-- Whether the component metrics of a collected run are in the archive: `landed`, `none` or `given_up`; absent before.
ALTER TABLE collected_runs ADD COLUMN metrics_state TEXT;
-- When they are fetched; absent if they are not to be.
ALTER TABLE collected_runs ADD COLUMN metrics_due_at BIGINT;
ALTER TABLE collected_runs ADD COLUMN metrics_attempts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE collected_runs ADD COLUMN metrics_problem TEXT;
CREATE INDEX collected_runs_by_metrics ON collected_runs (upstream, metrics_due_at) WHERE metrics_due_at IS NOT NULL;
