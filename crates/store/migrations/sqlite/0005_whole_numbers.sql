-- Truth values are the numbers 0 and 1, as every catalog has them.
ALTER TABLE environments ADD COLUMN default_number BIGINT NOT NULL DEFAULT 0;
UPDATE environments SET default_number = is_default;
ALTER TABLE environments DROP COLUMN is_default;
ALTER TABLE environments RENAME COLUMN default_number TO is_default;
ALTER TABLE users ADD COLUMN administrator_number BIGINT NOT NULL DEFAULT 0;
UPDATE users SET administrator_number = administrator;
ALTER TABLE users DROP COLUMN administrator;
ALTER TABLE users RENAME COLUMN administrator_number TO administrator;
ALTER TABLE runs ADD COLUMN parallel_number BIGINT;
UPDATE runs SET parallel_number = parallel_execution_allowed;
ALTER TABLE runs DROP COLUMN parallel_execution_allowed;
ALTER TABLE runs RENAME COLUMN parallel_number TO parallel_execution_allowed;
