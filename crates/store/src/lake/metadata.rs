//! The metadata of a table of Apache Iceberg, format version 2.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::segment::writer::{LAKE_COLUMNS, may_be_null};

/// A snapshot of a table.
pub(super) struct TableSnapshot<'a> {
    pub(super) workspace_id: &'a str,
    /// The address of the folder of all objects.
    pub(super) folder: &'a str,
    pub(super) sequence: i64,
    pub(super) snapshot_id: i64,
    /// Epoch milliseconds.
    pub(super) at: i64,
    pub(super) manifest_list_key: &'a str,
    pub(super) files: i64,
    pub(super) rows: i64,
    pub(super) file_bytes: i64,
    pub(super) delete_files: i64,
    pub(super) deleted_rows: i64,
}

/// The schema of sealed files for lakehouses.
pub(super) fn schema() -> Value {
    let field = |(index, name): (usize, &&str)| {
        let kind = match *name {
            "time" => "timestamptz",
            "arrival" => "long",
            _ => "string",
        };
        json!({ "id": index + 1, "name": name, "required": !may_be_null(name), "type": kind, "doc": doc(name) })
    };
    let fields: Vec<Value> = LAKE_COLUMNS.iter().enumerate().map(field).collect();
    json!({ "type": "struct", "schema-id": 0, "fields": fields })
}

fn doc(column: &str) -> &'static str {
    match column {
        "run_id" => "The run that logged the record",
        "time" => "When it was logged",
        "arrival" => "Its number in the run, in order of arrival",
        "severity" => "Its severity, as it was logged",
        "log_type" => "Its kind of log",
        "message" => "Its text",
        "bundle_name" => "The component that logged it",
        "bundle_version" => "The version of the component",
        "pod_name" => "The pod or process that logged it",
        "extra" => "Its other fields, a JSON object",
        "task_id" => "The task of the run",
        "task_name" => "The name of the task when the log was sealed",
        _ => "The status of the run when the log was sealed",
    }
}

impl TableSnapshot<'_> {
    /// The metadata of the table with this snapshot alone.
    pub(super) fn metadata(&self) -> Value {
        let folder = self.folder;
        let sorted_by = |id: u8| json!({ "transform": "identity", "source-id": id, "direction": "asc", "null-order": "nulls-first" });
        let snapshot = json!({
            "snapshot-id": self.snapshot_id,
            "sequence-number": self.sequence,
            "timestamp-ms": self.at,
            "manifest-list": format!("{folder}/{}", self.manifest_list_key),
            "schema-id": 0,
            "summary": {
                "operation": "overwrite",
                "total-data-files": self.files.to_string(),
                "total-records": self.rows.to_string(),
                "total-files-size": self.file_bytes.to_string(),
                "total-delete-files": self.delete_files.to_string(),
                "total-position-deletes": self.deleted_rows.to_string(),
                "total-equality-deletes": "0",
            },
        });
        json!({
            "format-version": 2,
            "table-uuid": table_uuid(self.workspace_id),
            "location": format!("{folder}/{}/{}", crate::objects::keys::LAKE, self.workspace_id),
            "last-sequence-number": self.sequence,
            "last-updated-ms": self.at,
            "last-column-id": LAKE_COLUMNS.len(),
            "schemas": [schema()],
            "current-schema-id": 0,
            "partition-specs": [{ "spec-id": 0, "fields": [] }],
            "default-spec-id": 0,
            "last-partition-id": 999,
            "sort-orders": [
                { "order-id": 0, "fields": [] },
                { "order-id": 1, "fields": [sorted_by(1), sorted_by(2), sorted_by(3)] },
            ],
            "default-sort-order-id": 1,
            "properties": { "gc.enabled": "false", "write.parquet.compression-codec": "zstd" },
            "current-snapshot-id": self.snapshot_id,
            "refs": { "main": { "snapshot-id": self.snapshot_id, "type": "branch" } },
            "snapshots": [snapshot],
            "snapshot-log": [{ "timestamp-ms": self.at, "snapshot-id": self.snapshot_id }],
            "metadata-log": [],
        })
    }
}

/// A UUID of the table; that of a workspace is always the same.
fn table_uuid(workspace_id: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("records of {workspace_id}"))[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
