//! Batches: how records come in.
//!
//! A batch is all or nothing. Its records become segment objects as they arrive; one transaction at the end adds
//! the batch, its segments and slices, and the counts of the run. Only after that is it acknowledged. A batch
//! with the id of one that was stored before is compared with it and not stored again.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::record::SeverityCounts;
use runlog_model::wire::push::StoredBatch;
use runlog_model::{Record, RunId, Severity};
use sha2::{Digest, Sha256};
use sqlx::{Any, Transaction};
use tracing::warn;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::runs::{fetch_to_change, no_such_run};
use crate::store::Store;
use crate::{keys, limits, secret, segment};

/// A batch that is being taken in. Dropped without [`BatchWriter::commit`], nothing of it is stored.
pub struct BatchWriter {
    store: Store,
    run_id: RunId,
    batch_id: Option<String>,
    /// The batch of the same id that is stored already.
    stored_before: Option<BatchRow>,
    digest: Sha256,
    records: u64,
    severities: SeverityCounts,
    pending: Vec<Record>,
    pending_bytes: usize,
    segments: Vec<NewSegment>,
}

struct NewSegment {
    id: Uuid,
    object_key: Path,
    bytes: usize,
    records: usize,
    first_time: i64,
    last_time: i64,
}

#[derive(sqlx::FromRow)]
struct BatchRow {
    digest: String,
    records: i64,
}

impl Store {
    /// Begins a batch of a run's records. With an id, the same batch may be sent again and is stored once.
    ///
    /// `NotFound`: no such run. `Invalid`: the id is empty, too long or not printable.
    pub async fn begin_batch(&self, run_id: RunId, batch_id: Option<&str>) -> Result<BatchWriter> {
        let batch_id = batch_id.map(checked_batch_id).transpose()?;
        if self.run(run_id).await?.is_none() {
            return Err(no_such_run(run_id));
        }
        let stored_before = match &batch_id {
            Some(id) => fetch_batch(self.catalog().read(), run_id, id).await?,
            None => None,
        };
        Ok(BatchWriter {
            store: self.clone(),
            run_id,
            batch_id,
            stored_before,
            digest: Sha256::new(),
            records: 0,
            severities: SeverityCounts::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            segments: Vec::new(),
        })
    }
}

impl BatchWriter {
    /// Takes one more record.
    pub async fn push(&mut self, record: Record) -> Result<()> {
        update_digest(&mut self.digest, &record)?;
        self.records += 1;
        self.severities.add(Severity::of(record.severity.as_deref()));
        if self.stored_before.is_some() {
            return Ok(());
        }
        self.pending_bytes += memory_of(&record);
        self.pending.push(record);
        if self.pending.len() >= limits::SEGMENT_RECORDS_MAX || self.pending_bytes >= limits::SEGMENT_BYTES_MAX {
            self.write_segment().await?;
        }
        Ok(())
    }

    /// Stores the batch: when this returns, its records are on disk and every reader sees them.
    ///
    /// `Conflict`: other records were stored under the same id; nothing was added.
    pub async fn commit(mut self) -> Result<StoredBatch> {
        match self.try_commit().await {
            Ok(stored) => Ok(stored),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Gives the batch up and removes what was written of it.
    pub async fn abort(self) {
        for segment in &self.segments {
            if let Err(error) = self.store.objects().delete(&segment.object_key).await {
                warn!(%error, object.key = %segment.object_key, "an object of a batch that was given up is left to the sweep");
            }
        }
    }

    async fn try_commit(&mut self) -> Result<StoredBatch> {
        let digest = secret::hex(&std::mem::take(&mut self.digest).finalize());
        if let Some(before) = &self.stored_before {
            return self.repeated(before, &digest);
        }
        if !self.pending.is_empty() {
            self.write_segment().await?;
        }
        let mut transaction = self.store.catalog().begin().await?;
        // Batches of one run are counted one after another, whichever node stores them.
        fetch_to_change(&self.store, &mut transaction, self.run_id).await?;
        if let Some(id) = &self.batch_id {
            // The same batch may have been sent over two connections at once: the first one there is stored.
            if let Some(before) = fetch_batch(&mut *transaction, self.run_id, id).await? {
                drop(transaction);
                let answer = self.repeated(&before, &digest)?;
                self.forget_segments().await;
                return Ok(answer);
            }
            self.insert_batch(&mut transaction, id, &digest).await?;
        }
        self.insert_slices(&mut transaction).await?;
        transaction.commit().await?;
        Ok(StoredBatch { stored: self.records, repeated: false })
    }

    fn repeated(&self, before: &BatchRow, digest: &str) -> Result<StoredBatch> {
        if before.digest != digest {
            let id = self.batch_id.as_deref().unwrap_or_default();
            let message =
                format!("batch {id:?} of run {} was stored before with other records: use a new id", self.run_id);
            return Err(Error::conflict(message));
        }
        Ok(StoredBatch { stored: before.records as u64, repeated: true })
    }

    async fn forget_segments(&mut self) {
        for segment in std::mem::take(&mut self.segments) {
            if let Err(error) = self.store.objects().delete(&segment.object_key).await {
                warn!(%error, object.key = %segment.object_key, "an object of a repeated batch is left to the sweep");
            }
        }
    }

    async fn write_segment(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let run_id = self.run_id;
        let times = || records.iter().map(|record| record.time.as_millis());
        let (first_time, last_time) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        let count = records.len();
        let bytes = tokio::task::spawn_blocking(move || segment::encode(run_id, &records)).await??;
        let id = self.store.random().uuid();
        let object_key = keys::segment(id, self.store.now());
        let segment = NewSegment { id, object_key, bytes: bytes.len(), records: count, first_time, last_time };
        // The object goes first: an orphan object is swept later, an orphan row would be a lie.
        self.store.objects().put(&segment.object_key, bytes.into()).await?;
        self.segments.push(segment);
        Ok(())
    }

    async fn insert_batch(&self, transaction: &mut Transaction<'_, Any>, id: &str, digest: &str) -> Result<()> {
        sqlx::query("INSERT INTO batches (run_id, batch_id, digest, records, stored_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.run_id.to_string())
            .bind(id)
            .bind(digest)
            .bind(self.records as i64)
            .bind(self.store.now().as_millis())
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }

    async fn insert_slices(&self, transaction: &mut Transaction<'_, Any>) -> Result<()> {
        let run_id = self.run_id.to_string();
        let now = self.store.now().as_millis();
        let counts = self.severities.as_array().map(|count| count as i64);
        let records_after: Option<i64> = sqlx::query_scalar(
            "UPDATE runs SET records = records + $2, last_record_stored_at = $3,
                    severity_other = severity_other + $4, severity_trace = severity_trace + $5,
                    severity_debug = severity_debug + $6, severity_info = severity_info + $7,
                    severity_warn = severity_warn + $8, severity_error = severity_error + $9,
                    severity_fatal = severity_fatal + $10
             WHERE id = $1 RETURNING records",
        )
        .bind(&run_id)
        .bind(self.records as i64)
        .bind(now)
        .bind(counts[0])
        .bind(counts[1])
        .bind(counts[2])
        .bind(counts[3])
        .bind(counts[4])
        .bind(counts[5])
        .bind(counts[6])
        .fetch_optional(&mut **transaction)
        .await?;
        let mut first_arrival = records_after.ok_or_else(|| no_such_run(self.run_id))? - self.records as i64;
        for segment in &self.segments {
            sqlx::query(
                "INSERT INTO segments (id, object_key, bytes, records, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(segment.id.to_string())
            .bind(segment.object_key.as_ref())
            .bind(segment.bytes as i64)
            .bind(segment.records as i64)
            .bind(now)
            .execute(&mut **transaction)
            .await?;
            sqlx::query(
                "INSERT INTO slices (run_id, segment_id, first_row, records, first_arrival, first_time, last_time)
                 VALUES ($1, $2, 0, $3, $4, $5, $6)",
            )
            .bind(&run_id)
            .bind(segment.id.to_string())
            .bind(segment.records as i64)
            .bind(first_arrival)
            .bind(segment.first_time)
            .bind(segment.last_time)
            .execute(&mut **transaction)
            .await?;
            first_arrival += segment.records as i64;
        }
        Ok(())
    }
}

async fn fetch_batch<'c>(
    executor: impl sqlx::Executor<'c, Database = sqlx::Any>,
    run_id: RunId,
    batch_id: &str,
) -> Result<Option<BatchRow>> {
    let row = sqlx::query_as("SELECT digest, records FROM batches WHERE run_id = $1 AND batch_id = $2")
        .bind(run_id.to_string())
        .bind(batch_id)
        .fetch_optional(executor)
        .await?;
    Ok(row)
}

fn checked_batch_id(id: &str) -> Result<String> {
    let is_printable = id.bytes().all(|byte| byte.is_ascii_graphic());
    match !id.is_empty() && id.len() <= limits::BATCH_ID_BYTES_MAX && is_printable {
        true => Ok(id.to_owned()),
        false => Err(Error::invalid("batch: a batch id has 1 to 200 printable ASCII characters and no space")),
    }
}

fn memory_of(record: &Record) -> usize {
    let texts = [
        &record.severity,
        &record.log_type,
        &record.message,
        &record.bundle_name,
        &record.bundle_version,
        &record.pod_name,
    ];
    let extra = record.extra.as_ref().map_or(0, |extra| 64 * (extra.len() + 1));
    size_of::<Record>() + texts.into_iter().flatten().map(String::len).sum::<usize>() + extra
}

/// Adds a record to the digest of its batch, field by field, each with its length.
fn update_digest(digest: &mut Sha256, record: &Record) -> Result<()> {
    digest.update(record.time.as_millis().to_le_bytes());
    let texts = [
        &record.severity,
        &record.log_type,
        &record.message,
        &record.bundle_name,
        &record.bundle_version,
        &record.pod_name,
    ];
    for text in texts {
        update_with_text(digest, text.as_deref());
    }
    let extra = record.extra.as_ref().map(serde_json::to_string).transpose();
    let extra = extra.map_err(|_| Error::invalid("a field of a record has no JSON form"))?;
    update_with_text(digest, extra.as_deref());
    Ok(())
}

fn update_with_text(digest: &mut Sha256, text: Option<&str>) {
    match text {
        None => digest.update([0]),
        Some(text) => {
            digest.update([1]);
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
}
