-- The catalog of an archive. Instants are epoch milliseconds, ids are text.
-- A row is the truth; the objects it names were there before it.

CREATE TABLE environments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    is_default BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id),
    name TEXT NOT NULL,
    description TEXT,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (environment_id, name)
);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    description TEXT,
    -- A JSON array of words.
    tags TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX tasks_by_workspace ON tasks (workspace_id, name);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    administrator BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Personal access tokens. Only the SHA-256 of a token is kept.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);

CREATE TABLE service_accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    secret_hash TEXT NOT NULL,
    -- A JSON array of permission ids.
    permissions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    last_used_at BIGINT
);

-- What a caller may do in a workspace: rights separated by commas.
CREATE TABLE rights (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    caller_kind TEXT NOT NULL,
    caller_id TEXT NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (workspace_id, caller_kind, caller_id)
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    task_version TEXT NOT NULL,
    execution_type TEXT NOT NULL,
    -- The detailed status and its coarse word, by which lists are filtered.
    execution_status TEXT NOT NULL,
    status TEXT NOT NULL,
    triggered_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    final_since BIGINT,
    user_id TEXT NOT NULL,
    user_type TEXT NOT NULL,
    plan_id TEXT,
    -- A JSON object, as the API shows it.
    runtime TEXT,
    error_message TEXT,
    error_type TEXT,
    misfired_reason TEXT,
    timeout_minutes BIGINT,
    parallel_execution_allowed BIGINT,
    api_version TEXT,
    container_id TEXT,
    processed_rows BIGINT,
    rejected_rows BIGINT,
    plan_name TEXT,
    plan_execution_id TEXT,
    plan_step_id TEXT,
    artifact_id TEXT,
    artifact_name TEXT,
    artifact_version TEXT,
    log_level TEXT,
    attempts BIGINT,
    -- What the archive holds of its log. The next record of the run arrives as number `records`.
    records BIGINT NOT NULL DEFAULT 0,
    last_record_stored_at BIGINT,
    severity_other BIGINT NOT NULL DEFAULT 0,
    severity_trace BIGINT NOT NULL DEFAULT 0,
    severity_debug BIGINT NOT NULL DEFAULT 0,
    severity_info BIGINT NOT NULL DEFAULT 0,
    severity_warn BIGINT NOT NULL DEFAULT 0,
    severity_error BIGINT NOT NULL DEFAULT 0,
    severity_fatal BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_task ON runs (task_id, triggered_at, id);
CREATE INDEX runs_by_plan_execution ON runs (plan_execution_id, triggered_at);
CREATE INDEX runs_by_workspace ON runs (workspace_id, triggered_at, id);

-- Objects that hold records.
CREATE TABLE segments (
    id TEXT PRIMARY KEY,
    object_key TEXT NOT NULL UNIQUE,
    bytes BIGINT NOT NULL,
    records BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The part of a run that one segment holds: its rows, in order of (time, arrival), and what is in them.
CREATE TABLE slices (
    run_id TEXT NOT NULL REFERENCES runs (id),
    segment_id TEXT NOT NULL REFERENCES segments (id),
    first_row BIGINT NOT NULL,
    records BIGINT NOT NULL,
    -- The number in the run of the record that arrived first.
    first_arrival BIGINT NOT NULL,
    first_time BIGINT NOT NULL,
    last_time BIGINT NOT NULL,
    PRIMARY KEY (run_id, first_arrival)
);
CREATE INDEX slices_newest_first ON slices (run_id, last_time, first_arrival, first_time, records, segment_id, first_row);
CREATE INDEX slices_oldest_first ON slices (run_id, first_time, first_arrival, last_time, records, segment_id, first_row);
CREATE INDEX slices_by_segment ON slices (segment_id);

-- Batches that were acknowledged, so that a repeated one is stored once.
CREATE TABLE batches (
    run_id TEXT NOT NULL REFERENCES runs (id),
    batch_id TEXT NOT NULL,
    -- SHA-256 of the records.
    digest TEXT NOT NULL,
    records BIGINT NOT NULL,
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, batch_id)
);

-- Page files: wanted, then built by whoever claims them. The key names the content.
CREATE TABLE page_files (
    key TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id),
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    -- Records that had arrived before this number are in the page.
    arrivals BIGINT NOT NULL,
    file_format TEXT NOT NULL,
    record_order TEXT NOT NULL,
    records BIGINT NOT NULL,
    wanted_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    built_at BIGINT,
    object_key TEXT,
    plain_bytes BIGINT,
    zstd_bytes BIGINT,
    -- Lengths of the compressed frames: pairs of 32-bit little-endian numbers (plain, compressed).
    frames BYTEA
);
CREATE INDEX page_files_wanted ON page_files (built_at, wanted_at);
CREATE INDEX page_files_by_end ON page_files (keep_until);

-- Tokens that were given out for page files. Only the SHA-256 of a token is kept.
CREATE TABLE page_tokens (
    token_hash TEXT PRIMARY KEY,
    page_key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    file_name TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX page_tokens_by_end ON page_tokens (expires_at);

-- Keys for signing, several of a purpose: the newest signs, the others still check what they signed.
CREATE TABLE keys (
    -- The purpose and a number, such as `links-2`.
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    number BIGINT NOT NULL,
    value BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (purpose, number)
);

-- Who read, downloaded, pushed to and deleted what. Rows are only ever added.
CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    caller_id TEXT NOT NULL,
    caller_name TEXT NOT NULL,
    action TEXT NOT NULL,
    -- What it was done to: a run, a token, an account, a workspace.
    subject TEXT NOT NULL,
    status BIGINT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_subject ON audit (subject, at);

-- Everything that was executed, as the history shows it: runs, and the plan executions that some of them are part of.
-- A run that is going on ends later than all others.
CREATE VIEW executions AS
SELECT r.id AS id, 'STANDARD' AS kind, t.name AS name, r.execution_status AS status, r.task_version AS version,
       r.execution_type AS execution_type, r.triggered_at AS triggered_at, r.started_at AS started_at,
       r.finished_at AS finished_at, COALESCE(r.finished_at, 9223372036854775807) AS ended,
       r.finished_at - r.started_at AS duration_ms, r.user_id AS operator, r.user_type AS operator_type,
       w.owner AS author, w.environment_id AS environment_id, r.workspace_id AS workspace_id, r.task_id AS task_id,
       r.plan_id AS plan_id, r.plan_name AS plan_name, r.plan_execution_id AS plan_execution_id,
       r.artifact_id AS artifact_id, r.artifact_name AS artifact_name, r.artifact_version AS artifact_version,
       t.tags AS tags, r.runtime AS runtime, r.log_level AS log_level, r.api_version AS api_version,
       r.attempts AS attempts, r.error_message AS error_message, r.misfired_reason AS misfired_reason,
       r.rejected_rows AS rejected_rows
FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id
UNION ALL
SELECT r.plan_execution_id, 'PLAN', COALESCE(MIN(r.plan_name), MIN(r.plan_id), r.plan_execution_id),
       CASE WHEN COUNT(r.final_since) < COUNT(*) THEN 'STARTING_FLOW_EXECUTION'
            WHEN SUM(CASE WHEN r.status IN ('execution_successful', 'execution_rejected') THEN 0 ELSE 1 END) > 0
            THEN 'EXECUTION_FAILED' ELSE 'EXECUTION_SUCCESS' END,
       CAST(NULL AS TEXT), MIN(r.execution_type), MIN(r.triggered_at), MIN(r.started_at),
       CASE WHEN COUNT(r.final_since) = COUNT(*) THEN MAX(r.finished_at) END,
       COALESCE(CASE WHEN COUNT(r.final_since) = COUNT(*) THEN MAX(r.finished_at) END, 9223372036854775807),
       CASE WHEN COUNT(r.final_since) = COUNT(*) THEN MAX(r.finished_at) - MIN(r.started_at) END,
       MIN(r.user_id), MIN(r.user_type), MIN(w.owner), w.environment_id, r.workspace_id, CAST(NULL AS TEXT),
       MIN(r.plan_id), MIN(r.plan_name), CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(NULL AS TEXT),
       CAST(NULL AS TEXT), '[]', CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(NULL AS TEXT),
       CAST(NULL AS BIGINT), CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(NULL AS BIGINT)
FROM runs r JOIN workspaces w ON w.id = r.workspace_id
WHERE r.plan_execution_id IS NOT NULL
GROUP BY r.plan_execution_id, r.workspace_id, w.environment_id;
