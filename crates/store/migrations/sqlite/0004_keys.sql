-- Keys for signing, several of a purpose: the newest signs, the others still check what they signed.
CREATE TABLE keys (
    -- The purpose and a number, such as `links-2`.
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    number BIGINT NOT NULL,
    value BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (purpose, number)
);
INSERT INTO keys (id, purpose, number, value, created_at) SELECT name || '-1', name, 1, value, created_at FROM signing_keys;
DROP TABLE signing_keys;
