-- Alerts: occurrences that somebody is to be told of, each once at each destination.
CREATE TABLE alerts (
    -- The rule of the settings, and where it sends to.
    rule TEXT NOT NULL,
    destination TEXT NOT NULL,
    -- What happened: the same text for the same occurrence.
    occurrence TEXT NOT NULL,
    -- What is told, as JSON.
    body TEXT NOT NULL,
    noted_at BIGINT NOT NULL,
    -- When it is sent, at the soonest.
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    delivered_at BIGINT,
    -- Why the last attempt came to nothing.
    problem TEXT,
    PRIMARY KEY (rule, destination, occurrence)
);
CREATE INDEX alerts_due ON alerts (due_at) WHERE delivered_at IS NULL;
CREATE INDEX alerts_delivered ON alerts (delivered_at) WHERE delivered_at IS NOT NULL;

-- Since when a rule is known: what happened before is not told.
CREATE TABLE alert_rules (
    rule TEXT PRIMARY KEY,
    since BIGINT NOT NULL
);
