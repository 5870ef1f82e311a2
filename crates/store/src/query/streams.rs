//! Numbers of records by task and status in a range of time, from the catalog alone.
//!
//! The records of a slice that is only partly in the range are assumed to be spread evenly over its time, so the
//! numbers are estimates. The numbers of a range that contains whole slices are exact.

use az::SaturatingAs;
use runlog_model::record::SeverityCounts;
use runlog_model::{RunId, TaskId, TimeRange, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;

use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::parts::Query;
use crate::query::scan::plan::push_run_conditions;
use crate::query::scan::request::ScanFilter;

/// The records of the runs of a task that have one status.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamFigures {
    /// The workspace of the runs.
    pub workspace_id: WorkspaceId,
    /// The task.
    pub task_id: TaskId,
    /// The name of the task.
    pub task_name: String,
    /// The status of the runs, such as `execution_failed`.
    pub status: String,
    /// Slices of these runs with a record in the range.
    pub slices: u64,
    /// Their records in the range, estimated.
    pub records: f64,
    /// The length of the texts of these records as they were sent, estimated. Unit: bytes.
    pub bytes: f64,
    /// Their records in the range by severity, estimated from the proportions in each run, and rounded up.
    pub severities: SeverityCounts,
}

#[derive(FromRow)]
struct StreamRow {
    workspace_id: String,
    task_id: String,
    task_name: String,
    status: String,
    slices: i64,
    scaled_records: f64,
    scaled_bytes: f64,
    other: f64,
    trace: f64,
    debug: f64,
    info: f64,
    warn: f64,
    error: f64,
    fatal: f64,
}

impl Query {
    /// Returns the numbers of records in a range by task and status, of some workspaces, tasks and runs, in no
    /// particular order.
    pub async fn streams(
        &self,
        workspace_ids: Option<&[WorkspaceId]>,
        task_ids: Option<&[TaskId]>,
        run_ids: Option<&[RunId]>,
        range: TimeRange,
    ) -> Result<Vec<StreamFigures>> {
        let mut query = Sql::new("SELECT r.workspace_id, r.task_id, t.name AS task_name, r.status");
        query.push(", COUNT(*) AS slices");
        let (first, last) = (range.first_ms(), range.last_ms());
        // The records of a slice in the range. The bounds are integers and therefore safe in the text of the statement.
        let part = format!(
            "((CASE WHEN s.last_time < {last} THEN s.last_time ELSE {last} END \
               - CASE WHEN s.first_time > {first} THEN s.first_time ELSE {first} END + 1) * 1.0 \
              / (s.last_time - s.first_time + 1) * s.records)"
        );
        let sum = |value: &str, name: &str| {
            format!(", CAST(COALESCE(SUM({part} * {value}), 0) AS DOUBLE PRECISION) AS {name}")
        };
        query.push(sum("1.0", "scaled_records"));
        query.push(sum("r.stored_bytes / r.records", "scaled_bytes"));
        for name in ["other", "trace", "debug", "info", "warn", "error", "fatal"] {
            query.push(sum(&format!("r.severity_{name} / r.records"), name));
        }
        query.push(" FROM runs r CROSS JOIN slices s CROSS JOIN tasks t");
        query.push(" WHERE s.run_id = r.id AND t.id = r.task_id AND r.records > 0");
        let filter = ScanFilter {
            workspace_ids: workspace_ids.map(<[_]>::to_vec),
            task_ids: task_ids.map(<[_]>::to_vec),
            run_ids: run_ids.map(<[_]>::to_vec),
            range,
            ..ScanFilter::default()
        };
        push_run_conditions(&mut query, &filter);
        query.push(" AND s.last_time >= ").push_bind(first).push(" AND s.first_time <= ").push_bind(last);
        query.push(" GROUP BY r.workspace_id, r.task_id, t.name, r.status");
        let rows: Vec<StreamRow> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        rows.into_iter().map(StreamRow::into_figures).collect()
    }
}

/// A run and the number of its records in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRecords {
    /// The run.
    pub run_id: RunId,
    /// Its records.
    pub records: i64,
}

impl Query {
    /// Returns the runs that were triggered at or after one time and had records stored at or after another time, of
    /// some workspaces, tasks and runs: at most `limit`, those with the latest records first.
    pub async fn runs_with_new_records(
        &self,
        filter: &ScanFilter,
        triggered_since: Timestamp,
        stored_since: Timestamp,
        limit: u64,
    ) -> Result<Vec<RunRecords>> {
        let mut query = Sql::new("SELECT r.id, r.records FROM runs r WHERE r.records > 0 AND r.triggered_at >= ");
        query.push_bind(triggered_since.as_millis());
        query.push(" AND r.last_record_stored_at >= ").push_bind(stored_since.as_millis());
        push_run_conditions(&mut query, filter);
        query.push(" ORDER BY r.last_record_stored_at DESC LIMIT ").push_bind(limit.saturating_as::<i64>());
        let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let run = |(id, records): (String, i64)| {
            let run_id = id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
            Ok(RunRecords { run_id, records })
        };
        rows.into_iter().map(run).collect()
    }
}

impl StreamRow {
    fn into_figures(self) -> Result<StreamFigures> {
        let undecodable = |_| Error::corrupt("an id of a run does not decode");
        let counts = [self.other, self.trace, self.debug, self.info, self.warn, self.error, self.fatal];
        Ok(StreamFigures {
            workspace_id: self.workspace_id.parse().map_err(undecodable)?,
            task_id: self.task_id.parse().map_err(undecodable)?,
            task_name: self.task_name,
            status: self.status,
            slices: self.slices.saturating_as::<u64>(),
            records: self.scaled_records,
            bytes: self.scaled_bytes,
            // Rounded up, so that a severity with few records is not reported as absent.
            severities: SeverityCounts::from_array(counts.map(|count| count.ceil().saturating_as::<u64>())),
        })
    }
}
