-- Runs of upstreams: what is known of them, and how far their logs are on the way into the archive.
CREATE TABLE collected_runs (
    upstream TEXT NOT NULL,
    run_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    -- `going`, `due`, `landed`, `no_log` or `left_out`.
    state TEXT NOT NULL,
    -- How the run is, in the upstream's word.
    status TEXT NOT NULL,
    triggered_at BIGINT,
    finished_at BIGINT,
    -- What the upstream said of the run, as JSON.
    body TEXT NOT NULL,
    known_at BIGINT NOT NULL,
    -- When the upstream last told of it.
    seen_at BIGINT NOT NULL,
    -- When its log is fetched at the soonest.
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    -- When what it had logged so far was last brought in, of a run that goes on.
    looked_at BIGINT NOT NULL DEFAULT 0,
    records BIGINT NOT NULL DEFAULT 0,
    pages BIGINT NOT NULL DEFAULT 0,
    landed_at BIGINT,
    -- Why the last attempt came to nothing; what the upstream counted, where it counted other records than came.
    problem TEXT,
    expected BIGINT,
    PRIMARY KEY (upstream, run_id)
);
CREATE INDEX collected_runs_due ON collected_runs (upstream, state, due_at);

-- Up to when the runs of an upstream were listed.
CREATE TABLE collected_windows (
    upstream TEXT PRIMARY KEY,
    listed_until BIGINT NOT NULL
);

-- Who collects from a host at the moment, so that they share its pace, and what they have sent.
CREATE TABLE collectors (
    host TEXT NOT NULL,
    id TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    -- Its part of the pace; NULL without a bound.
    per_minute BIGINT,
    requests_left BIGINT,
    requests BIGINT NOT NULL DEFAULT 0,
    repeated BIGINT NOT NULL DEFAULT 0,
    limited BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (host, id)
);

-- Logs on their way to where people look.
CREATE TABLE deliveries (
    sink TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    -- `due`, `done` or `dead`.
    state TEXT NOT NULL,
    -- Records of the run when its delivery began, and how many of them, oldest first, the sink has.
    of_records BIGINT NOT NULL DEFAULT 0,
    delivered BIGINT NOT NULL DEFAULT 0,
    -- Records that the sink refused for good.
    refused BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    done_at BIGINT,
    problem TEXT,
    PRIMARY KEY (sink, run_id)
);
CREATE INDEX deliveries_due ON deliveries (sink, state, due_at);

-- Up to which run a sink has been told of the archive's runs.
CREATE TABLE delivery_cursors (
    sink TEXT PRIMARY KEY,
    final_since BIGINT NOT NULL
);
CREATE INDEX runs_by_end ON runs (final_since);
