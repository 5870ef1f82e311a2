//! Records in objects to which no row refers. Such objects remain when rows of the catalog were lost, for example with
//! its write-ahead log.
//!
//! Such an object may also belong to a batch that was never acknowledged, or contain records that have been sealed into
//! another file or deleted since. Its records are therefore compared with the log, and only missing records are
//! restored, as an ordinary batch, so that records are never duplicated. Identical records, with the same time and
//! text, cannot be distinguished, so a missing record may be taken for an existing one and not be restored.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::Array;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use runlog_model::{Record, RecordOrder, RunId, TimeRange};

use crate::error::{ErrorKind, Result};
use crate::ingest::batch::write_digest;
use crate::limits;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::verify::VerifyReport;
use crate::parts::Logs;
use crate::segment::reader::SegmentFile;

/// How many times records are compared with a log that changes in the meantime.
const ATTEMPTS_MAX: u32 = 5;

impl Maintenance {
    /// Reports the records of an object without a row that are missing in their logs; with `repair`, restores them.
    /// Returns false if the object must be kept because it contains records that exist nowhere else.
    pub(crate) async fn verify_unreferenced(
        &self,
        object: &ObjectMeta,
        repair: bool,
        verified: &mut VerifyReport,
    ) -> Result<bool> {
        let key = object.location.as_ref();
        // The log may have been deleted between the listing of the object and the lookup of its row. This check is
        // needed because a cached file would still be readable.
        if let Err(object_store::Error::NotFound { .. }) = self.core.objects().head(&object.location).await {
            return Ok(true);
        }
        let file = match SegmentFile::open(self.core.segments(), key, object.size).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            // The object was swept in the meantime or is incomplete: nothing can be read from it.
            Err(_) => return Ok(true),
        };
        let mut may_go = true;
        for (id, rows) in runs_of(&file).await? {
            let Ok(run_id) = id.parse::<RunId>() else { continue };
            let count = rows.len();
            let epoch: Option<i64> = sqlx::query_scalar("SELECT log_epoch FROM runs WHERE id = $1")
                .bind(&id)
                .fetch_optional(self.core.catalog().read())
                .await?;
            let Some(epoch) = epoch else {
                may_go = false;
                verified.problem(format!(
                    "run {id}: {count} records in object {key}, which no row names, and the run is not known either: \
                     create the run with this ID or restore the catalog, then verify again"
                ));
                continue;
            };
            // Remaining records of a deleted log must not be restored.
            let is_deleted = epoch > 0;
            let restore_from = (repair && !is_deleted).then_some(&object.location);
            let missing = match self.restore_missing(&file, run_id, rows, restore_from).await {
                Ok(missing) => missing,
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // The log keeps growing, is being deleted, or is damaged.
                Err(error) => {
                    may_go = false;
                    verified.problem(format!(
                        "run {id}: {count} records in object {key}, which no row names, could not be compared with its \
                         log ({}): verify again later",
                        error.with_causes()
                    ));
                    continue;
                }
            };
            if missing == 0 {
                continue;
            }
            if is_deleted {
                verified.problem(format!(
                    "run {id}: {missing} records in object {key}, which no row names, are not in its log: the \
                     log was once deleted, so they are not restored"
                ));
                continue;
            }
            verified.problem(format!(
                "run {id}: {missing} records in object {key}, which no row names, are not in its log"
            ));
            match repair {
                true => {
                    verified.repaired += 1;
                    verified.records_restored += missing;
                }
                false => may_go = false,
            }
        }
        // A running service may have swept the object while it was read.
        let is_there = self.core.objects().head(&object.location).await.is_ok();
        Ok(may_go && is_there)
    }

    /// Counts the rows that are missing in the log of a run. With `restore_from`, the object that contains them, adds
    /// them to the log.
    async fn restore_missing(
        &self,
        file: &SegmentFile,
        run_id: RunId,
        rows: Range<usize>,
        restore_from: Option<&Path>,
    ) -> Result<u64> {
        let mut count = 0;
        for start in rows.clone().step_by(limits::CHUNK_RECORDS) {
            let chunk = start..(start + limits::CHUNK_RECORDS).min(rows.end);
            let records = records_of(file, chunk).await?;
            let mut attempts = 1;
            count += loop {
                match self.restore_missing_of(run_id, &records, restore_from).await {
                    // Other records of the run have been stored since the comparison.
                    Err(error) if error.kind() == ErrorKind::Conflict && attempts < ATTEMPTS_MAX => attempts += 1,
                    done => break done?,
                }
            };
        }
        Ok(count)
    }

    /// Counts the records that are missing in the log of a run. With `restore_from`, the object that contains them,
    /// adds them to the log. Fails with `Conflict`, and adds nothing, if the log was changed in the meantime.
    async fn restore_missing_of(&self, run_id: RunId, records: &[Record], restore_from: Option<&Path>) -> Result<u64> {
        let (mut batch, _) = self.ingest().begin_next_batch(run_id).await?;
        let mut there = self.counts_in_log(run_id, records).await?;
        let mut missing = Vec::new();
        for record in records {
            match there.get_mut(&digest_of(record)?) {
                Some(left) if *left > 0 => *left -= 1,
                _ => missing.push(record),
            }
        }
        if let Some(object_key) = restore_from.filter(|_| !missing.is_empty()) {
            // If the writer of the object still exists, it cannot commit from now on; if it has already committed, this
            // batch fails with a conflict.
            self.core.intents().cancel(std::slice::from_ref(object_key)).await?;
            for record in &missing {
                batch.push(record).await?;
            }
            batch.commit().await?;
        }
        Ok(missing.len() as u64)
    }

    /// Returns how many times each of the records occurs in a log.
    async fn counts_in_log(&self, run_id: RunId, records: &[Record]) -> Result<HashMap<Vec<u8>, u64>> {
        let times = || records.iter().map(|record| record.time);
        let range = TimeRange { start: times().min(), end: times().max() };
        // Only these records are counted, because the log may have any number of other records in the range.
        let mut counts = HashMap::new();
        for record in records {
            counts.insert(digest_of(record)?, 0);
        }
        let mut reader = Logs::new(&self.core).read_records(run_id, range, RecordOrder::Asc).await?;
        while let Some(some) = reader.next().await? {
            for record in some {
                if let Some(count) = counts.get_mut(&digest_of(&record)?) {
                    *count += 1;
                }
            }
        }
        Ok(counts)
    }
}

/// Returns the rows of each run in a file, by run ID.
pub(crate) async fn runs_of(file: &SegmentFile) -> Result<Vec<(String, Range<usize>)>> {
    let mut runs: Vec<(String, Range<usize>)> = Vec::new();
    let ids = file.run_ids(0..file.rows()).await?;
    for row in 0..ids.len() {
        let id = ids.value(row);
        match runs.last_mut() {
            Some((last, rows)) if last == id => rows.end = row + 1,
            _ => runs.push((id.to_owned(), row..row + 1)),
        }
    }
    Ok(runs)
}

async fn records_of(file: &SegmentFile, rows: Range<usize>) -> Result<Vec<Record>> {
    let times = file.read_keys(rows.clone()).await?.times;
    let values = file.read_values(rows).await?;
    times.into_iter().enumerate().map(|(row, time)| values.row(row).to_record(time)).collect()
}

fn digest_of(record: &Record) -> Result<Vec<u8>> {
    let mut digest = Vec::new();
    write_digest(&mut digest, record)?;
    Ok(digest)
}
