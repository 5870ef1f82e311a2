-- The audit logs of the tenants of upstreams: who did what in the consoles and APIs of Talend Cloud. Not to be confused
-- with `audit`, which says who did what in this archive.
CREATE TABLE tenant_audit_logs (
    -- The ID that the upstream gave the entry or, if it gave none, a digest of the entry.
    log_id TEXT PRIMARY KEY,
    -- In the order in which entries were committed, so that no lower one appears later.
    sequence BIGINT NOT NULL UNIQUE,
    upstream TEXT NOT NULL,
    -- When it happened. Unit: epoch milliseconds.
    at BIGINT NOT NULL,
    -- Fields of the entry, shortened if they are long.
    request_id TEXT,
    account_id TEXT,
    application_id TEXT,
    event_category TEXT,
    event_type TEXT,
    event_operation TEXT,
    user_id TEXT,
    username TEXT,
    email TEXT,
    client_ip TEXT,
    method TEXT,
    url TEXT,
    user_agent TEXT,
    status TEXT,
    -- The entry to the letter, as JSON.
    body TEXT NOT NULL,
    stored_at BIGINT NOT NULL
);
CREATE INDEX tenant_audit_logs_by_time ON tenant_audit_logs (at, log_id);
CREATE INDEX tenant_audit_logs_by_upstream ON tenant_audit_logs (upstream, at);

-- The sequence number of the next entry: a row that is locked until its transaction ends.
CREATE TABLE tenant_audit_sequence (
    name TEXT PRIMARY KEY,
    next BIGINT NOT NULL
);
INSERT INTO tenant_audit_sequence (name, next) VALUES ('entries', 0);

-- How far the audit logs of each upstream are collected.
CREATE TABLE collected_audit_logs (
    upstream TEXT PRIMARY KEY,
    -- Every entry before this time is stored, but those that come late. Unit: epoch milliseconds.
    listed_until BIGINT,
    -- When entries that came late were last looked for.
    looked_back_at BIGINT,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    -- Why the last round failed or was incomplete.
    problem TEXT
);
