-- Problems: the root causes that failed runs of a workspace have in common, and what people made of them.
--
-- The table `problems` of an earlier migration has the error groups of each log. It keeps its name, because nodes of the
-- previous version write it during an upgrade.
CREATE TABLE workspace_problems (
    -- Made of the workspace and the root cause with its values masked.
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    -- The root cause with its values masked; absent when no run is left.
    title TEXT,
    -- `open`, `muted` or `resolved`; muted until a time, or without an end.
    state TEXT NOT NULL,
    state_at BIGINT,
    state_by TEXT,
    note TEXT,
    muted_until BIGINT,
    -- The end of the run with which it came back.
    came_back_at BIGINT,
    created_at BIGINT NOT NULL,
    -- The ends of its first and last run; without runs, later and earlier than any.
    first_seen BIGINT NOT NULL DEFAULT 9223372036854775807,
    last_seen BIGINT NOT NULL DEFAULT -9223372036854775807,
    runs BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX workspace_problems_by_time ON workspace_problems (workspace_id, last_seen);

-- The problem of each failed run.
CREATE TABLE problem_runs (
    run_id TEXT PRIMARY KEY REFERENCES runs (id),
    problem_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    ended_at BIGINT NOT NULL,
    -- Which log it is of: after so many deletions.
    log_epoch BIGINT NOT NULL
);
CREATE INDEX problem_runs_by_problem ON problem_runs (problem_id, ended_at);

-- How many runs of each task have failed of a problem.
CREATE TABLE problem_tasks (
    problem_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    runs BIGINT NOT NULL,
    PRIMARY KEY (problem_id, task_id)
);
CREATE INDEX problem_tasks_by_task ON problem_tasks (task_id, problem_id);

-- Failed runs that are not counted to a problem are looked for at each start.
CREATE INDEX runs_that_failed ON runs (id)
    WHERE status IN ('execution_failed', 'deploy_failed', 'terminated_timeout', 'terminated_shutdown');
