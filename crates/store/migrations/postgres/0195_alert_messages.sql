-- The first alert of the message with which an alert was sent, by its occurrence: a message that is sent again has the same
-- alerts and the same ID. Absent before that, and for alerts that are sent alone.
ALTER TABLE alerts ADD COLUMN sent_with TEXT;
