//! Deliveries of the audit logs of tenants to sinks: each sink reads on in the order in which entries were stored, and is
//! leased to one deliverer at a time.

use az::SaturatingAs;
use runlog_model::Timestamp;
use serde::Serialize;
use sqlx_macros::FromRow;

use crate::catalog::sql::{Sql, storable};
use crate::error::{Error, Result};
use crate::parts::TenantAuditLogs;
use crate::tables::tenant_audit_logs::{Row, StoredTenantAuditLog};

/// The delivery of audit logs to a sink, leased to a deliverer.
#[derive(Debug, Clone)]
pub struct ClaimedAuditDelivery {
    /// The sink.
    pub sink: String,
    /// The sequence number from which the sink lacks entries.
    pub next_sequence: u64,
    /// How many attempts were made since the last success, including this one.
    pub attempts: i64,
    claim: String,
}

/// A step of a delivery, which is committed as a whole.
#[derive(Debug, Clone, Default)]
pub struct AuditDeliveryStep {
    /// The sequence number after the last entry of the step; `None` when it sent refused entries again.
    pub next_sequence: Option<u64>,
    /// Entries that the sink accepted.
    pub delivered: u64,
    /// The sequence numbers of entries that the sink refused for good, and why.
    pub refused: Vec<(u64, String)>,
    /// The sequence numbers of refused entries that were sent again.
    pub replayed: Vec<u64>,
}

/// The state of the delivery of audit logs to a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditDeliveryState {
    /// Entries that it accepted.
    pub delivered: u64,
    /// Entries that it has not received yet.
    pub due: u64,
    /// Entries that it refused and that were not sent again.
    pub refused: u64,
    /// Why the last attempt failed.
    pub problem: Option<String>,
}

impl TenantAuditLogs {
    /// Registers a sink that takes audit logs, from the first stored entry on.
    pub async fn register_sink(&self, sink: &str) -> Result<()> {
        sqlx::query("INSERT INTO tenant_audit_deliveries (sink) VALUES ($1) ON CONFLICT (sink) DO NOTHING")
            .bind(sink)
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Claims the delivery to a sink with a lease until `until`; `None` while it is not due or another deliverer has it.
    pub async fn claim_delivery(&self, sink: &str, until: Timestamp) -> Result<Option<ClaimedAuditDelivery>> {
        let now = self.core.catalog_now().await?.as_millis();
        let until = self.core.catalog_time(until).await?;
        let claim = self.core.random().uuid().to_string();
        let row: Option<(i64, i64)> = sqlx::query_as(
            "UPDATE tenant_audit_deliveries SET claim = $2, claimed_until = $3, attempts = attempts + 1
             WHERE sink = $1 AND claimed_until < $4 AND due_at <= $4 RETURNING next_sequence, attempts",
        )
        .bind(sink)
        .bind(&claim)
        .bind(until.as_millis())
        .bind(now)
        .fetch_optional(self.core.catalog().write())
        .await?;
        let claimed = row.map(|(next_sequence, attempts)| ClaimedAuditDelivery {
            sink: sink.to_owned(),
            next_sequence: next_sequence.saturating_as::<u64>(),
            attempts,
            claim,
        });
        if claimed.is_some() {
            self.core.check_lease(until).await?;
        }
        Ok(claimed)
    }

    /// Returns entries that the sink lacks, in the order in which they were stored; at most `limit`.
    pub async fn read_due(&self, claimed: &ClaimedAuditDelivery, limit: u64) -> Result<Vec<StoredTenantAuditLog>> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT * FROM tenant_audit_logs WHERE sequence >= $1 ORDER BY sequence LIMIT $2")
                .bind(claimed.next_sequence.saturating_as::<i64>())
                .bind(limit.saturating_as::<i64>())
                .fetch_all(self.core.catalog().read())
                .await?;
        rows.into_iter().map(Row::into_entry).collect()
    }

    /// Returns at most `limit` refused entries to send again. Entries that were deleted in the meantime are discarded.
    pub async fn read_replays(&self, claimed: &ClaimedAuditDelivery, limit: u64) -> Result<Vec<StoredTenantAuditLog>> {
        sqlx::query(
            "DELETE FROM tenant_audit_dead_letters WHERE sink = $1 AND replay = 1
             AND NOT EXISTS (SELECT 1 FROM tenant_audit_logs a WHERE a.sequence = tenant_audit_dead_letters.sequence)",
        )
        .bind(&claimed.sink)
        .execute(self.core.catalog().write())
        .await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT a.* FROM tenant_audit_dead_letters d JOIN tenant_audit_logs a ON a.sequence = d.sequence
             WHERE d.sink = $1 AND d.replay = 1 ORDER BY d.sequence LIMIT $2",
        )
        .bind(&claimed.sink)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(Row::into_entry).collect()
    }

    /// Commits a step, and renews the lease until `until`. `Conflict`: another deliverer has taken over.
    pub async fn commit_delivery(
        &self,
        claimed: &mut ClaimedAuditDelivery,
        step: &AuditDeliveryStep,
        until: Timestamp,
    ) -> Result<()> {
        let next = step.next_sequence.unwrap_or(claimed.next_sequence);
        let until = self.core.catalog_time(until).await?.as_millis();
        let now = self.core.now().as_millis();
        let held = &*claimed;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query(
                    "UPDATE tenant_audit_deliveries SET next_sequence = $3, delivered = delivered + $4,
                            claimed_until = $5, attempts = 1, problem = NULL WHERE sink = $1 AND claim = $2",
                )
                .bind(&held.sink)
                .bind(&held.claim)
                .bind(next.saturating_as::<i64>())
                .bind(step.delivered.saturating_as::<i64>())
                .bind(until)
                .execute(&mut *transaction)
                .await?;
                check_claim(done.rows_affected(), &held.sink)?;
                for sequence in &step.replayed {
                    sqlx::query("DELETE FROM tenant_audit_dead_letters WHERE sink = $1 AND sequence = $2")
                        .bind(&held.sink)
                        .bind((*sequence).saturating_as::<i64>())
                        .execute(&mut *transaction)
                        .await?;
                }
                for (sequence, reason) in &step.refused {
                    sqlx::query(
                        "INSERT INTO tenant_audit_dead_letters (sink, log_id, sequence, reason, refused_at)
                         SELECT $1, a.log_id, a.sequence, $3, $4 FROM tenant_audit_logs a WHERE a.sequence = $2
                         ON CONFLICT (sink, log_id) DO UPDATE SET reason = excluded.reason, replay = 0",
                    )
                    .bind(&held.sink)
                    .bind((*sequence).saturating_as::<i64>())
                    .bind(storable(reason))
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                }
                transaction.commit().await
            })
            .await?;
        claimed.next_sequence = next;
        Ok(())
    }

    /// Renews the lease until `until`. Returns false when another deliverer holds it.
    pub async fn renew_delivery(&self, claimed: &ClaimedAuditDelivery, until: Timestamp) -> Result<bool> {
        let done = sqlx::query("UPDATE tenant_audit_deliveries SET claimed_until = $3 WHERE sink = $1 AND claim = $2")
            .bind(&claimed.sink)
            .bind(&claimed.claim)
            .bind(self.core.catalog_time(until).await?.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives up the lease; after a failure, with the reason and when to try again.
    pub async fn release_delivery(
        &self,
        claimed: &ClaimedAuditDelivery,
        failure: Option<(&str, Timestamp)>,
    ) -> Result<()> {
        let (problem, due_at) = match failure {
            Some((problem, at)) => (Some(storable(problem)), self.core.catalog_time(at).await?.as_millis()),
            None => (None, 0),
        };
        let attempts = if problem.is_some() { claimed.attempts } else { 0 };
        sqlx::query(
            "UPDATE tenant_audit_deliveries SET claimed_until = 0, problem = $3, due_at = $4, attempts = $5
             WHERE sink = $1 AND claim = $2",
        )
        .bind(&claimed.sink)
        .bind(&claimed.claim)
        .bind(problem)
        .bind(due_at)
        .bind(attempts)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Makes entries that a sink refused or failed to accept due immediately. Returns the number of refused entries.
    pub async fn retry_delivery(&self, sink: &str) -> Result<u64> {
        sqlx::query("UPDATE tenant_audit_deliveries SET due_at = 0 WHERE sink = $1")
            .bind(sink)
            .execute(self.core.catalog().write())
            .await?;
        let done = sqlx::query("UPDATE tenant_audit_dead_letters SET replay = 1 WHERE sink = $1")
            .bind(sink)
            .execute(self.core.catalog().write())
            .await?;
        Ok(done.rows_affected())
    }

    /// Returns the state of the delivery to a sink; `None` if it does not accept audit logs.
    pub async fn delivery_state(&self, sink: &str) -> Result<Option<AuditDeliveryState>> {
        #[derive(FromRow)]
        struct StateRow {
            delivered: i64,
            next_sequence: i64,
            problem: Option<String>,
        }
        let row: Option<StateRow> =
            sqlx::query_as("SELECT delivered, next_sequence, problem FROM tenant_audit_deliveries WHERE sink = $1")
                .bind(sink)
                .fetch_optional(self.core.catalog().read())
                .await?;
        let Some(StateRow { delivered, next_sequence, problem }) = row else { return Ok(None) };
        let count = async |counting: Sql| -> Result<u64> {
            let count: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
            Ok(count.saturating_as::<u64>())
        };
        let mut due = Sql::new("SELECT COUNT(*) FROM tenant_audit_logs WHERE sequence >= ");
        due.push_bind(next_sequence);
        let mut refused = Sql::new("SELECT COUNT(*) FROM tenant_audit_dead_letters WHERE sink = ");
        refused.push_bind(sink.to_owned());
        Ok(Some(AuditDeliveryState {
            delivered: delivered.saturating_as::<u64>(),
            due: count(due).await?,
            refused: count(refused).await?,
            problem,
        }))
    }
}

fn check_claim(rows: u64, sink: &str) -> Result<()> {
    match rows {
        0 => Err(Error::conflict(format!("another deliverer has taken over the audit logs for {sink}"))),
        _ => Ok(()),
    }
}
