-- Which pass has the sealing of the run in its hands, until `seal_claimed_until` by the catalog's clock.
ALTER TABLE runs ADD COLUMN seal_claimed_by TEXT;
-- How often in a row the log could not be sealed because something of it is lost or damaged, and what that is.
ALTER TABLE runs ADD COLUMN seal_failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN seal_problem TEXT;
CREATE INDEX runs_damaged ON runs (id) WHERE seal_problem IS NOT NULL;
