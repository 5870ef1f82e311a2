-- How far the audit logs of tenants are delivered to each sink that takes them.
CREATE TABLE tenant_audit_deliveries (
    sink TEXT PRIMARY KEY,
    -- The sequence number after that of the last entry that the sink has, or has refused.
    next_sequence BIGINT NOT NULL DEFAULT 0,
    delivered BIGINT NOT NULL DEFAULT 0,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    -- Why the last attempt failed.
    problem TEXT
);

-- Entries that a sink refused permanently.
CREATE TABLE tenant_audit_dead_letters (
    sink TEXT NOT NULL,
    log_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    reason TEXT NOT NULL,
    refused_at BIGINT NOT NULL,
    -- 1: it is to be sent again.
    replay BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, log_id)
);
