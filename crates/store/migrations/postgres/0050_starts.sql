-- Runs that a run hook began, and nobody told the start of, began with their first record at the latest.
UPDATE runs SET started_at = (SELECT MIN(first_time) FROM slices WHERE slices.run_id = runs.id)
WHERE started_at IS NULL AND records > 0;
