//! The metadata of a table of Apache Iceberg, format version 2.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::lake::table::{LakeTableKind, TableForm};

/// A snapshot of a table.
pub(super) struct TableSnapshot<'a> {
    pub(super) form: &'a TableForm,
    pub(super) workspace_id: &'a str,
    /// The URL of the folder of all objects.
    pub(super) folder: &'a str,
    pub(super) sequence: i64,
    pub(super) snapshot_id: i64,
    /// The time of the snapshot. Unit: epoch milliseconds.
    pub(super) at: i64,
    pub(super) manifest_list_key: &'a str,
    pub(super) files: i64,
    pub(super) rows: i64,
    pub(super) file_bytes: i64,
    pub(super) delete_files: i64,
    pub(super) deleted_rows: i64,
}

impl TableSnapshot<'_> {
    /// Returns the metadata of the table with this snapshot only.
    pub(super) fn metadata(&self) -> Value {
        let (folder, form) = (self.folder, self.form);
        let mut location = format!("{folder}/{}/{}", crate::objects::keys::LAKE, self.workspace_id);
        // Each table has a separate location, although its objects are in the folder of the workspace.
        if form.kind != LakeTableKind::Records {
            location = format!("{location}/{}", form.kind.name());
        }
        let sorted_by = |id: &i64| json!({ "transform": "identity", "source-id": id, "direction": "asc", "null-order": "nulls-first" });
        let mut sort_orders = vec![json!({ "order-id": 0, "fields": [] })];
        if !form.sorted_by.is_empty() {
            let fields: Vec<Value> = form.sorted_by.iter().map(sorted_by).collect();
            sort_orders.push(json!({ "order-id": form.sort_order_id(), "fields": fields }));
        }
        let snapshot = json!({
            "snapshot-id": self.snapshot_id,
            "sequence-number": self.sequence,
            "timestamp-ms": self.at,
            "manifest-list": format!("{folder}/{}", self.manifest_list_key),
            "schema-id": form.schema_id,
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
            "table-uuid": table_uuid(form.kind, self.workspace_id),
            "location": location,
            "last-sequence-number": self.sequence,
            "last-updated-ms": self.at,
            "last-column-id": form.last_column_id(),
            "schemas": [form.schema()],
            "current-schema-id": form.schema_id,
            "partition-specs": [{ "spec-id": 0, "fields": [] }],
            "default-spec-id": 0,
            "last-partition-id": 999,
            "sort-orders": sort_orders,
            "default-sort-order-id": form.sort_order_id(),
            "properties": { "gc.enabled": "false", "write.parquet.compression-codec": "zstd" },
            "current-snapshot-id": self.snapshot_id,
            "refs": { "main": { "snapshot-id": self.snapshot_id, "type": "branch" } },
            "snapshots": [snapshot],
            "snapshot-log": [{ "timestamp-ms": self.at, "snapshot-id": self.snapshot_id }],
            "metadata-log": [],
        })
    }
}

/// Returns the UUID of a table, which is always the same for a table of a workspace.
fn table_uuid(kind: LakeTableKind, workspace_id: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("{} of {workspace_id}", kind.name()))[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
