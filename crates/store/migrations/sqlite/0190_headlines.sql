-- The headline of each failed run, with its values: the title of a problem has them masked. Absent where an earlier
-- version counted the run; summaries that are made again add it.
ALTER TABLE problem_runs ADD COLUMN headline TEXT;
