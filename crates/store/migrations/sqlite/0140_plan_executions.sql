-- Plan executions as the upstreams that ran them describe them. Those of other archives and engines are derived from
-- their runs, as before.
CREATE TABLE reported_plans (
    execution_id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL,
    plan_name TEXT,
    -- Absent if neither the plan nor one of its runs says it.
    workspace_id TEXT REFERENCES workspaces (id),
    -- A word of the API, or one of the upstream that is not known here.
    status TEXT NOT NULL,
    execution_status TEXT NOT NULL,
    execution_type TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    -- 0 while it or one of its steps is running.
    is_final BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    user_type TEXT NOT NULL,
    planned BIGINT,
    done BIGINT,
    misfired_reason TEXT,
    api_version TEXT,
    -- As JSON: the plan execution without its runs, and everything that is known of it.
    execution TEXT NOT NULL,
    report TEXT NOT NULL,
    stored_at BIGINT NOT NULL,
    -- Of the report.
    sha256 TEXT NOT NULL
);
CREATE INDEX reported_plans_by_start ON reported_plans (started_at);
CREATE INDEX reported_plans_that_failed ON reported_plans (stored_at)
WHERE status IN ('execution_failed', 'execution_misfired');
CREATE INDEX reported_plans_by_plan ON reported_plans (plan_id, started_at);
CREATE INDEX reported_plans_by_workspace ON reported_plans (workspace_id, started_at);

-- The steps of reported plan executions, and the error handlers that ran after them.
CREATE TABLE reported_steps (
    execution_id TEXT NOT NULL REFERENCES reported_plans (execution_id),
    -- In the order in which the steps were designed, starting at 0.
    position BIGINT NOT NULL,
    -- `step` or `error_handler`.
    kind TEXT NOT NULL,
    step_id TEXT,
    step_execution_id TEXT,
    name TEXT,
    -- What must be true for the next step to start.
    next_when TEXT,
    -- `not_started`, `running`, `succeeded`, `failed` or `unknown`.
    outcome TEXT NOT NULL,
    execution_status TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    planned BIGINT,
    done BIGINT,
    PRIMARY KEY (execution_id, position, kind)
);

-- The runs of steps and error handlers.
CREATE TABLE reported_step_runs (
    execution_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (execution_id, position, kind, run_id)
);
CREATE INDEX reported_step_runs_by_run ON reported_step_runs (run_id);

-- Plans as upstreams define them.
CREATE TABLE plans (
    plan_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    workspace_id TEXT REFERENCES workspaces (id),
    -- The definition, as JSON.
    definition TEXT NOT NULL,
    stored_at BIGINT NOT NULL
);

-- The plan executions that upstreams list, and the state of their collection.
CREATE TABLE collected_plans (
    upstream TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    -- `going`, `landed`, `gone` or `given_up`.
    state TEXT NOT NULL,
    -- The upstream's description of it, as JSON; how it differs from the one before; and the workspace of the list.
    body TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    workspace_id TEXT,
    -- When its steps are fetched; absent if they are not to be.
    due_at BIGINT,
    claim TEXT,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    problem TEXT,
    PRIMARY KEY (upstream, execution_id)
);
CREATE INDEX collected_plans_by_due ON collected_plans (upstream, due_at) WHERE due_at IS NOT NULL;

-- Until when plan executions were listed, and why they could not be listed the last time.
ALTER TABLE collected_windows ADD COLUMN plans_listed_until BIGINT;
ALTER TABLE collected_windows ADD COLUMN plans_problem TEXT;

-- Every known plan execution: a row for each workspace, if it was derived from runs.
DROP VIEW executions;
DROP VIEW plan_executions;
CREATE VIEW known_plans (execution_id, plan_id, plan_name, workspace_id, status, execution_status, execution_type,
                         triggered_at, started_at, finished_at, planned, done, user_id, user_type, misfired_reason,
                         api_version, is_reported) AS
SELECT p.execution_id, p.plan_id, p.plan_name, p.workspace_id, p.status, p.execution_status, p.execution_type,
       p.started_at, p.started_at, p.finished_at, p.planned, p.done, p.user_id, p.user_type, p.misfired_reason,
       p.api_version, CAST(1 AS BIGINT)
FROM reported_plans p
WHERE p.workspace_id IS NOT NULL
UNION ALL
SELECT r.plan_execution_id, MIN(r.plan_id), MIN(r.plan_name), r.workspace_id,
       CASE WHEN COUNT(r.final_since) < COUNT(*) THEN 'executing'
            WHEN SUM(CASE WHEN r.status IN ('execution_successful', 'execution_rejected') THEN 0 ELSE 1 END) > 0
            THEN 'execution_failed' ELSE 'execution_successful' END,
       CASE WHEN COUNT(r.final_since) < COUNT(*) THEN 'STARTED'
            WHEN SUM(CASE WHEN r.status IN ('execution_successful', 'execution_rejected') THEN 0 ELSE 1 END) > 0
            THEN 'EXECUTION_FAILED' ELSE 'EXECUTION_SUCCESS' END,
       MIN(r.execution_type), MIN(r.triggered_at), MIN(r.started_at),
       CASE WHEN COUNT(r.final_since) = COUNT(*) THEN MAX(r.finished_at) END, COUNT(*), COUNT(r.final_since),
       MIN(r.user_id), MIN(r.user_type), CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(0 AS BIGINT)
FROM runs r
WHERE r.plan_execution_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM reported_plans p WHERE p.execution_id = r.plan_execution_id)
GROUP BY r.plan_execution_id, r.workspace_id;
CREATE VIEW plan_executions (id, kind, name, status, version, execution_type, triggered_at, started_at, finished_at,
                             ended, duration_ms, operator, operator_type, author, environment_id, workspace_id,
                             task_id, plan_id, plan_name, plan_execution_id, artifact_id, artifact_name,
                             artifact_version, tags, runtime, log_level, api_version, attempts, error_message,
                             misfired_reason, rejected_rows) AS
SELECT k.execution_id, 'PLAN', COALESCE(k.plan_name, k.plan_id, k.execution_id),
       CASE k.status WHEN 'executing' THEN 'STARTING_FLOW_EXECUTION' WHEN 'execution_successful' THEN 'EXECUTION_SUCCESS'
                     WHEN 'execution_failed' THEN 'EXECUTION_FAILED' WHEN 'execution_misfired' THEN 'EXECUTION_MISFIRED'
                     ELSE 'UNKNOWN' END,
       CAST(NULL AS TEXT), k.execution_type, k.triggered_at, k.started_at, k.finished_at,
       COALESCE(k.finished_at, 9223372036854775807), k.finished_at - k.started_at, k.user_id, k.user_type, w.owner,
       w.environment_id, k.workspace_id, CAST(NULL AS TEXT), k.plan_id, k.plan_name, CAST(NULL AS TEXT),
       CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(NULL AS TEXT), '[]', CAST(NULL AS TEXT), CAST(NULL AS TEXT),
       k.api_version, CAST(NULL AS BIGINT), CAST(NULL AS TEXT), k.misfired_reason, CAST(NULL AS BIGINT)
FROM known_plans k JOIN workspaces w ON w.id = k.workspace_id;
CREATE VIEW executions AS SELECT * FROM run_executions UNION ALL SELECT * FROM plan_executions;
