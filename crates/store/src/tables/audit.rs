//! The audit log: which callers read, downloaded, pushed, changed and deleted which data.

use az::SaturatingAs;
use futures::future::BoxFuture;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{TimeRange, Timestamp, planted};
use sqlx_macros::FromRow;

use crate::catalog::audit_context::AuditContext;
use crate::catalog::columns::instant;
use crate::catalog::group_commit::GroupedWrite;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::catalog::transaction::WriteTransaction;
use crate::core::Core;
use crate::error::Result;
use crate::parts::AuditLog;

/// The action of the audit entry of a deleted user: the entry distinguishes a copy of the archive from another archive.
pub const DELETE_USER: &str = "delete user";
/// The action of the entry of a deleted environment, for the same purpose.
pub const DELETE_ENVIRONMENT: &str = "delete environment";

/// Selects audit entries. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Entries in this range of time.
    pub range: TimeRange,
    /// Entries of this caller.
    pub caller_id: Option<String>,
    /// Entries about this subject, such as a run id, including entries with two subjects of which this is one.
    pub subject: Option<String>,
    /// Maximum number of entries to return.
    pub limit: u64,
    /// Number of entries to skip.
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
    /// Commits a change, and in the same transaction the audit entry of the call's [`AuditContext`], if it has one.
    /// `made` is the id of the object that the change created.
    pub(crate) async fn commit_change(&self, transaction: WriteTransaction, made: Option<&str>) -> Result<()> {
        let Some(audit_context) = self.audit_context() else { return transaction.commit().await };
        let made = made.filter(|_| audit_context.entry().subject.is_empty()).map(str::to_owned);
        self.commit_with_entry(transaction, made).await
    }

    /// Commits changes of one kind, each with its own audit entry. `made` has the ids of the objects that they created.
    pub(crate) async fn commit_changes(&self, mut transaction: WriteTransaction, made: &[String]) -> Result<()> {
        let Some(audit_context) = self.audit_context() else { return transaction.commit().await };
        if made.is_empty() {
            return transaction.commit().await;
        }
        let is_about_another = !audit_context.entry().subject.is_empty();
        let entries: Vec<AuditEntry> = match is_about_another {
            true => made.iter().map(|_| audit_context.entry().clone()).collect(),
            false => made.iter().map(|id| audit_context.with_subject(id.clone()).entry().clone()).collect(),
        };
        if !planted::is("change-without-audit-entry") {
            insert_all(&mut transaction, &entries).await?;
        }
        transaction.commit().await?;
        audit_context.mark_written();
        Ok(())
    }

    /// Commits a deletion with its audit entry, whose subject is the id and the name of the deleted object: after the
    /// deletion, the name is recorded nowhere else.
    pub(crate) async fn commit_deletion(&self, transaction: WriteTransaction, id: &str, name: &str) -> Result<()> {
        self.commit_with_entry(transaction, Some(format!("{id} {name}"))).await
    }

    async fn commit_with_entry(&self, mut transaction: WriteTransaction, subject: Option<String>) -> Result<()> {
        let Some(audit_context) = self.audit_context() else { return transaction.commit().await };
        match subject {
            _ if planted::is("change-without-audit-entry") => {}
            None => insert(&mut transaction, audit_context.entry()).await?,
            Some(subject) => insert(&mut transaction, audit_context.with_subject(subject).entry()).await?,
        }
        transaction.commit().await?;
        audit_context.mark_written();
        Ok(())
    }
}

impl AuditLog {
    /// Records an action that was refused or not performed, such as a part of a request.
    pub async fn record_context(&self, audit_context: &AuditContext) -> Result<()> {
        self.record(audit_context.entry().clone()).await?;
        audit_context.mark_written();
        Ok(())
    }

    /// Records an entry. Returns once it is durable.
    pub async fn record(&self, entry: AuditEntry) -> Result<()> {
        self.core.write_grouped(vec![Box::new(AuditWrite(entry))]).await
    }

    /// Returns the entries that match the filter, newest first, and the number of matches without limit and offset.
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

/// An entry that is written in a transaction with others.
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
        // An action on two subjects, such as the rights of an account in a workspace, is found by either.
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
    insert_all(connection, std::slice::from_ref(entry)).await
}

/// Inserts entries with one statement: a few hundred at most.
async fn insert_all(connection: &mut Connection, entries: &[AuditEntry]) -> Result<()> {
    let mut inserting = Sql::new(
        "INSERT INTO audit (at, caller_id, caller_name, action, subject, status, address, request_id) VALUES ",
    );
    for (index, entry) in entries.iter().enumerate() {
        inserting.push(if index == 0 { "(" } else { ", (" }).push_bind(entry.at.as_millis());
        inserting.push_next(entry.caller_id.clone()).push_next(entry.caller_name.clone());
        // The subject is a part of the path of a request, and may be any text.
        inserting.push_next(entry.action.clone()).push_next(storable(&entry.subject));
        inserting.push_next(i64::from(entry.status));
        inserting.push_next(entry.address.clone()).push_next(entry.request_id.clone()).push(")");
    }
    inserting.build_query().execute(connection).await?;
    Ok(())
}
