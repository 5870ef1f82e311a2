-- How long a sink has had something due. When a delivery is tried next says nothing of that, and when its run ended says
-- too much: records may come days later.
-- Absent, it is when the delivery is tried next: the table is large, and nobody may wait until its rows were written anew.
ALTER TABLE deliveries ADD COLUMN due_since BIGINT;

-- Sinks that a rule for alerts finds behind, from the look that was the first to do so until they have caught up.
CREATE TABLE sinks_behind (
    rule TEXT NOT NULL,
    sink TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (rule, sink)
);
