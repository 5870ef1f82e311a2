-- What the web UI needs: sessions, the queries that people keep, and runs by time alone.

-- Who has signed in. Only the SHA-256 of a session's text is kept.
CREATE TABLE sessions (
    session_hash TEXT PRIMARY KEY,
    caller_kind TEXT NOT NULL,
    caller_id TEXT NOT NULL,
    -- The personal token it was opened with; when that is revoked, the session is gone.
    token_id TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    -- The key that signed the access token it was opened with; when that is revoked, the session is worthless.
    key_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX sessions_by_token ON sessions (token_id);

CREATE TABLE saved_queries (
    caller_kind TEXT NOT NULL,
    caller_id TEXT NOT NULL,
    name TEXT NOT NULL,
    query TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (caller_kind, caller_id, name)
);

-- The overview of someone who sees every workspace.
CREATE INDEX runs_by_trigger ON runs (triggered_at, status);
