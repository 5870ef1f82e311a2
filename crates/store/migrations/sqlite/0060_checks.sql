-- Of each block of 64 KiB of the object its CRC-32, and at the end the CRC-32 of all these (32-bit little-endian). Whoever
-- reads bytes of a block looks at it. Absent: written by an earlier version.
ALTER TABLE segments ADD COLUMN checks BLOB;
