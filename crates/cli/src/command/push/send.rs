//! Sends batches: each is sent while the previous one is being stored.

use anyhow::Context;
use runlog_client::{Client, ContentEncoding, PushBatch};
use runlog_model::RunId;
use runlog_model::wire::push::{RefusedLine, StoredLines};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::batches::{Batch, BatchSource};
use crate::exit::{Failure, Outcome};
use crate::render::progress::Bar;
use crate::render::terminal::{count, counted_are};

/// Maximum number of rejected records that are kept with their reasons.
const REFUSED_KEPT_MAX: usize = 100;

/// The result of sending.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pushed {
    /// Number of records that were added to the archive.
    pub(crate) stored: u64,
    /// Number of records in batches that the archive already contained.
    pub(crate) repeated: u64,
    batches: u64,
    bytes: u64,
    /// Number of texts with invalid characters that were repaired.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) repaired: u64,
    /// Records that the service rejected.
    #[serde(skip)]
    pub(crate) refused_records: u64,
    /// The first rejected records.
    #[serde(skip)]
    pub(crate) refused: Vec<RefusedLine>,
}

impl Pushed {
    /// Returns the number of records of the log that the archive contains.
    pub(crate) fn in_archive(&self) -> u64 {
        self.stored + self.repeated
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Sends a log in batches: each is read and sent while the previous one is being stored, and completed after it, so
/// that records arrive in order. `pushed` counts the stored records, also after a failure.
pub(crate) async fn push_log(
    client: &Client,
    run: RunId,
    mut batches: impl BatchSource,
    skips_invalid: bool,
    pushed: &mut Pushed,
) -> Outcome {
    let bar = Bar::counting("pushing", "records");
    let mut before: Option<BatchInFlight> = None;
    loop {
        let (next, rest) = on_thread(move || (batches.next(), batches)).await?;
        batches = rest;
        // If reading fails, the log is stored up to that position.
        let (next, failure) = next.map_or_else(|failure| (None, Some(failure)), |next| (next, None));
        let sending = next.map(|batch| {
            let after = before.as_ref().map(|before| before.is_stored.subscribe());
            BatchInFlight::begin(client, run, batch, skips_invalid, after)
        });
        if let Some(before) = before {
            before.finish(pushed).await?;
            bar.set(pushed.in_archive());
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        before = sending;
        if before.is_none() {
            return Ok(());
        }
    }
}

/// Sends a single batch; invalid records of it are left out.
pub(super) async fn push_batch(client: &Client, run: RunId, batch: Batch, pushed: &mut Pushed) -> Outcome {
    BatchInFlight::begin(client, run, batch, true, None).finish(pushed).await
}

/// Runs work that may wait for input, on a thread that does not prevent the program from exiting.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("reading".to_owned()).spawn(move || _ = answer.send(work()))?;
    Ok(answered.await.context("cannot read the log: the thread that reads it has ended")?)
}

/// A batch that is being sent.
struct BatchInFlight {
    answer: AbortOnDropHandle<Result<StoredLines, runlog_client::Error>>,
    /// Sends true once the batch is stored, so that the next one can be completed.
    is_stored: watch::Sender<bool>,
    first_record: u64,
    records: u64,
    bytes: u64,
}

impl BatchInFlight {
    fn begin(
        client: &Client,
        run: RunId,
        batch: Batch,
        skips_bad_lines: bool,
        after: Option<watch::Receiver<bool>>,
    ) -> Self {
        let client = client.clone();
        let Batch { id, body, bytes, first_record, records } = batch;
        let sending = async move {
            let batch = PushBatch { id: &id, body, encoding: ContentEncoding::Zstd, skips_bad_lines };
            client.push_records(run, batch, after).await
        };
        let answer = AbortOnDropHandle::new(tokio::spawn(sending));
        Self { answer, is_stored: watch::Sender::new(false), first_record, records, bytes }
    }

    async fn finish(mut self, pushed: &mut Pushed) -> Outcome {
        let first = self.first_record;
        let answer = (&mut self.answer).await.context("cannot send a batch")?.map_err(|error| {
            let last = first + self.records.saturating_sub(1);
            let which = match self.records {
                1 => format!("record {}", count(first)),
                _ => format!("records {} to {}", count(first), count(last)),
            };
            let before = match pushed.in_archive() {
                0 => "nothing was stored".to_owned(),
                stored => format!("{} stored before", counted_are(stored, "record")),
            };
            let lines = if first == 1 { "" } else { "; lines in the following message count from there" };
            Failure::from(error).while_doing(format!("the service rejected {which} ({before}{lines})"))
        })?;
        self.is_stored.send_replace(true);
        pushed.batches += 1;
        pushed.bytes += self.bytes;
        match answer.repeated {
            true => pushed.repeated += answer.stored,
            false => pushed.stored += answer.stored,
        }
        pushed.repaired += answer.repaired;
        pushed.refused_records += answer.refused_lines;
        let room = REFUSED_KEPT_MAX.saturating_sub(pushed.refused.len());
        let here = |refused: RefusedLine| RefusedLine { line: first + refused.line.saturating_sub(1), ..refused };
        pushed.refused.extend(answer.refused.into_iter().take(room).map(here));
        Ok(())
    }
}
