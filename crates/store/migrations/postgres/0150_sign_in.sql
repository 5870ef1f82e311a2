-- The users who sign in with an identity provider (OpenID Connect): issuer and subject identify an account there.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    -- When the provider last confirmed the account, and until when personal tokens of the user are accepted because of
    -- that. Unit: epoch milliseconds.
    confirmed_at BIGINT NOT NULL,
    tokens_until BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);

-- Of a session of such a user: the provider's session (sid), its refresh token, encrypted with a key that is derived from
-- the session's text, when the account was last confirmed, and when it is checked next. Unit: epoch milliseconds.
ALTER TABLE sessions ADD COLUMN provider_session TEXT;
ALTER TABLE sessions ADD COLUMN refresh_token TEXT;
ALTER TABLE sessions ADD COLUMN confirmed_at BIGINT;
ALTER TABLE sessions ADD COLUMN check_at BIGINT;
CREATE INDEX sessions_by_caller ON sessions (caller_id);
