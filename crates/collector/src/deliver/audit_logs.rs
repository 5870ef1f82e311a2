//! Delivers the audit logs of tenants to a sink, in the order in which they were stored.
//!
//! ```text
//! claim ▸ read on from the last step ▸ redact ▸ send a batch ▸ record the step ▸ … ▸ release
//! ```
//!
//! Entries are sent as records whose ID is that of the entry, so that a sink can detect duplicates. Entries that the
//! sink refuses permanently are recorded, and can be sent again.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::Wait;
use runlog_model::{Clock, Record, Timestamp, millis};
use runlog_store::BackgroundThreads;
use runlog_store::delivery::{RecordKey, RefusedRange};
use runlog_store::tenant_audit_logs::{AuditDeliveryStep, ClaimedAuditDelivery, StoredTenantAuditLog, TenantAuditLogs};
use tokio_util::sync::CancellationToken;

use super::config::SinkConfig;
use super::destination::DestinationKind;
use super::error::{DeliveryError, Result};
use super::health::SinkHealth;
use super::send::Sender;
use super::sinks::files::Files;
use super::sinks::sink::{Item, Origin, Sink, TenantContext};
use super::stats::DeliveryStats;

/// How long the lease lasts. It is renewed as long as this process lives.
const LEASE: Duration = Duration::from_secs(300);
/// Most entries of a batch.
const BATCH_ENTRIES: usize = 1_000;
/// How long entries wait for others that fill a file.
const FILE_AGE: Duration = Duration::from_secs(3_600);

/// The delivery of audit logs to a sink.
pub(super) struct AuditDelivery<'a> {
    pub(super) logs: &'a TenantAuditLogs,
    pub(super) threads: &'a BackgroundThreads,
    pub(super) sink: &'a SinkConfig,
    pub(super) clock: &'a dyn Clock,
    pub(super) wait: &'a dyn Wait,
    pub(super) health: &'a SinkHealth,
    pub(super) stop: &'a CancellationToken,
    /// Whether a file is written although it is not full.
    pub(super) writes_small_files: bool,
}

/// The expiry of a lease that is taken or renewed now.
pub(super) fn lease_end(now: Timestamp) -> Timestamp {
    now.plus_millis(millis(LEASE))
}

impl AuditDelivery<'_> {
    /// Sends everything that the sink lacks.
    pub(super) async fn deliver(&self, claimed: &mut ClaimedAuditDelivery, stats: &mut DeliveryStats) -> Result<()> {
        let limit = self.sink.bounds.records.min(BATCH_ENTRIES) as u64;
        loop {
            if self.stop.is_cancelled() {
                return Err(DeliveryError::Stopped);
            }
            let replays = self.logs.read_replays(claimed, limit).await?;
            let is_replay = !replays.is_empty();
            let mut entries = if is_replay { replays } else { self.logs.read_due(claimed, limit).await? };
            let is_full = entries.len() as u64 >= limit;
            let Some(first) = entries.first() else { return Ok(()) };
            let upstream = first.upstream.clone();
            let age_ms = self.clock.now().millis_since(first.stored_at);
            let is_file = matches!(self.sink.destination.0, DestinationKind::Files(_));
            if is_file && !is_replay && !is_full && !self.writes_small_files && age_ms < millis(FILE_AGE) {
                return Ok(());
            }
            // A batch has entries of one upstream.
            let together = entries.iter().take_while(|entry| entry.upstream == upstream).count();
            entries.truncate(together);
            let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
            let next = sequences.last().map(|last| last + 1);
            let step = self.send(&Origin::Tenant(TenantContext { upstream }), entries).await?;
            let step = match is_replay {
                true => AuditDeliveryStep { replayed: sequences, ..step },
                false => AuditDeliveryStep { next_sequence: next, ..step },
            };
            self.logs.commit_delivery(claimed, &step, lease_end(self.clock.now())).await?;
            stats.audit_logs += step.delivered;
            stats.refused += step.refused.len() as u64;
        }
    }

    /// Sends entries, and returns which were accepted and refused.
    async fn send(&self, origin: &Origin, entries: Vec<StoredTenantAuditLog>) -> Result<AuditDeliveryStep> {
        let mut items = Vec::with_capacity(entries.len());
        let mut undecodable = Vec::new();
        for entry in entries {
            let sequence = entry.sequence;
            match self.item(entry) {
                Ok(item) => items.push(item),
                // The entry stays in the archive, and must not block the entries that follow.
                Err(error) => undecodable.push((sequence, format!("the entry does not decode: {error}"))),
            }
        }
        items.sort_by_key(|item| item.position);
        let mut step = match &self.sink.destination.0 {
            DestinationKind::Runs(_) => return Err(DeliveryError::Run("it does not accept audit logs".to_owned())),
            _ if items.is_empty() => AuditDeliveryStep::default(),
            DestinationKind::Records(to) => self.send_records(to, origin, items).await?,
            DestinationKind::Files(files) => self.write_file(files, origin, items).await?,
        };
        step.refused.append(&mut undecodable);
        Ok(step)
    }

    async fn send_records(&self, to: &Arc<dyn Sink>, origin: &Origin, items: Vec<Item>) -> Result<AuditDeliveryStep> {
        let oldest = to.oldest_accepted(self.clock.now());
        let is_taken = |item: &Item| oldest.is_none_or(|oldest| item.position.time >= oldest);
        // They are kept like what the sink refuses: a longer `max_age` lets them be sent again.
        let old: Vec<u64> = items.iter().filter(|item| !is_taken(item)).map(|item| item.position.arrival).collect();
        let records: Vec<_> = items.iter().filter(|item| is_taken(item)).map(|item| to.encode(origin, item)).collect();
        let positions: Vec<RecordKey> = records.iter().map(|record| record.position).collect();
        let sender = Sender { to, threads: self.threads, health: self.health, wait: self.wait, stop: self.stop };
        let outcome = sender.send_all(origin, records).await?;
        self.health.judge(&outcome)?;
        let delivered = outcome.accepted();
        let of_range = |range: &RefusedRange| {
            let inside = |position: &&RecordKey| {
                (range.first..=range.last).contains(position)
                    && (range.arrivals.0..=range.arrivals.1).contains(&position.arrival)
            };
            let reason = match range.records == range.of_records {
                true => range.reason.clone(),
                false => format!("{} of {} entries: {}", range.records, range.of_records, range.reason),
            };
            positions.iter().filter(inside).map(move |position| (position.arrival, reason.clone())).collect::<Vec<_>>()
        };
        let old = old.into_iter().map(|arrival| (arrival, "older than the max_age of the sink".to_owned()));
        let refused = outcome.into_refused().iter().flat_map(of_range).chain(old).collect();
        Ok(AuditDeliveryStep { delivered, refused, ..AuditDeliveryStep::default() })
    }

    /// Writes a file, named after the first entry: written again, it replaces itself.
    async fn write_file(&self, files: &Files, origin: &Origin, items: Vec<Item>) -> Result<AuditDeliveryStep> {
        let first = items.iter().map(|item| item.position.arrival).min().unwrap_or_default();
        let delivered = items.len() as u64;
        let mut part = files.begin(origin, first)?;
        for item in items {
            if let Err(error) = part.add(files.encode(origin, item), self.threads).await {
                part.abandon().await;
                return Err(error.into());
            }
        }
        part.finish(self.threads).await?;
        Ok(AuditDeliveryStep { delivered, ..AuditDeliveryStep::default() })
    }

    /// An entry as a redacted record: its message says in a sentence what happened, its further fields are those of the
    /// entry.
    fn item(&self, entry: StoredTenantAuditLog) -> serde_json::Result<Item> {
        let mut record = record_of(&entry)?;
        self.sink.redactor.record(&mut record);
        let position = RecordKey { time: entry.time, arrival: entry.sequence };
        Ok(Item { id: entry.id, position, spread: 0, record })
    }
}

fn record_of(entry: &StoredTenantAuditLog) -> serde_json::Result<Record> {
    let extra = serde_json::from_str(entry.body.get())?;
    let fields = &entry.fields;
    let known = |texts: &[&Option<String>], between: &str| {
        texts.iter().filter_map(|text| text.as_deref()).collect::<Vec<_>>().join(between)
    };
    let user = [&fields.username, &fields.email, &fields.user_id].into_iter().flatten().next();
    let parts = [
        user.cloned().unwrap_or_else(|| "unknown user".to_owned()),
        known(&[&fields.event_type, &fields.event_category, &fields.event_operation], " / "),
        known(&[&fields.method, &fields.url], " "),
        fields.status.clone().unwrap_or_default(),
    ];
    let message = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    let has_failed = fields.status.as_deref().is_some_and(|status| status.starts_with(['4', '5']));
    Ok(Record {
        time: entry.time,
        severity: Some(if has_failed { "WARN" } else { "INFO" }.to_owned()),
        log_type: Some("tenant_audit".to_owned()),
        message: Some(message),
        bundle_name: fields.application_id.clone(),
        bundle_version: None,
        pod_name: None,
        extra: Some(extra),
    })
}
