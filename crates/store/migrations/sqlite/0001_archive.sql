-- The catalog of an archive. Instants are epoch milliseconds, ids are text.
-- A row is the truth; the objects it names were there before it.

CREATE TABLE environments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    is_default BOOLEAN NOT NULL,
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
    administrator BOOLEAN NOT NULL,
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

CREATE TABLE signing_keys (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    created_at BIGINT NOT NULL
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
    parallel_execution_allowed BOOLEAN,
    api_version TEXT,
    container_id TEXT,
    processed_rows BIGINT,
    rejected_rows BIGINT,
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
    frames BLOB
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
