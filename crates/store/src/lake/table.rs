//! The tables of a namespace, and their columns as Apache Iceberg describes them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use crate::core::LAKE_TABLES;
use crate::query::catalog_views::{CatalogView, ViewColumnType};
use crate::segment::writer::{LAKE_COLUMNS, has_bounds, may_be_null};

/// A table that each workspace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LakeTableKind {
    /// The records of sealed logs. The files of the table are the sealed files.
    Records,
    /// The runs of the workspace.
    Runs,
    /// The tasks of the workspace.
    Tasks,
    /// The component metrics of the runs of the workspace.
    ComponentMetrics,
}

/// The description of a table, which is written to its metadata and manifests.
#[derive(Debug, Clone)]
pub(super) struct TableForm {
    pub(super) kind: LakeTableKind,
    /// The ID of the schema, which increases when a column is added.
    pub(super) schema_id: i64,
    /// The columns, in the order of the columns of the files.
    pub(super) columns: Vec<LakeColumn>,
    /// The IDs of the columns by which the files are sorted; empty if the files are not sorted.
    pub(super) sorted_by: &'static [i64],
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct LakeColumn {
    /// The ID by which engines identify the column. It is never reused for another column.
    pub(super) id: i64,
    pub(super) name: &'static str,
    kind: LakeColumnType,
    may_be_null: bool,
    /// True if bounds of the column are useful.
    pub(super) has_bounds: bool,
    doc: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LakeColumnType {
    Text,
    Number,
    Time,
    Flag,
}

/// The names of the columns of `runs`, by ID starting from 1. Add new columns at the end: the ID of a column never
/// changes.
const RUNS: [&str; 43] = [
    "run_id",
    "task_id",
    "task_name",
    "task_version",
    "workspace_id",
    "workspace_name",
    "environment_name",
    "status",
    "execution_status",
    "execution_type",
    "triggered_at",
    "started_at",
    "finished_at",
    "duration_ms",
    "user_id",
    "user_type",
    "plan_id",
    "plan_name",
    "plan_execution_id",
    "plan_step_id",
    "artifact_name",
    "artifact_version",
    "log_level",
    "attempts",
    "error_type",
    "error_message",
    "misfired_reason",
    "processed_rows",
    "rejected_rows",
    "records",
    "fatal_records",
    "error_records",
    "warn_records",
    "info_records",
    "debug_records",
    "trace_records",
    "other_records",
    "stored_bytes",
    "last_record_stored_at",
    "is_final",
    "legal_hold",
    "problem_id",
    "headline",
];

/// The names of the columns of `tasks`, by ID starting from 1.
const TASKS: [&str; 10] = [
    "task_id",
    "task_name",
    "version",
    "description",
    "tags",
    "workspace_id",
    "workspace_name",
    "environment_id",
    "environment_name",
    "created_at",
];

/// The names of the columns of `component_metrics`, by ID starting from 1.
const COMPONENT_METRICS: [&str; 22] = [
    "run_id",
    "task_id",
    "workspace_id",
    "position",
    "pid",
    "process_id",
    "job_name",
    "connector_id",
    "connector_label",
    "connector_type",
    "target_id",
    "target_label",
    "target_connector_type",
    "connection_name",
    "connection_type",
    "started_at",
    "rows_total",
    "duration_ms",
    "stacktrace",
    "engine_id",
    "operator",
    "extra",
];

impl LakeTableKind {
    /// Every table.
    pub const ALL: [Self; LAKE_TABLES] = [Self::Records, Self::Runs, Self::Tasks, Self::ComponentMetrics];

    /// Returns the name of the table, which is also the name of a table for SQL queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Runs => "runs",
            Self::Tasks => "tasks",
            Self::ComponentMetrics => "component_metrics",
        }
    }

    /// Returns the table with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the catalog view whose rows the table contains; `None` if its rows are in sealed files.
    pub(super) fn view(self) -> Option<CatalogView> {
        match self {
            Self::Records => None,
            Self::Runs => Some(CatalogView::Runs),
            Self::Tasks => Some(CatalogView::Tasks),
            Self::ComponentMetrics => Some(CatalogView::ComponentMetrics),
        }
    }

    /// Returns the names of the columns, by ID starting from 1.
    fn ids(self) -> &'static [&'static str] {
        match self {
            Self::Records => &LAKE_COLUMNS,
            Self::Runs => &RUNS,
            Self::Tasks => &TASKS,
            Self::ComponentMetrics => &COMPONENT_METRICS,
        }
    }

    pub(super) fn form(self) -> TableForm {
        match self.view() {
            None => TableForm { kind: self, schema_id: 0, columns: record_columns(), sorted_by: &[1, 2, 3] },
            Some(view) => {
                let columns = self.view_columns(view);
                let schema_id = columns.iter().map(|column| column.id).max().unwrap_or_default();
                TableForm { kind: self, schema_id, columns, sorted_by: &[] }
            }
        }
    }

    fn view_columns(self, view: CatalogView) -> Vec<LakeColumn> {
        let ids = || (1_i64..).zip(self.ids());
        let columns = view.columns().iter().map(|column| LakeColumn {
            // A test ensures that each column has an ID.
            id: ids().find(|(_, name)| **name == column.name).map_or(0, |(id, _)| id),
            name: column.name,
            kind: match column.kind {
                ViewColumnType::Text => LakeColumnType::Text,
                ViewColumnType::Number => LakeColumnType::Number,
                ViewColumnType::Time => LakeColumnType::Time,
                ViewColumnType::Flag => LakeColumnType::Flag,
            },
            may_be_null: column.may_be_null,
            has_bounds: column.kind != ViewColumnType::Flag && !is_long(column.name),
            doc: None,
        });
        columns.collect()
    }
}

/// Returns true for columns with long text, for which comparisons are not expected.
fn is_long(column: &str) -> bool {
    matches!(column, "description" | "tags" | "error_message" | "misfired_reason" | "headline" | "stacktrace" | "extra")
}

/// Returns the columns of sealed files for lakehouses.
fn record_columns() -> Vec<LakeColumn> {
    let columns = (1_i64..).zip(LAKE_COLUMNS).map(|(id, name)| LakeColumn {
        id,
        name,
        kind: match name {
            "time" => LakeColumnType::Time,
            "arrival" => LakeColumnType::Number,
            _ => LakeColumnType::Text,
        },
        may_be_null: may_be_null(name),
        has_bounds: has_bounds(name),
        doc: Some(match name {
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
        }),
    });
    columns.collect()
}

impl TableForm {
    /// Returns the schema of the table for its metadata.
    pub(super) fn schema(&self) -> Value {
        let fields: Vec<Value> = self.columns.iter().map(LakeColumn::field).collect();
        json!({ "type": "struct", "schema-id": self.schema_id, "fields": fields })
    }

    /// Returns the greatest ID that a column has or had.
    pub(super) fn last_column_id(&self) -> usize {
        self.kind.ids().len()
    }

    /// Returns the ID of the sort order, which is 0 if the files are not sorted.
    pub(super) fn sort_order_id(&self) -> i64 {
        i64::from(!self.sorted_by.is_empty())
    }

    /// Returns the schema of files that are written by this module: text columns have 64-bit offsets, and times are in
    /// microseconds.
    pub(super) fn arrow_schema(&self) -> SchemaRef {
        let field = |column: &LakeColumn| {
            let kind = match column.kind {
                LakeColumnType::Text => DataType::LargeUtf8,
                LakeColumnType::Number => DataType::Int64,
                LakeColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                LakeColumnType::Flag => DataType::Boolean,
            };
            let id = [("PARQUET:field_id".to_owned(), column.id.to_string())];
            Field::new(column.name, kind, column.may_be_null).with_metadata(id.into_iter().collect())
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }
}

impl LakeColumn {
    fn field(&self) -> Value {
        let kind = match self.kind {
            LakeColumnType::Text => "string",
            LakeColumnType::Number => "long",
            LakeColumnType::Time => "timestamptz",
            LakeColumnType::Flag => "boolean",
        };
        let mut field = json!({ "id": self.id, "name": self.name, "required": !self.may_be_null, "type": kind });
        if let Some(doc) = self.doc {
            field["doc"] = doc.into();
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn each_column_has_an_id_of_its_own() {
        for kind in LakeTableKind::ALL {
            let form = kind.form();
            let ids: BTreeSet<i64> = form.columns.iter().map(|column| column.id).collect();
            assert_eq!(ids.len(), form.columns.len(), "{kind:?}: add new columns at the end of the list of its ids");
            assert!(!ids.contains(&0), "{kind:?}: a column has no id");
            assert!(form.last_column_id() >= form.columns.len());
        }
    }

    /// Files identify their columns by ID: if an ID were reused for another column, values would appear in the wrong
    /// column.
    #[test]
    fn ids_never_change() {
        for (kind, count, expected) in [
            (LakeTableKind::Records, 13, "083bf9533efd96e2"),
            (LakeTableKind::Runs, 43, "1d48100f337b36bc"),
            (LakeTableKind::Tasks, 10, "9dd1363ef2b04e1a"),
            (LakeTableKind::ComponentMetrics, 22, "a384b1446706dd9d"),
        ] {
            let digest = runlog_model::hex::encode(Sha256::digest(kind.ids()[..count].join(",")));
            assert_eq!(&digest[..16], expected, "{kind:?}: its first {count} ids");
        }
    }
}
