//! The audit log: who read, downloaded, pushed to, changed and deleted what.

use az::SaturatingAs;
use futures::future::BoxFuture;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{TimeRange, Timestamp};
use sqlx::{Any, Transaction};
use sqlx_macros::FromRow;

use crate::catalog::audit_context::AuditContext;
use crate::catalog::columns::instant;
use crate::catalog::group_commit::GroupedWrite;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::core::Core;
use crate::error::Result;
use crate::parts::AuditLog;

/// Which entries are wanted. Absent parts ask for all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Those of a range of time.
    pub range: TimeRange,
    /// Those of one caller, by id.
    pub caller_id: Option<String>,
    /// Those of one subject, such as a run's id; also where it is one of two.
    pub subject: Option<String>,
    /// At most so many.
    pub limit: u64,
    /// After so many.
    pub offset: u64,
}

#[derive(FromRow)]
struct Row {
    at: i64,
    caller_id: String,
    caller_name: String,
    action: String,
    subject: String,
    status: i64,
    address: String,
    request_id: String,
}

impl Core {
    /// Commits a change. Where a [`AuditContext`] was named for it, it is written down in the same transaction; `made` is the id
    /// of what is made.
    pub(crate) async fn commit_change(&self, mut transaction: Transaction<'_, Any>, made: Option<&str>) -> Result<()> {
        let Some(audit_context) = self.audit_context() else { return Ok(transaction.commit().await?) };
        match made.filter(|_| audit_context.entry().subject.is_empty()) {
            None => insert(&mut transaction, audit_context.entry()).await?,
            Some(made) => insert(&mut transaction, audit_context.with_subject(made.to_owned()).entry()).await?,
        }
        transaction.commit().await?;
        audit_context.mark_written();
        Ok(())
    }
}

impl AuditLog {
    /// Writes down that something was not done, such as a part of a request that was refused.
    pub async fn record_context(&self, audit_context: &AuditContext) -> Result<()> {
        self.record(audit_context.entry().clone()).await?;
        audit_context.mark_written();
        Ok(())
    }

    /// Writes an entry down, and comes back once it is durable.
    pub async fn record(&self, entry: AuditEntry) -> Result<()> {
        self.core.write_grouped(vec![Box::new(AuditWrite(entry))]).await
    }

    /// The entries that `filter` asks for, newest first, and how many there are without limit and offset.
    pub async fn entries(&self, filter: &AuditFilter) -> Result<(Vec<AuditEntry>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM audit WHERE TRUE");
        push_filter(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        let mut listing = Sql::new("SELECT * FROM audit WHERE TRUE");
        push_filter(&mut listing, filter);
        listing.push(" ORDER BY at DESC, id DESC LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<Row> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        Ok((rows.into_iter().map(Row::into_entry).collect::<Result<_>>()?, total.saturating_as::<u64>()))
    }
}

/// An entry that is written beside others.
pub(crate) struct AuditWrite(pub(crate) AuditEntry);

impl GroupedWrite for AuditWrite {
    fn insert<'c>(&'c self, connection: &'c mut Connection) -> BoxFuture<'c, Result<()>> {
        Box::pin(insert(connection, &self.0))
    }
}

fn push_filter(query: &mut Sql, filter: &AuditFilter) {
    for (condition, time) in [(" AND at >= ", filter.range.start), (" AND at <= ", filter.range.end)] {
        if let Some(time) = time {
            query.push(condition).push_bind(time.as_millis());
        }
    }
    if let Some(caller_id) = &filter.caller_id {
        query.push(" AND caller_id = ").push_bind(caller_id.clone());
    }
    if let Some(subject) = &filter.subject {
        // What is done to two things, such as rights of an account on a workspace, is found by either.
        let escaped = subject.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        query.push(" AND (subject = ").push_bind(subject.clone());
        query.push(" OR subject LIKE ").push_bind(format!("{escaped} %")).push(" ESCAPE '\\'");
        query.push(" OR subject LIKE ").push_bind(format!("% {escaped}")).push(" ESCAPE '\\')");
    }
}

impl Row {
    fn into_entry(self) -> Result<AuditEntry> {
        let at: Timestamp = instant(self.at)?;
        Ok(AuditEntry {
            at,
            caller_id: self.caller_id,
            caller_name: self.caller_name,
            action: self.action,
            subject: self.subject,
            status: self.status.saturating_as::<u16>(),
            address: self.address,
            request_id: self.request_id,
        })
    }
}

async fn insert(connection: &mut Connection, entry: &AuditEntry) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (at, caller_id, caller_name, action, subject, status, address, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(entry.at.as_millis())
    .bind(&entry.caller_id)
    .bind(&entry.caller_name)
    .bind(&entry.action)
    // It is a part of a path, and may be whatever somebody wrote there.
    .bind(storable(&entry.subject))
    .bind(i64::from(entry.status))
    .bind(&entry.address)
    .bind(&entry.request_id)
    .execute(connection)
    .await?;
    Ok(())
}
