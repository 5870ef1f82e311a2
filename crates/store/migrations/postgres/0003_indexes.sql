-- Smaller indexes of the slices: what a reader needs stands in the rows, and a sealed run has few of them.
DROP INDEX slices_newest_first;
DROP INDEX slices_oldest_first;
CREATE INDEX slices_newest_first ON slices (run_id, last_time, first_arrival);
CREATE INDEX slices_oldest_first ON slices (run_id, first_time, first_arrival);

-- The log files of a run go when its log is deleted.
CREATE INDEX page_files_by_run ON page_files (run_id);
CREATE INDEX page_tokens_by_run ON page_tokens (run_id);
