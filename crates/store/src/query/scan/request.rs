//! The request of a scan: the records and columns to read.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use runlog_model::{RunId, TaskId, TimeRange, WorkspaceId};

/// Selects records. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct ScanFilter {
    /// Records of runs of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Records of runs of these tasks.
    pub task_ids: Option<Vec<TaskId>>,
    /// Records of these runs.
    pub run_ids: Option<Vec<RunId>>,
    /// Records in this range of time.
    pub range: TimeRange,
    /// Records whose severity is exactly one of these texts.
    pub severities: Option<Vec<String>>,
    /// Records whose message contains each of these texts, with exact case.
    pub message_parts: Vec<String>,
}

/// A column of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanColumn {
    /// The run.
    RunId,
    /// Its task.
    TaskId,
    /// Its workspace.
    WorkspaceId,
    /// When it was logged. A timestamp in milliseconds, UTC.
    Time,
    /// The number of the record in its run, in order of arrival, from 0.
    Arrival,
    /// `TRACE` to `FATAL`, or another text that the engine wrote.
    Severity,
    /// What kind of log it belongs to.
    LogType,
    /// The text.
    Message,
    /// The component or class that logged it.
    BundleName,
    /// Its version.
    BundleVersion,
    /// The pod or host it ran on.
    PodName,
    /// Fields beyond those of the API, as a JSON object.
    Extra,
}

impl ScanColumn {
    /// Every column, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::RunId,
        Self::TaskId,
        Self::WorkspaceId,
        Self::Time,
        Self::Arrival,
        Self::Severity,
        Self::Message,
        Self::LogType,
        Self::BundleName,
        Self::BundleVersion,
        Self::PodName,
        Self::Extra,
    ];

    /// Returns its name, which is also its name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunId => "run_id",
            Self::TaskId => "task_id",
            Self::WorkspaceId => "workspace_id",
            Self::Time => "time",
            Self::Arrival => "arrival",
            Self::Severity => "severity",
            Self::LogType => "log_type",
            Self::Message => "message",
            Self::BundleName => "bundle_name",
            Self::BundleVersion => "bundle_version",
            Self::PodName => "pod_name",
            Self::Extra => "extra",
        }
    }

    fn field(self) -> Field {
        let (kind, may_be_null) = match self {
            Self::Time => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            Self::Arrival => (DataType::Int64, false),
            // Each batch has its own texts: the memory of views of shared texts cannot be accounted for, and the shared
            // texts would be written to temporary files again with each batch that refers to them.
            Self::RunId | Self::TaskId | Self::WorkspaceId => (DataType::LargeUtf8, false),
            _ => (DataType::LargeUtf8, true),
        };
        Field::new(self.name(), kind, may_be_null)
    }

    /// Returns true for columns whose values are in the catalog and not in the files.
    pub(crate) fn is_of_run(self) -> bool {
        matches!(self, Self::RunId | Self::TaskId | Self::WorkspaceId)
    }
}

/// Returns the schema of the batches of a scan of these columns.
pub fn scan_schema(columns: &[ScanColumn]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field()).collect::<Vec<_>>()))
}

/// The records and columns to scan.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    pub(crate) filter: ScanFilter,
    pub(crate) columns: Vec<ScanColumn>,
    pub(crate) schema: SchemaRef,
}

/// A run as passed to a [`DynamicFilter`].
#[derive(Debug, Clone, Copy)]
pub struct ScanRun<'a> {
    /// Its id.
    pub run_id: &'a str,
    /// The id of its task.
    pub task_id: &'a str,
    /// The id of its workspace.
    pub workspace_id: &'a str,
    /// Its status, such as `execution_failed`.
    pub status: &'a str,
}

/// A record as passed to a search or a visit. Fields that are not read are absent.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// Its run.
    pub run: ScanRun<'a>,
    /// When it was logged. Unit: epoch milliseconds.
    pub time_ms: i64,
    /// Its number in its run, in order of arrival, from 0.
    pub arrival: i64,
    /// As it was logged.
    pub severity: Option<&'a str>,
    /// The text.
    pub message: Option<&'a str>,
    /// What kind of log it belongs to.
    pub log_type: Option<&'a str>,
    /// The component or class that logged it.
    pub bundle_name: Option<&'a str>,
    /// Its version.
    pub bundle_version: Option<&'a str>,
    /// The pod or host it ran on.
    pub pod_name: Option<&'a str>,
    /// Fields beyond those of the API, as a JSON object.
    pub extra: Option<&'a str>,
}

/// Narrows a running scan: returns the range of time that is still needed, and for each of these runs whether the run
/// is still needed.
pub type DynamicFilter = dyn Fn(&[ScanRun<'_>]) -> (TimeRange, Vec<bool>) + Send + Sync;
