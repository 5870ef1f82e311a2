-- The newest slices of all runs, for searches.
CREATE INDEX slices_by_time ON slices (last_time, first_time);
