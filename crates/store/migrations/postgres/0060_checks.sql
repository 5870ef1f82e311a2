-- Of each block of 64 KiB of the object its CRC-32, and at the end the CRC-32 of all these (32-bit little-endian). Whoever
-- reads bytes of a block looks at it. Absent: written by an earlier version.
ALTER TABLE segments ADD COLUMN checks BYTEA;

-- Why a page cannot be built: the object of its records that is damaged or gone.
ALTER TABLE page_files ADD COLUMN damaged_object TEXT;

-- When somebody who read the object found it damaged or gone; epoch milliseconds. A verification that finds it whole again
-- takes it away.
ALTER TABLE segments ADD COLUMN damaged_at BIGINT;
CREATE INDEX segments_damaged ON segments (damaged_at) WHERE damaged_at IS NOT NULL;
