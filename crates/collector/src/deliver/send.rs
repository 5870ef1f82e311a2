//! Sends records until each is accepted or permanently refused: waits, retries and splits batches as the sink requires.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::Wait;
use runlog_model::{backoff, planted};
use runlog_store::BackgroundThreads;
use tokio_util::sync::CancellationToken;

use super::batch::BatchOutcome;
use super::bounds::BatchBounds;
use super::error::{DeliveryError, PAUSE_DENIED, PAUSE_FIRST, Result};
use super::health::{REFUSED_ALL, SinkHealth};
use super::sinks::sink::{Batch, Encoded, Origin, RecordOutcome, SendError, Sink, SinkResponse};

/// How often a batch is sent before the sink counts as unavailable.
const TRIES: u32 = 5;
/// The pause after the first attempt, and the longest pause between two attempts.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// After this number of consecutive attempts without a response, a batch is sent in halves.
const TRIES_WHOLE: u32 = 2;

/// The context for sending records to a sink.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) to: &'a Arc<dyn Sink>,
    pub(super) threads: &'a BackgroundThreads,
    pub(super) health: &'a SinkHealth,
    pub(super) wait: &'a dyn Wait,
    pub(super) stop: &'a CancellationToken,
}

impl Sender<'_> {
    /// Sends records until each is accepted or permanently refused. Waits, retries and splits batches as the sink
    /// requires.
    pub(super) async fn send_all(&self, origin: &Origin, records: Vec<Encoded>) -> Result<BatchOutcome> {
        let Self { to, threads, health, stop, .. } = *self;
        let mut outcome = BatchOutcome::of(&records);
        // The second part of a split batch is sent after the rest of the first.
        let mut waiting = vec![records];
        let mut attempts = Attempts::default();
        let (mut refused_alone, mut unanswered) = (0, 0);
        while let Some(mut records) = waiting.pop() {
            if records.is_empty() {
                continue;
            }
            let together_max = health.together_max().min(fitting(&records, to.batch_max()));
            if records.len() > together_max {
                let rest = records.split_off(together_max);
                waiting.extend([rest, records]);
                continue;
            }
            let sent = tokio::select! {
                sent = to.send(Batch { origin, records: &records, threads }) => sent,
                () = stop.cancelled() => return Err(DeliveryError::Stopped),
            };
            let sent = match sent {
                Err(SendError::NoAnswer(_)) if planted::is("unanswered-counts-as-taken") => {
                    Ok(SinkResponse::all_accepted(records.len()))
                }
                sent => sent,
            };
            unanswered = if matches!(sent, Err(SendError::NoAnswer(_))) { unanswered + 1 } else { 0 };
            let (problem, after) = match sent {
                Ok(SinkResponse::AllBut { records: count, reason }) if (1..records.len()).contains(&count) => {
                    outcome.all_but(&records, count, reason);
                    health.send_fewer_together(records.len());
                    attempts.succeeded();
                    continue;
                }
                Ok(SinkResponse::Each(outcomes)) if outcomes.len() == records.len() => {
                    let before = records.len();
                    let is_clean = outcomes.iter().all(|one| *one == RecordOutcome::Taken);
                    let (again, problem) = outcome.sort(records, outcomes);
                    if is_clean {
                        health.send_more_together();
                    }
                    if again.len() < before {
                        attempts.succeeded();
                    }
                    let is_stuck = again.len() == before;
                    waiting.push(again);
                    match problem {
                        None if !is_stuck => continue,
                        problem => (problem.unwrap_or_else(|| "it accepted no record of the batch".to_owned()), None),
                    }
                }
                // If a response does not match the request, no record counts as accepted.
                Ok(answered) => {
                    let answers = match answered {
                        SinkResponse::Each(outcomes) => outcomes.len(),
                        SinkResponse::AllBut { records, .. } => records,
                    };
                    let problem = format!("it answered for {answers} of {} records", records.len());
                    waiting.push(records);
                    (problem, None)
                }
                Err(error @ (SendError::TooLarge(_) | SendError::Refused(_))) if records.len() > 1 => {
                    if matches!(error, SendError::TooLarge(_)) {
                        health.send_smaller(&records);
                    }
                    let rest = records.split_off(records.len() / 2);
                    waiting.extend([rest, records]);
                    continue;
                }
                Err(error @ (SendError::TooLarge(_) | SendError::Refused(_))) => {
                    refused_alone += 1;
                    outcome.refuse(&records, &error.to_string());
                    if refused_alone == REFUSED_ALL && outcome.accepted() == 0 {
                        // The cause may be these neighbouring records; others are tried first.
                        waiting.reverse();
                    }
                    if refused_alone >= 2 * REFUSED_ALL && outcome.accepted() == 0 {
                        return Err(DeliveryError::Refusing(format!("it rejects everything it receives: {error}")));
                    }
                    continue;
                }
                Err(SendError::Denied(problem)) => return Err(DeliveryError::Sink { problem, pause: PAUSE_DENIED }),
                Err(SendError::Away { problem, after }) => {
                    waiting.push(records);
                    (problem, after)
                }
                Err(SendError::NoAnswer(problem)) => {
                    if unanswered >= TRIES_WHOLE && records.len() > 1 {
                        waiting.push(records.split_off(records.len() / 2));
                    }
                    waiting.push(records);
                    (problem, None)
                }
            };
            attempts.failed(problem, after, self.wait, stop).await?;
        }
        Ok(outcome)
    }
}

/// Counts failed attempts in a row.
#[derive(Default)]
pub(super) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// Resets the count: the sink has accepted or refused records.
    fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt, for longer each time and at least as long as the sink asks. Fails after the last
    /// attempt.
    pub(super) async fn failed(
        &mut self,
        problem: String,
        after: Option<Duration>,
        wait: &dyn Wait,
        stop: &CancellationToken,
    ) -> Result<()> {
        self.failed += 1;
        if self.failed >= TRIES {
            return Err(DeliveryError::Sink { problem, pause: after.unwrap_or_default().max(PAUSE_FIRST) });
        }
        tokio::select! {
            () = wait.sleep(after.unwrap_or_default().max(backoff(AGAIN_FIRST, self.failed - 1, AGAIN_MAX))) => Ok(()),
            () = stop.cancelled() => Err(DeliveryError::Stopped),
        }
    }
}

/// The number of records, at least one, that may be sent together.
fn fitting(records: &[Encoded], batch_max: BatchBounds) -> usize {
    let (mut bytes, mut head_before) = (0, None);
    for (count, record) in records.iter().enumerate() {
        bytes += record.bytes(head_before);
        head_before = Some(record.head.as_slice());
        if count >= batch_max.records || bytes > batch_max.bytes {
            return count.max(1);
        }
    }
    records.len()
}
