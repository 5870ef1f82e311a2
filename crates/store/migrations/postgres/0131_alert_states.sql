-- What an alert is about: the same text for all alerts that one message tells of, and for the one that says that it is
-- over. Alerts of earlier versions have none.
ALTER TABLE alerts ADD COLUMN subject TEXT;
-- 1 if it says that something is over.
ALTER TABLE alerts ADD COLUMN is_recovery BIGINT NOT NULL DEFAULT 0;
-- 1 if it was found in a maintenance window: it is not sent if it is over at the end of the window.
ALTER TABLE alerts ADD COLUMN is_held BIGINT NOT NULL DEFAULT 0;
-- Why it was not delivered: `refused`, `window` or `repeated`; absent if it was, will be, or is muted.
ALTER TABLE alerts ADD COLUMN outcome TEXT;
CREATE INDEX alerts_by_subject ON alerts (rule, subject, noted_at);

-- What was reported and is not over yet. A subject is over when it has no more members.
CREATE TABLE alert_states (
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    member TEXT NOT NULL,
    -- How its end is recognised, as JSON.
    about TEXT NOT NULL,
    -- The message that reported it last, as JSON.
    body TEXT NOT NULL,
    -- Since when something of this subject has been open.
    since BIGINT NOT NULL,
    -- Since when it has been over; absent while it goes on.
    ended_at BIGINT,
    PRIMARY KEY (rule, subject, member)
);
