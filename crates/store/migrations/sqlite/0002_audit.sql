-- Who read, downloaded, pushed to and deleted what. Rows are only ever added.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
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
