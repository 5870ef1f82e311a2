//! Writing the segment objects of batches, each after its intent and before its row.

use std::sync::Arc;

use object_store::path::Path;
use runlog_model::{RunId, Timestamp, hex, planted};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::core::Core;
use crate::error::Result;
use crate::ingest::memory_budget::MemoryReservation;
use crate::objects::checksums::checks_of;
use crate::objects::intents;
use crate::segment;
use crate::segment::columns::RecordColumns;
use crate::{failpoint, limits};

/// Writes segment objects that no row of the catalog refers to yet.
pub(crate) struct SegmentWriter {
    core: Core,
    pub(super) segments: Vec<NewSegment>,
    /// The segment that is being encoded and written while more records arrive.
    under_way: Option<JoinHandle<Result<NewSegment>>>,
    /// When the intents of the segments were last made or renewed.
    renewed_at: Timestamp,
}

/// A written segment object.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) id: String,
    pub(crate) object_key: Path,
    pub(crate) bytes: usize,
    pub(crate) records: usize,
    pub(crate) sha256: String,
    /// See [`crate::objects::checksums`].
    pub(crate) checks: Vec<u8>,
    pub(crate) runs: Vec<segment::RunRows>,
}

impl SegmentWriter {
    pub(crate) fn new(core: &Core) -> Self {
        Self { core: core.clone(), segments: Vec::new(), under_way: None, renewed_at: core.now() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.under_way.is_none()
    }

    /// Begins to write one segment with the records of some runs, each in order of arrival, after the previous
    /// segment; releases the memory when it is written.
    pub(crate) async fn write(
        &mut self,
        runs: Vec<(RunId, Vec<Arc<RecordColumns>>)>,
        memory: Option<MemoryReservation>,
    ) -> Result<()> {
        self.settle().await?;
        self.renew_if_old().await?;
        let core = self.core.clone();
        self.under_way = Some(tokio::spawn(async move {
            let written = write_segment(&core, runs).await;
            drop(memory);
            written
        }));
        Ok(())
    }

    /// Waits until the segment in progress is written.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if let Some(under_way) = self.under_way.take() {
            self.segments.push(under_way.await??);
        }
        Ok(())
    }

    /// Removes the written objects. Use it only while no row can refer to them.
    pub(crate) async fn remove(mut self) {
        if let Err(error) = self.settle().await {
            warn!(%error, "an object of a batch that was given up could not be written either");
        }
        self.core.intents().remove_uncommitted(&self.keys()).await;
    }

    fn keys(&self) -> Vec<Path> {
        self.segments.iter().map(|segment| segment.object_key.clone()).collect()
    }

    /// Renews old intents, so that the duration of a batch is not limited.
    async fn renew_if_old(&mut self) -> Result<()> {
        let now = self.core.now();
        if now.millis_since(self.renewed_at).abs() < limits::INTENTS_RENEW_MS {
            return Ok(());
        }
        if !self.core.intents().renew_intents(&self.keys()).await? {
            return Err(intents::swept());
        }
        self.renewed_at = now;
        Ok(())
    }
}

/// Writes a segment object after its intent. The object is written before its row: a row must not refer to a missing
/// object.
async fn write_segment(core: &Core, runs: Vec<(RunId, Vec<Arc<RecordColumns>>)>) -> Result<NewSegment> {
    let encoding = move || {
        let (bytes, parts) = segment::encode(&runs)?;
        let (sha256, checks) = (hex::encode(Sha256::digest(&bytes)), checks_of(&bytes));
        Ok((bytes, parts, sha256, checks))
    };
    let (bytes, parts, sha256, checks) = core.cpu().run(encoding).await?;
    let (id, object_key) = core.intents().intend_segment().await?;
    let segment = NewSegment {
        object_key,
        id: id.to_string(),
        bytes: bytes.len(),
        records: parts.iter().map(|part| part.records).sum(),
        sha256,
        checks,
        runs: parts,
    };
    failpoint::reach("commit-before-object");
    if planted::is("object-after-row") {
        let (core, key) = (core.clone(), segment.object_key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            core.put_object(&key, bytes.into()).await
        });
        return Ok(segment);
    }
    core.put_object(&segment.object_key, bytes.into()).await?;
    failpoint::reach("commit-after-object");
    Ok(segment)
}
