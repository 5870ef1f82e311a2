-- Failed requests for what runs are collected without: descriptions of tasks, details of runs, and the history of runs.
ALTER TABLE collected_windows ADD COLUMN details_failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE collected_windows ADD COLUMN details_failed_at BIGINT;
ALTER TABLE collected_windows ADD COLUMN details_problem TEXT;
