//! Statistics of an archive: its contents per workspace, and pending work.

use std::collections::HashMap;

use az::SaturatingAs;
use sqlx_macros::FromRow;

use crate::error::Result;
use crate::maintain::maintenance::Maintenance;

/// The contents of an archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// The contents of each workspace, ordered by name.
    pub workspaces: Vec<WorkspaceStatistics>,
    /// The files of sealed runs.
    pub sealed: ObjectCount,
    /// The segments that are not sealed.
    pub segments: ObjectCount,
    /// The objects that were replaced and are kept for an hour for calls that are still reading them.
    pub replaced: ObjectCount,
    /// Number of runs that are due for sealing.
    pub runs_to_seal: u64,
}

/// The contents of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceStatistics {
    /// The ID of the workspace.
    pub id: String,
    /// The name of the workspace.
    pub name: String,
    /// Number of runs.
    pub runs: u64,
    /// Number of records of their logs.
    pub records: u64,
    /// Number of bytes of these records in objects.
    pub bytes: u64,
    /// Number of runs under legal hold.
    pub runs_held: u64,
    /// Retention in days; absent without a limit.
    pub retention_days: Option<u64>,
    /// Retention in bytes; absent without a limit.
    pub retention_bytes: Option<u64>,
}

/// Number and size of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCount {
    /// Number of objects.
    pub objects: u64,
    /// Number of bytes of the objects.
    pub bytes: u64,
}

impl Maintenance {
    /// Returns the bytes, records and runs of each workspace, ordered by name, and the pending work of the archive.
    pub async fn statistics(&self) -> Result<Statistics> {
        #[derive(FromRow)]
        struct Row {
            name: String,
            id: String,
            runs: i64,
            records: i64,
            bytes: i64,
            held: i64,
            retention_days: Option<i64>,
            retention_bytes: Option<i64>,
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT w.name, w.id, w.retention_days, w.retention_bytes, COUNT(r.id) AS runs,
                    CAST(COALESCE(SUM(r.records), 0) AS BIGINT) AS records,
                    CAST(COALESCE(SUM(r.stored_bytes), 0) AS BIGINT) AS bytes,
                    CAST(COALESCE(SUM(r.legal_hold), 0) AS BIGINT) AS held
             FROM workspaces w LEFT JOIN runs r ON r.workspace_id = w.id
             GROUP BY w.id, w.name, w.retention_days, w.retention_bytes ORDER BY w.name, w.id",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        let objects: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT merged, CAST(CASE WHEN replaced_at IS NULL THEN 0 ELSE 1 END AS BIGINT), COUNT(*),
                    CAST(SUM(bytes) AS BIGINT) FROM segments GROUP BY 1, 2",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        let to_seal: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE seal_at <= $1")
            .bind(self.core.now().as_millis())
            .fetch_one(self.core.catalog().read())
            .await?;
        let kinds: HashMap<(i64, i64), (i64, i64)> =
            objects.into_iter().map(|(merged, replaced, count, bytes)| ((merged, replaced), (count, bytes))).collect();
        let of = |keys: &[(i64, i64)]| {
            let some = || keys.iter().filter_map(|key| kinds.get(key));
            ObjectCount {
                objects: some().map(|it| it.0.saturating_as::<u64>()).sum(),
                bytes: some().map(|it| it.1.saturating_as::<u64>()).sum(),
            }
        };
        let workspaces = rows.into_iter().map(|row| WorkspaceStatistics {
            id: row.id,
            name: row.name,
            runs: row.runs.saturating_as::<u64>(),
            records: row.records.saturating_as::<u64>(),
            bytes: row.bytes.saturating_as::<u64>(),
            runs_held: row.held.saturating_as::<u64>(),
            retention_days: row.retention_days.map(|days| days.saturating_as::<u64>()),
            retention_bytes: row.retention_bytes.map(|bytes| bytes.saturating_as::<u64>()),
        });
        Ok(Statistics {
            workspaces: workspaces.collect(),
            sealed: of(&[(1, 0)]),
            segments: of(&[(0, 0)]),
            replaced: of(&[(0, 1), (1, 1)]),
            runs_to_seal: to_seal.saturating_as::<u64>(),
        })
    }
}
