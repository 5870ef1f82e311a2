//! Summaries of logs, made by analysis and stored beside the runs.
//!
//! The store does not interpret summaries. It finds the logs that lack one, so that any number of nodes can share the
//! work and a crash only repeats it; stores the summaries that they make; and deletes them with the log.
//!
//! ```text
//! sealed ▸ runs.summarize_at ▸ claim_due ▸ … ▸ save_all ▸ one transaction
//! ```

use az::SaturatingAs;
use runlog_model::{ErrorGroupKind, LogAbsence, Run, RunId, Severity, Timestamp, hex, planted};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::error::{Error, Result};
use crate::parts::Summaries;
use crate::tables::collected_runs::absence_of;
use crate::tables::problems::{self, LACKS_A_PROBLEM, NewProblem, ProblemRun, has_failed};
use crate::tables::run_locks::lock_runs;
use crate::tables::runs::RunRow;
use crate::{failpoint, limits};

/// Identifies the contents of a log: it differs whenever the log has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogVersion {
    /// How many times the log was deleted.
    pub epoch: u64,
    /// Records that it holds.
    pub records: u64,
}

/// A log whose summary this node has claimed to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedSummary {
    /// The run.
    pub run_id: RunId,
    /// The version of the log when it was claimed.
    pub log: LogVersion,
    /// True if the run has failed: its problem is determined even if it has no log.
    pub has_failed: bool,
}

/// A summary to store.
#[derive(Debug, Clone)]
pub struct NewSummary {
    /// The claim that it was made for.
    pub of: ClaimedSummary,
    /// The version of the analysis that made it.
    pub version: u32,
    /// The summary, as JSON.
    pub body: Vec<u8>,
    /// The error groups in the log.
    pub error_groups: Vec<NewErrorGroup>,
    /// What the run failed of; `None` for a run that did not fail.
    pub problem: Option<NewProblem>,
}

/// An error group in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewErrorGroup {
    /// What its records have in common.
    pub kind: ErrorGroupKind,
    /// Its id, the same in every run.
    pub id: String,
    /// One line.
    pub title: String,
    /// The highest severity of its records.
    pub severity: Severity,
    /// How many records.
    pub records: u64,
    /// The time of the first.
    pub first: Timestamp,
    /// The time of the last.
    pub last: Timestamp,
}

/// Reads the kind of an error group from a row.
pub(crate) fn group_kind(text: &str) -> Result<ErrorGroupKind> {
    let kind = ErrorGroupKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    kind.ok_or_else(|| Error::corrupt("the kind of an error group does not decode"))
}

/// A run, the version of its log, and its summary.
#[derive(Debug, Clone)]
pub struct LogSummary {
    /// The run.
    pub run: Run,
    /// The version of the log now.
    pub log: LogVersion,
    /// The earliest time at which the log is sealed; `None` when it is sealed or empty.
    pub seal_at: Option<Timestamp>,
    /// The summary; it may be of an earlier version of the log.
    pub summary: Option<StoredSummary>,
    /// Why the run has no log, if it has ended without one.
    pub absence: Option<LogAbsence>,
}

/// A stored summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSummary {
    /// The version of the log that it was made from.
    pub log: LogVersion,
    /// The version of the analysis that made it.
    pub version: u32,
    /// When it was made.
    pub made_at: Timestamp,
    /// The summary, as JSON.
    pub body: Vec<u8>,
}

#[derive(FromRow)]
struct DueRow {
    id: String,
    records: i64,
    log_epoch: i64,
    has_failed: i64,
}

#[derive(FromRow)]
pub(crate) struct SummaryRow {
    run_id: String,
    log_epoch: i64,
    records: i64,
    version: i64,
    made_at: i64,
    body: Vec<u8>,
    sha256: String,
}

/// What is selected of `runs` for a [`DueRow`].
const DUE_COLUMNS: &str = concat!(
    "id, records, log_epoch, CAST(CASE WHEN final_since IS NOT NULL AND ",
    has_failed!(),
    " THEN 1 ELSE 0 END AS BIGINT) AS has_failed"
);

impl Summaries {
    /// Makes some summaries due that an older version of the analysis made, and those of some failed runs without a
    /// problem; the logs of the latest runs are due first. Returns how many: 0 when none is left. Call it repeatedly
    /// while nothing else is due, and after it has returned 0, call it again occasionally.
    ///
    /// At that point, it also removes remaining problem data of logs that were deleted by nodes of a version without
    /// problems: during an upgrade, such a node may run alongside others for a while, and removes runs from the due
    /// list that it does not support.
    pub async fn invalidate_older(&self, version: u32) -> Result<u64> {
        let unexplained: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT id FROM runs WHERE summarize_at IS NULL AND seal_at IS NULL AND {LACKS_A_PROBLEM} LIMIT $1"
        )))
        .bind(limits::SUMMARIES_INVALIDATED_TOGETHER)
        .fetch_all(self.core.catalog().read())
        .await?;
        let outdated: Vec<String> = sqlx::query_scalar(
            "SELECT s.run_id FROM summaries s JOIN runs r ON r.id = s.run_id
             WHERE s.version < $1 AND r.summarize_at IS NULL AND r.seal_at IS NULL AND r.records > 0 LIMIT $2",
        )
        .bind(i64::from(version))
        .bind(limits::SUMMARIES_INVALIDATED_TOGETHER)
        .fetch_all(self.core.catalog().read())
        .await?;
        if unexplained.is_empty() && outdated.is_empty() {
            problems::remove_stale(&self.core).await?;
            return Ok(0);
        }
        let now = self.core.shared_now().as_millis();
        let mut invalidating =
            Sql::new("UPDATE runs SET summarize_at = CASE WHEN COALESCE(finished_at, final_since) < ");
        invalidating.push_bind(now).push(" THEN COALESCE(finished_at, final_since) ELSE ").push_bind(now);
        invalidating
            .push(" END WHERE summarize_at IS NULL AND seal_at IS NULL AND id IN (SELECT id FROM runs WHERE id IN (");
        invalidating.push_list(unexplained.into_iter().chain(outdated));
        // In the order in which others lock them.
        invalidating.push(") ORDER BY id").push(self.core.catalog().for_update()).push(")");
        Ok(invalidating.build_query().execute(self.core.catalog().write()).await?.rows_affected())
    }

    /// Claims logs whose summary is due: a few large ones or many small ones; none when no summary is due.
    ///
    /// The summaries that became due last are claimed first: a run that has just failed is more urgent than a backlog,
    /// such as that of an upgrade.
    pub async fn claim_due(&self, version: u32) -> Result<Vec<ClaimedSummary>> {
        loop {
            let due = self.list_due().await?;
            let skipped = self.skip_unchanged(version, &due).await?;
            let claimed = self.claim(due).await?;
            // If all that were listed were skipped, there may be others.
            if !claimed.is_empty() || skipped == 0 {
                return Ok(claimed);
            }
        }
    }

    /// The IDs of some runs whose summaries are due.
    async fn list_due(&self) -> Result<Vec<String>> {
        let due: Vec<DueRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {DUE_COLUMNS} FROM runs WHERE summarize_at <= $1 AND summarize_claimed_until < $1
             ORDER BY summarize_at DESC LIMIT $2"
        )))
        .bind(self.core.catalog_now().await?.as_millis())
        .bind(limits::SUMMARIES_MAX)
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut records = 0;
        let fits = |run: &&DueRow| {
            let is_first = records == 0;
            records += run.records.max(1);
            is_first || records <= limits::SUMMARY_RECORDS_MAX
        };
        Ok(due.iter().take_while(fits).map(|run| run.id.clone()).collect())
    }

    async fn claim(&self, ids: Vec<String>) -> Result<Vec<ClaimedSummary>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.core.catalog_now().await?;
        let mut claiming = Sql::new("UPDATE runs SET summarize_claimed_until = ");
        claiming.push_bind(now.plus_millis(limits::SUMMARY_LEASE_MS).as_millis());
        claiming.push(" WHERE id IN (SELECT id FROM runs WHERE id IN (").push_list(ids);
        // Since they were listed, one may have been deleted or summarized.
        match planted::is("claimed-without-looking-again") {
            true => claiming.push(")"),
            false => claiming.push(") AND summarize_at <= ").push_bind(now.as_millis()),
        };
        claiming.push(" AND summarize_claimed_until < ").push_bind(now.as_millis());
        claiming.push(self.core.catalog().skip_locked()).push(") RETURNING ").push(DUE_COLUMNS);
        let claimed: Vec<DueRow> = claiming.build_query_as().fetch_all(self.core.catalog().write()).await?;
        claimed.into_iter().map(DueRow::into_claimed).collect()
    }

    /// Skips those of some logs that were sealed again without having changed: their summary is still valid. Returns how
    /// many.
    async fn skip_unchanged(&self, version: u32, ids: &[String]) -> Result<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut skipping =
            Sql::new("UPDATE runs SET summarize_at = NULL, summarize_claimed_until = 0 WHERE summarize_at <= ");
        skipping.push_bind(self.core.shared_now().as_millis()).push(" AND id IN (").push_list(ids.to_vec());
        skipping.push(
            ") AND (records = 0 OR EXISTS (SELECT 1 FROM summaries s WHERE s.run_id = runs.id
                AND s.log_epoch = runs.log_epoch AND s.records = runs.records AND s.version >= ",
        );
        skipping.push_bind(i64::from(version)).push(format!(")) AND NOT ({LACKS_A_PROBLEM})"));
        Ok(skipping.build_query().execute(self.core.catalog().write()).await?.rows_affected())
    }

    /// Stores summaries, replacing earlier ones, and counts failed runs to their problems. The summary of a log that
    /// has changed in the meantime is not stored, and stays due.
    pub async fn save_all(&self, summaries: &[NewSummary]) -> Result<()> {
        if summaries.is_empty() {
            return Ok(());
        }
        let bodies: Vec<Vec<u8>> = summaries.iter().map(|summary| summary.body.clone()).collect();
        // Before the transaction: others wait for its locks.
        let compressing = move || bodies.iter().map(|body| CompressedBody::of(body)).collect::<Result<Vec<_>>>();
        let bodies = self.core.cpu().run(compressing).await?;
        let now = self.core.catalog_now().await?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                lock_runs(&self.core, &mut transaction, summaries.iter().map(|it| it.of.run_id.to_string())).await?;
                let mut of_problems = Vec::new();
                for (summary, body) in summaries.iter().zip(&bodies) {
                    of_problems.extend(save(&mut transaction, summary, body, now).await?);
                }
                problems::assign(&mut transaction, &of_problems, now).await?;
                failpoint::reach("summary-before-rows");
                transaction.commit().await
            })
            .await
    }

    /// Renews claims whose summaries are being made. Call it every [`limits::SUMMARY_RENEW_MS`], and no more once they are
    /// stored or postponed.
    pub async fn renew_claims(&self, claimed: &[ClaimedSummary]) -> Result<()> {
        if claimed.is_empty() {
            return Ok(());
        }
        let until = self.core.catalog_now().await?.plus_millis(limits::SUMMARY_LEASE_MS);
        let mut renewing = Sql::new("UPDATE runs SET summarize_claimed_until = ");
        renewing.push_bind(until.as_millis()).push(" WHERE summarize_claimed_until > 0 AND id IN (");
        renewing.push("SELECT id FROM runs WHERE id IN (").push_list(claimed.iter().map(|it| it.run_id.to_string()));
        renewing.push(") ORDER BY id").push(self.core.catalog().for_update()).push(")");
        renewing.build_query().execute(self.core.catalog().write()).await?;
        Ok(())
    }

    /// Postpones a summary that could not be made.
    pub async fn postpone(&self, due: &ClaimedSummary) -> Result<()> {
        sqlx::query("UPDATE runs SET summarize_claimed_until = $2 WHERE id = $1")
            .bind(due.run_id.to_string())
            .bind(self.core.catalog_now().await?.plus_millis(limits::SUMMARY_RETRY_MS).as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns a run with the summary of its log; `None` when there is no such run.
    pub async fn get(&self, run_id: RunId) -> Result<Option<LogSummary>> {
        #[derive(FromRow)]
        struct Row {
            #[sqlx(flatten)]
            run: RunRow,
            seal_at: Option<i64>,
        }
        let row: Option<Row> = sqlx::query_as("SELECT * FROM runs WHERE id = $1")
            .bind(run_id.to_string())
            .fetch_optional(self.core.catalog().read())
            .await?;
        let Some(Row { run, seal_at }) = row else { return Ok(None) };
        let kept: Option<SummaryRow> = sqlx::query_as("SELECT * FROM summaries WHERE run_id = $1")
            .bind(run_id.to_string())
            .fetch_optional(self.core.catalog().read())
            .await?;
        let epoch = run.log_state().log_epoch.saturating_as::<u64>();
        let run = run.into_run()?;
        let log = LogVersion { epoch, records: run.records };
        // A summary of a log that was deleted since does not apply to the current log.
        let kept = kept.map(SummaryRow::into_stored).transpose()?.filter(|kept| kept.log.epoch == epoch);
        let absence = absence_of(&self.core, &run).await?;
        Ok(Some(LogSummary { run, log, seal_at: seal_at.map(instant).transpose()?, summary: kept, absence }))
    }
}

/// The body of a summary as it is stored.
struct CompressedBody {
    bytes: Vec<u8>,
    sha256: String,
}

impl CompressedBody {
    fn of(body: &[u8]) -> Result<Self> {
        let bytes = zstd::bulk::compress(body, limits::SUMMARY_ZSTD_LEVEL).map_err(|error| {
            Error::caused(crate::ErrorKind::Unavailable, "a summary could not be compressed", error)
        })?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Self { bytes, sha256 })
    }
}

/// Stores a summary, and returns what its run has failed of, or had; nothing if the summary was not stored.
async fn save<'s>(
    connection: &mut Connection,
    summary: &'s NewSummary,
    body: &CompressedBody,
    now: Timestamp,
) -> Result<Option<ProblemRun<'s>>> {
    let ClaimedSummary { run_id, log, .. } = summary.of;
    let id = run_id.to_string();
    // A run that has failed since it was claimed stays due, so that its problem is determined.
    let settled = sqlx::query(concat!(
        "UPDATE runs SET summarize_claimed_until = 0,
                summarize_at = CASE WHEN $4 = 0 AND final_since IS NOT NULL AND ",
        has_failed!(),
        " THEN summarize_at ELSE NULL END
         WHERE id = $1 AND log_epoch = $2 AND records = $3"
    ))
    .bind(&id)
    .bind(log.epoch.saturating_as::<i64>())
    .bind(log.records.saturating_as::<i64>())
    .bind(i64::from(summary.problem.is_some()))
    .execute(&mut *connection)
    .await?;
    if settled.rows_affected() != 1 && !planted::is("summary-of-an-older-log") {
        sqlx::query("UPDATE runs SET summarize_claimed_until = $2 WHERE id = $1")
            .bind(&id)
            .bind(now.plus_millis(limits::SUMMARY_RETRY_MS).as_millis())
            .execute(&mut *connection)
            .await?;
        return Ok(None);
    }
    let of_problem = ProblemRun { run_id, problem: summary.problem.as_ref(), is_made_otherwise: false };
    if log.records == 0 {
        return Ok(Some(of_problem));
    }
    let before: Option<i64> = sqlx::query_scalar("SELECT version FROM summaries WHERE run_id = $1 AND log_epoch = $2")
        .bind(&id)
        .bind(log.epoch.saturating_as::<i64>())
        .fetch_optional(&mut *connection)
        .await?;
    let is_made_otherwise = before.is_some_and(|version| version < i64::from(summary.version));
    let kept = sqlx::query(
        "INSERT INTO summaries (run_id, log_epoch, records, version, made_at, body, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (run_id) DO UPDATE SET log_epoch = excluded.log_epoch, records = excluded.records,
                version = excluded.version, made_at = excluded.made_at, body = excluded.body, sha256 = excluded.sha256
         WHERE summaries.version <= excluded.version",
    )
    .bind(&id)
    .bind(log.epoch.saturating_as::<i64>())
    .bind(log.records.saturating_as::<i64>())
    .bind(i64::from(summary.version))
    .bind(now.as_millis())
    .bind(&body.bytes)
    .bind(&body.sha256)
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() != 1 {
        // A newer version has made one, perhaps of an earlier state of the log: then it makes this one as well.
        sqlx::query(
            "UPDATE runs SET summarize_at = $2, summarize_claimed_until = $3 WHERE id = $1 AND NOT EXISTS (
                SELECT 1 FROM summaries s WHERE s.run_id = $1 AND s.log_epoch = $4 AND s.records = $5)",
        )
        .bind(&id)
        .bind(now.as_millis())
        .bind(now.plus_millis(limits::SUMMARY_RETRY_MS).as_millis())
        .bind(log.epoch.saturating_as::<i64>())
        .bind(log.records.saturating_as::<i64>())
        .execute(&mut *connection)
        .await?;
        return Ok(None);
    }
    replace_error_groups(connection, &id, &summary.error_groups).await?;
    Ok(Some(ProblemRun { is_made_otherwise, ..of_problem }))
}

async fn replace_error_groups(connection: &mut Connection, run_id: &str, groups: &[NewErrorGroup]) -> Result<()> {
    sqlx::query("DELETE FROM problems WHERE run_id = $1").bind(run_id).execute(&mut *connection).await?;
    for group in groups {
        sqlx::query(
            "INSERT INTO problems (run_id, task_id, kind, id, title, severity, records, first_time, last_time)
             SELECT $1, task_id, $2, $3, $4, $5, $6, $7, $8 FROM runs WHERE id = $1",
        )
        .bind(run_id)
        .bind(group.kind.as_str())
        .bind(&group.id)
        .bind(storable(&group.title))
        .bind(group.severity as i64)
        .bind(group.records.saturating_as::<i64>())
        .bind(group.first.as_millis())
        .bind(group.last.as_millis())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

impl DueRow {
    fn into_claimed(self) -> Result<ClaimedSummary> {
        let run_id = self.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        Ok(ClaimedSummary {
            run_id,
            log: LogVersion {
                epoch: self.log_epoch.saturating_as::<u64>(),
                records: self.records.saturating_as::<u64>(),
            },
            has_failed: self.has_failed != 0,
        })
    }
}

impl SummaryRow {
    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The summary, when its bytes are those that were written.
    pub(crate) fn into_stored(self) -> Result<StoredSummary> {
        if hex::encode(Sha256::digest(&self.body)) != self.sha256 {
            return Err(Error::corrupt(format!("the summary of run {} is not what was written", self.run_id)));
        }
        let body = zstd::bulk::decompress(&self.body, limits::SUMMARY_BYTES_MAX).map_err(|error| {
            let message = format!("the summary of run {} does not decode", self.run_id);
            Error::caused(crate::ErrorKind::Corrupt, message, error)
        })?;
        Ok(StoredSummary {
            log: LogVersion {
                epoch: self.log_epoch.saturating_as::<u64>(),
                records: self.records.saturating_as::<u64>(),
            },
            version: u32::try_from(self.version).unwrap_or(u32::MAX),
            made_at: instant(self.made_at)?,
            body,
        })
    }
}
