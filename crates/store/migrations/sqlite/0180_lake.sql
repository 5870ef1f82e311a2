-- Tables for lakehouses: each workspace has one, of the sealed files that hold its runs alone.

-- The workspace of all runs of the file. Absent: it is in no table, because it may hold runs of several workspaces.
ALTER TABLE segments ADD COLUMN workspace_id TEXT;
-- The group of files in the table; the files of a group are listed in the same manifest.
ALTER TABLE segments ADD COLUMN file_group BIGINT;
-- Bounds and counts of its columns, as JSON.
ALTER TABLE segments ADD COLUMN statistics TEXT;
CREATE INDEX segments_by_group ON segments (workspace_id, file_group) WHERE workspace_id IS NOT NULL;

CREATE TABLE lake_tables (
    workspace_id TEXT PRIMARY KEY,
    -- How many files were ever added, which numbers the groups.
    files BIGINT NOT NULL,
    -- Counts up when rows of the table come or go.
    version BIGINT NOT NULL,
    -- The version that the current snapshot shows.
    published BIGINT NOT NULL DEFAULT -1,
    -- How many snapshots there were.
    sequence BIGINT NOT NULL DEFAULT 0,
    snapshot_at BIGINT NOT NULL DEFAULT 0,
    -- The address of the folder of all objects when the snapshot was made: manifests name files by their addresses.
    location TEXT,
    metadata_key TEXT,
    -- The metadata of the table, as in the object of that key.
    metadata TEXT,
    manifest_list_key TEXT
);

CREATE TABLE lake_groups (
    workspace_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    -- The version of the table with which the group changed last.
    version BIGINT NOT NULL,
    -- The version of the group that its manifests show, and the manifests, as JSON.
    published BIGINT NOT NULL DEFAULT -1,
    manifests TEXT,
    PRIMARY KEY (workspace_id, number)
);

-- Manifests and other objects of the tables. Those that were replaced are kept for readers that are under way.
CREATE TABLE lake_objects (
    object_key TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    replaced_at BIGINT
);
CREATE INDEX lake_objects_replaced ON lake_objects (replaced_at) WHERE replaced_at IS NOT NULL;
