-- Sealing: slices are merged into files of whole runs; deleting, retention and legal hold.

-- SHA-256 of the object, as letters and digits; empty when it was written before hashes were kept.
ALTER TABLE segments ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
-- 0: written as records arrived, `arrival` is a number in the slice. 1: merged, `arrival` is the number in the run.
ALTER TABLE segments ADD COLUMN merged BIGINT NOT NULL DEFAULT 0;
-- When its last slice was taken from it; its object is kept for readers that are under way, then swept.
ALTER TABLE segments ADD COLUMN replaced_at BIGINT;
CREATE INDEX segments_replaced ON segments (replaced_at) WHERE replaced_at IS NOT NULL;

-- The number in the run of the record that arrived last, and whether the slice is part of the sealed log.
ALTER TABLE slices ADD COLUMN last_arrival BIGINT NOT NULL DEFAULT 0;
UPDATE slices SET last_arrival = first_arrival + records - 1;
ALTER TABLE slices ADD COLUMN sealed BIGINT NOT NULL DEFAULT 0;

-- Counts up when the log of the run is deleted, so that what was read before is not taken for what came after.
ALTER TABLE runs ADD COLUMN log_epoch BIGINT NOT NULL DEFAULT 0;
-- Counts up when slices of the run are replaced.
ALTER TABLE runs ADD COLUMN log_version BIGINT NOT NULL DEFAULT 0;
-- When its slices are to be merged; absent when there is nothing to merge.
ALTER TABLE runs ADD COLUMN seal_at BIGINT;
-- Until when one node has the merging in its hands.
ALTER TABLE runs ADD COLUMN seal_claimed_until BIGINT NOT NULL DEFAULT 0;
-- Bytes of its slices in their objects.
ALTER TABLE runs ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
-- 1: its log is not deleted, by nobody, until the hold is taken away.
ALTER TABLE runs ADD COLUMN legal_hold BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_to_seal ON runs (seal_at) WHERE seal_at IS NOT NULL;
UPDATE runs SET seal_at = COALESCE(final_since, last_record_stored_at) WHERE records > 0;

-- Which log the page is of: that before or that after a deletion.
ALTER TABLE page_files ADD COLUMN log_epoch BIGINT NOT NULL DEFAULT 0;

-- How long the logs of a workspace are kept, and how many bytes of them; without a bound when absent.
ALTER TABLE workspaces ADD COLUMN retention_days BIGINT;
ALTER TABLE workspaces ADD COLUMN retention_bytes BIGINT;
