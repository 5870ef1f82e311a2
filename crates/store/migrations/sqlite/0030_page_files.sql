-- A page that could not be built is tried again later and later, for as long as its tokens are good. Attempts that failed
-- because the bucket or the catalog was away are not counted as attempts.
ALTER TABLE page_files ADD COLUMN retry_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE page_files ADD COLUMN attempts_away BIGINT NOT NULL DEFAULT 0;

-- What the frames of the file must be like: for each its lengths, plain and stored (32-bit little-endian), and the first
-- eight bytes of the SHA-256 of what is stored; at the end the SHA-256 of all this. Absent: built by an earlier version.
ALTER TABLE page_files ADD COLUMN checks BLOB;
