-- Tables for lakehouses of rows of the catalog: the runs, the tasks and the component metrics of each workspace.

-- Counts up when something is deleted that these tables may show.
CREATE TABLE lake_deletions (
    workspace_id TEXT PRIMARY KEY,
    deletions BIGINT NOT NULL
);

CREATE TABLE lake_views (
    workspace_id TEXT NOT NULL,
    -- The name of the table.
    name TEXT NOT NULL,
    -- How many snapshots there were.
    sequence BIGINT NOT NULL DEFAULT 0,
    snapshot_at BIGINT NOT NULL DEFAULT 0,
    -- When the rows were last read, and how long it took, in milliseconds.
    read_at BIGINT NOT NULL DEFAULT 0,
    read_ms BIGINT NOT NULL DEFAULT 0,
    -- The schema of the snapshot, and the address of the folder of all objects when it was made.
    schema_id BIGINT NOT NULL DEFAULT 0,
    location TEXT,
    metadata_key TEXT,
    -- The metadata of the table, as in the object of that key.
    metadata TEXT,
    manifest_list_key TEXT,
    -- Its files and their manifest, as JSON.
    files TEXT,
    PRIMARY KEY (workspace_id, name)
);

-- The table of an object; absent for those of `records`.
ALTER TABLE lake_objects ADD COLUMN view_name TEXT;
CREATE INDEX lake_objects_of_views ON lake_objects (workspace_id) WHERE view_name IS NOT NULL;
