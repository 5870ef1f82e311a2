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
CREATE INDEX collected_runs_by_run ON collected_runs (run_id);

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

-- Where logs are delivered to.
CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- The run up to which the archive was searched for runs to deliver, in the order in which they ended.
    offered_until BIGINT NOT NULL DEFAULT -9000000000000000000,
    offered_run TEXT NOT NULL DEFAULT '',
    -- When it was last worked for, and what keeps all of its deliveries up.
    seen_at BIGINT NOT NULL,
    problem TEXT
);

-- Logs on their way to where people look.
CREATE TABLE deliveries (
    run_id TEXT NOT NULL REFERENCES runs (id),
    sink TEXT NOT NULL,
    -- `due`, `done` or `dead`.
    state TEXT NOT NULL,
    final_since BIGINT NOT NULL,
    -- Which log of the run it is: that before or that after a deletion.
    log_epoch BIGINT NOT NULL DEFAULT 0,
    -- The records that are being delivered are those that arrived from this number on, and before the other one;
    -- absent while the delivery has not begun.
    first_arrival BIGINT NOT NULL DEFAULT 0,
    of_records BIGINT,
    -- The last record that the sink has, in order of (time, arrival).
    after_time BIGINT,
    after_arrival BIGINT,
    -- Files or batches that are finished.
    parts BIGINT NOT NULL DEFAULT 0,
    -- Records that the sink has, and records that are not wanted there.
    delivered BIGINT NOT NULL DEFAULT 0,
    left_out BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    done_at BIGINT,
    problem TEXT,
    PRIMARY KEY (run_id, sink)
);
CREATE INDEX deliveries_due ON deliveries (sink, state, due_at);

-- Records that a sink refused for good. They stay in the archive; what stands here is which, and why.
CREATE TABLE dead_letters (
    sink TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    log_epoch BIGINT NOT NULL,
    arrival BIGINT NOT NULL,
    record_time BIGINT NOT NULL,
    reason TEXT NOT NULL,
    refused_at BIGINT NOT NULL,
    -- 1: it is to be sent again.
    replay BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, run_id, log_epoch, arrival)
);
CREATE INDEX runs_by_end ON runs (final_since, id);
