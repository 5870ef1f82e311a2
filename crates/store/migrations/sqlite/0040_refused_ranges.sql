-- Records that a sink refused stand together where one reason holds for neighbours: from (record_time, arrival) to
-- (last_time, last_arrival) in the order in which records are delivered, without those that arrived before or after the
-- two numbers. Absent, it is the one record.
ALTER TABLE dead_letters ADD COLUMN last_time BIGINT;
ALTER TABLE dead_letters ADD COLUMN last_arrival BIGINT;
ALTER TABLE dead_letters ADD COLUMN arrivals_from BIGINT;
ALTER TABLE dead_letters ADD COLUMN arrivals_to BIGINT;
-- How many were refused, of how many that were sent: fewer, where the sink does not say which.
ALTER TABLE dead_letters ADD COLUMN records BIGINT NOT NULL DEFAULT 1;
ALTER TABLE dead_letters ADD COLUMN of_records BIGINT NOT NULL DEFAULT 1;
-- Those of the records that are left out which are older than the sink takes them.
ALTER TABLE deliveries ADD COLUMN too_old BIGINT NOT NULL DEFAULT 0;
