//! The audit logs of tenants: the actions of users and programs as reported by upstreams, and the progress of the
//! collection.
//!
//! An entry is stored once, identified by its ID. Not to be confused with the audit log of this archive (`audit`).

use std::collections::HashSet;
use std::time::Duration;

use az::SaturatingAs;
use runlog_model::tenant_audit_log::{TenantAuditFields, TenantAuditLog};
use runlog_model::{TimeRange, Timestamp, hex, millis};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::{Sql, storable};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::parts::TenantAuditLogs;

/// Number of IDs that are looked up in one statement.
const IDS_AT_ONCE: usize = 500;
/// Number of entries that are deleted in one statement.
const EXPIRED_AT_ONCE: i64 = 5_000;

/// Selects entries. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct TenantAuditFilter {
    /// Entries in this range of time, both ends included.
    pub range: TimeRange,
    /// Entries of this upstream.
    pub upstream: Option<String>,
    /// Entries of this user, by technical ID, name or mail address; the case of ASCII letters is ignored.
    pub user: Option<String>,
    /// Entries of this application.
    pub application_id: Option<String>,
    /// Entries of this category.
    pub event_category: Option<String>,
    /// Entries of this type.
    pub event_type: Option<String>,
    /// Entries of this operation.
    pub event_operation: Option<String>,
    /// Entries that contain this text anywhere, as it is written in JSON; the case of ASCII letters is ignored.
    pub text: Option<String>,
    /// Most entries to return.
    pub limit: u64,
    /// How many entries to skip.
    pub offset: u64,
}

/// An entry of the archive.
#[derive(Debug, Clone)]
pub struct StoredTenantAuditLog {
    /// Its ID.
    pub id: String,
    /// Its number, in the order in which entries were stored.
    pub sequence: u64,
    /// The upstream that reported it.
    pub upstream: String,
    /// When it was registered or, if that is absent, when it was stored.
    pub time: Timestamp,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The fields of the entry.
    pub fields: TenantAuditFields,
    /// The entry to the letter, as JSON.
    pub body: Box<RawValue>,
}

/// The collection of the audit logs of an upstream, leased to a collector.
#[derive(Debug, Clone)]
pub struct ClaimedAuditLogs {
    /// The upstream.
    pub upstream: String,
    /// All entries before this time are stored, except late ones; `None` if nothing was collected.
    pub listed_until: Option<Timestamp>,
    /// When late entries were last searched for.
    pub looked_back_at: Option<Timestamp>,
    claim: String,
}

/// The state of the collection of the audit logs of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLogCollection {
    /// All entries before this time are stored, except late ones. Unit: epoch milliseconds.
    pub listed_until: Option<i64>,
    /// Number of stored entries.
    pub entries: u64,
    /// Why the last round failed or was incomplete.
    pub problem: Option<String>,
}

#[derive(FromRow)]
pub(crate) struct Row {
    log_id: String,
    sequence: i64,
    upstream: String,
    at: i64,
    stored_at: i64,
    request_id: Option<String>,
    account_id: Option<String>,
    application_id: Option<String>,
    event_category: Option<String>,
    event_type: Option<String>,
    event_operation: Option<String>,
    user_id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    client_ip: Option<String>,
    method: Option<String>,
    url: Option<String>,
    user_agent: Option<String>,
    status: Option<String>,
    body: String,
}

impl TenantAuditLogs {
    /// Stores the entries that the archive does not have, in one transaction. Returns how many that were.
    ///
    /// An entry without an ID is identified by its text; one without a time gets that of now.
    pub async fn store(&self, upstream: &str, entries: &[TenantAuditLog]) -> Result<u64> {
        let now = self.core.now().as_millis();
        let entries: Vec<(String, &TenantAuditLog)> = entries.iter().map(|entry| (id_of(entry), entry)).collect();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // The row stays locked until the transaction ends: the next writer reads the entries stored here.
                let most = entries.len().saturating_as::<i64>();
                let mut sequence: i64 = sqlx::query_scalar(
                    "UPDATE tenant_audit_sequence SET next = next + $1 WHERE name = 'entries' RETURNING next - $1",
                )
                .bind(most)
                .fetch_one(&mut *transaction)
                .await?;
                let mut known: HashSet<String> = HashSet::new();
                for some in entries.chunks(IDS_AT_ONCE) {
                    let mut knowing = Sql::new("SELECT log_id FROM tenant_audit_logs WHERE log_id IN (");
                    knowing.push_list(some.iter().map(|(id, _)| id.clone())).push(")");
                    let found: Vec<String> = knowing.build_query_scalar().fetch_all(&mut *transaction).await?;
                    known.extend(found);
                }
                let mut stored = 0;
                for (id, entry) in &entries {
                    if !known.insert(id.clone()) {
                        continue;
                    }
                    let fields = &entry.fields;
                    let mut inserting = Sql::new(
                        "INSERT INTO tenant_audit_logs (log_id, sequence, upstream, at, body, stored_at, request_id,
                         account_id, application_id, event_category, event_type, event_operation, user_id, username,
                         email, client_ip, method, url, user_agent, status) VALUES (",
                    );
                    inserting.push_bind(id.clone()).push(", ").push_bind(sequence).push(", ");
                    inserting.push_bind(upstream.to_owned()).push(", ");
                    inserting.push_bind(entry.time.map_or(now, Timestamp::as_millis)).push(", ");
                    inserting.push_bind(entry.body.get().to_owned()).push(", ").push_bind(now).push(", ");
                    let texts = [
                        &fields.request_id,
                        &fields.account_id,
                        &fields.application_id,
                        &fields.event_category,
                        &fields.event_type,
                        &fields.event_operation,
                        &fields.user_id,
                        &fields.username,
                        &fields.email,
                        &fields.client_ip,
                        &fields.method,
                        &fields.url,
                        &fields.user_agent,
                        &fields.status,
                    ];
                    inserting.push_list(texts.map(|text| text.as_deref().map(storable))).push(")");
                    inserting.build_query().execute(&mut *transaction).await?;
                    sequence += 1;
                    stored += 1;
                }
                transaction.commit().await?;
                Ok(stored)
            })
            .await
    }

    /// Returns the entries that match the filter, newest first, and how many match without limit and offset.
    pub async fn list(&self, filter: &TenantAuditFilter) -> Result<(Vec<StoredTenantAuditLog>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM tenant_audit_logs WHERE TRUE");
        push_filter(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        let mut listing = Sql::new("SELECT * FROM tenant_audit_logs WHERE TRUE");
        push_filter(&mut listing, filter);
        listing.push(" ORDER BY at DESC, log_id DESC LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<Row> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let entries = rows.into_iter().map(Row::into_entry).collect::<Result<_>>()?;
        Ok((entries, total.saturating_as::<u64>()))
    }

    /// Returns the time of the entry with an ID; `None` if there is no such entry.
    pub async fn time_of(&self, id: &str) -> Result<Option<Timestamp>> {
        let at: Option<i64> = sqlx::query_scalar("SELECT at FROM tenant_audit_logs WHERE log_id = $1")
            .bind(storable(id))
            .fetch_optional(self.core.catalog().read())
            .await?;
        at.map(instant).transpose()
    }

    /// The time before which entries are too old if they are kept for so long.
    pub async fn oldest_kept(&self, keep: Duration) -> Result<Timestamp> {
        Ok(self.core.earliest_now().await?.plus_millis(-millis(keep)))
    }

    /// Deletes the entries of an upstream before a time, some at a time, and what sinks said of them. Returns how many that
    /// were.
    pub async fn expire(&self, upstream: &str, before: Timestamp) -> Result<u64> {
        let mut expired = 0;
        loop {
            let done = sqlx::query(
                "DELETE FROM tenant_audit_logs WHERE log_id IN
                 (SELECT log_id FROM tenant_audit_logs WHERE upstream = $1 AND at < $2 LIMIT $3)",
            )
            .bind(upstream)
            .bind(before.as_millis())
            .bind(EXPIRED_AT_ONCE)
            .execute(self.core.catalog().write())
            .await?;
            expired += done.rows_affected();
            if done.rows_affected() < EXPIRED_AT_ONCE.saturating_as::<u64>() {
                break;
            }
        }
        if expired > 0 {
            sqlx::query(
                "DELETE FROM tenant_audit_dead_letters WHERE NOT EXISTS
                 (SELECT 1 FROM tenant_audit_logs a WHERE a.log_id = tenant_audit_dead_letters.log_id)",
            )
            .execute(self.core.catalog().write())
            .await?;
        }
        Ok(expired)
    }

    /// Claims the collection of the audit logs of an upstream with a lease until `until`; `None` while another collector
    /// has it.
    pub async fn claim(&self, upstream: &str, until: Timestamp) -> Result<Option<ClaimedAuditLogs>> {
        let now = self.core.catalog_now().await?.as_millis();
        let until = self.core.catalog_time(until).await?;
        let claim = self.core.random().uuid().to_string();
        let row: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(
            "INSERT INTO collected_audit_logs (upstream, claim, claimed_until) VALUES ($1, $2, $3)
             ON CONFLICT (upstream) DO UPDATE SET claim = excluded.claim, claimed_until = excluded.claimed_until
             WHERE collected_audit_logs.claimed_until < $4 RETURNING listed_until, looked_back_at",
        )
        .bind(upstream)
        .bind(&claim)
        .bind(until.as_millis())
        .bind(now)
        .fetch_optional(self.core.catalog().write())
        .await?;
        Ok(row.map(|(listed_until, looked_back_at)| ClaimedAuditLogs {
            upstream: upstream.to_owned(),
            listed_until: listed_until.map(Timestamp::clamped),
            looked_back_at: looked_back_at.map(Timestamp::clamped),
            claim,
        }))
    }

    /// Records that every entry before a time is stored, and renews the lease until `until`. An earlier time than before is
    /// ignored. `Conflict`: another collector has taken over.
    pub async fn advance(
        &self,
        claimed: &mut ClaimedAuditLogs,
        listed_until: Timestamp,
        until: Timestamp,
    ) -> Result<()> {
        // A node whose clock is ahead has listed entries until now at most.
        let listed_until = listed_until.min(self.core.catalog_now().await?);
        let furthest = claimed.listed_until.map_or(listed_until, |before| before.max(listed_until));
        let done = sqlx::query(
            "UPDATE collected_audit_logs SET listed_until = $3, claimed_until = $4 WHERE upstream = $1 AND claim = $2",
        )
        .bind(&claimed.upstream)
        .bind(&claimed.claim)
        .bind(furthest.as_millis())
        .bind(self.core.catalog_time(until).await?.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        check_claim(done.rows_affected(), &claimed.upstream)?;
        claimed.listed_until = Some(furthest);
        Ok(())
    }

    /// Renews the lease until `until`. `Conflict`: another collector has taken over.
    pub async fn renew(&self, claimed: &ClaimedAuditLogs, until: Timestamp) -> Result<()> {
        let done = sqlx::query("UPDATE collected_audit_logs SET claimed_until = $3 WHERE upstream = $1 AND claim = $2")
            .bind(&claimed.upstream)
            .bind(&claimed.claim)
            .bind(self.core.catalog_time(until).await?.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        check_claim(done.rows_affected(), &claimed.upstream)
    }

    /// Ends a round: releases the lease, and records whether late entries were searched for, and why the round failed
    /// or was incomplete.
    pub async fn release(
        &self,
        claimed: &ClaimedAuditLogs,
        looked_back_at: Option<Timestamp>,
        problem: Option<&str>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE collected_audit_logs SET claimed_until = 0, looked_back_at = COALESCE(CAST($3 AS BIGINT), looked_back_at),
                    problem = $4
             WHERE upstream = $1 AND claim = $2",
        )
        .bind(&claimed.upstream)
        .bind(&claimed.claim)
        .bind(looked_back_at.map(Timestamp::as_millis))
        .bind(problem.map(storable))
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Returns the state of the collection of the audit logs of an upstream; `None` if they were never collected.
    pub async fn collection(&self, upstream: &str) -> Result<Option<AuditLogCollection>> {
        collection_of(&self.core, upstream).await
    }
}

/// The state of the collection of the audit logs of an upstream; `None` if they were never collected.
pub(crate) async fn collection_of(core: &Core, upstream: &str) -> Result<Option<AuditLogCollection>> {
    let row: Option<(Option<i64>, Option<String>)> =
        sqlx::query_as("SELECT listed_until, problem FROM collected_audit_logs WHERE upstream = $1")
            .bind(upstream)
            .fetch_optional(core.catalog().read())
            .await?;
    let Some((listed_until, problem)) = row else { return Ok(None) };
    let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tenant_audit_logs WHERE upstream = $1")
        .bind(upstream)
        .fetch_one(core.catalog().read())
        .await?;
    Ok(Some(AuditLogCollection { listed_until, entries: entries.saturating_as::<u64>(), problem }))
}

fn check_claim(rows: u64, upstream: &str) -> Result<()> {
    match rows {
        0 => Err(Error::conflict(format!("another collector has taken over the audit logs of {upstream}"))),
        _ => Ok(()),
    }
}

/// The ID of an entry: its own or, if it has none, one made of a digest of its text in the form of a UUID.
fn id_of(entry: &TenantAuditLog) -> String {
    if let Some(id) = &entry.id {
        return storable(id);
    }
    let digest = hex::encode(Sha256::digest(entry.body.get()));
    format!("{}-{}-8{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

fn push_filter(query: &mut Sql, filter: &TenantAuditFilter) {
    for (condition, time) in [(" AND at >= ", filter.range.start), (" AND at <= ", filter.range.end)] {
        if let Some(time) = time {
            query.push(condition).push_bind(time.as_millis());
        }
    }
    let same = [
        ("upstream", &filter.upstream),
        ("application_id", &filter.application_id),
        ("event_category", &filter.event_category),
        ("event_type", &filter.event_type),
        ("event_operation", &filter.event_operation),
    ];
    for (column, wanted) in same {
        if let Some(wanted) = wanted {
            query.push(format!(" AND {column} = ")).push_bind(storable(wanted));
        }
    }
    if let Some(user) = &filter.user {
        // The database lowers both sides, because databases differ in which letters they lower.
        let user = storable(user);
        query.push(" AND (lower(username) = lower(").push_bind(user.clone());
        query.push(") OR lower(email) = lower(").push_bind(user.clone());
        query.push(") OR lower(user_id) = lower(").push_bind(user).push("))");
    }
    if let Some(text) = &filter.text {
        let text = storable(text);
        let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        query.push(" AND lower(body) LIKE lower(").push_bind(format!("%{escaped}%")).push(") ESCAPE '!'");
    }
}

impl Row {
    pub(crate) fn into_entry(self) -> Result<StoredTenantAuditLog> {
        let undecodable = || Error::corrupt(format!("the audit log entry {} of a tenant does not decode", self.log_id));
        let body = RawValue::from_string(self.body).map_err(|_| undecodable())?;
        Ok(StoredTenantAuditLog {
            sequence: self.sequence.saturating_as::<u64>(),
            upstream: self.upstream,
            time: instant(self.at)?,
            stored_at: instant(self.stored_at)?,
            fields: TenantAuditFields {
                request_id: self.request_id,
                account_id: self.account_id,
                application_id: self.application_id,
                event_category: self.event_category,
                event_type: self.event_type,
                event_operation: self.event_operation,
                user_id: self.user_id,
                username: self.username,
                email: self.email,
                client_ip: self.client_ip,
                method: self.method,
                url: self.url,
                user_agent: self.user_agent,
                status: self.status,
            },
            body,
            id: self.log_id,
        })
    }
}
