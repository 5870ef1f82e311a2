-- Objects that are being written and that no row names yet, by their keys. Each is noted here before it is written, and
-- the transaction that adds its row removes the note. A sweep removes the note before it removes the object, so that
-- the transaction fails then. Times are of the catalog's clock.
CREATE TABLE intents (
    object_key TEXT PRIMARY KEY,
    renewed_at BIGINT NOT NULL
);
CREATE INDEX intents_by_age ON intents (renewed_at);

-- Objects of logs that were deleted, until they are gone.
CREATE TABLE deletions (
    object_key TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL
);
