-- When a token is no longer accepted. Unit: epoch milliseconds. Absent: it is good until it is revoked.
ALTER TABLE tokens ADD COLUMN expires_at BIGINT;
