-- The history is read from its newest end: an index has the runs in its order, and runs and plan executions are two
-- views, because a search of either alone, or of the newest of both, then finds it.
CREATE INDEX runs_by_ended ON runs (COALESCE(finished_at, 9223372036854775807) DESC, triggered_at, id DESC);

-- A list of the runs of an environment is read from its newest end as well, by the index that counts them by status.
DROP INDEX runs_by_trigger;
CREATE INDEX runs_by_trigger ON runs (triggered_at, id, status);
-- Runs that lasted for more than an hour, or go on: the few that may have begun long before the window of a list.
CREATE INDEX runs_that_last ON runs (workspace_id, COALESCE(finished_at, 9223372036854775807), triggered_at)
WHERE COALESCE(finished_at, 9223372036854775807) > triggered_at + 3600000;

DROP VIEW executions;
-- A run that is going on ends later than all others.
CREATE VIEW run_executions AS
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
FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id;
CREATE VIEW plan_executions (id, kind, name, status, version, execution_type, triggered_at, started_at, finished_at,
                             ended, duration_ms, operator, operator_type, author, environment_id, workspace_id,
                             task_id, plan_id, plan_name, plan_execution_id, artifact_id, artifact_name,
                             artifact_version, tags, runtime, log_level, api_version, attempts, error_message,
                             misfired_reason, rejected_rows) AS
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
CREATE VIEW executions AS SELECT * FROM run_executions UNION ALL SELECT * FROM plan_executions;

-- Batch ids are forgotten by their age.
CREATE INDEX batches_by_age ON batches (stored_at);
