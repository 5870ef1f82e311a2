//! Sends records until each is taken or refused for good: waits, sends again and splits as the sink says.

use std::time::Duration;

use runlog_client::Wait;
use tokio_util::sync::CancellationToken;

use super::batch::BatchOutcome;
use super::bounds::BatchBounds;
use super::error::{DeliveryError, PAUSE_DENIED, PAUSE_FIRST, Result};
use super::health::{REFUSED_ALL, SinkHealth};
use super::sinks::sink::{Batch, Encoded, RecordOutcome, RunContext, SendError, Sink, SinkResponse};
use crate::backoff::backoff;

/// How often a batch is sent before the sink counts as away.
pub(super) const TRIES: u32 = 5;
/// The wait after the first attempt, and the longest between two of them.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// A batch is sent in halves after so many attempts in a row that got no answer.
const TRIES_WHOLE: u32 = 2;

/// What it takes to send records to a sink.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) to: &'a dyn Sink,
    pub(super) health: &'a SinkHealth,
    pub(super) wait: &'a dyn Wait,
    pub(super) stop: &'a CancellationToken,
}

impl Sender<'_> {
    /// Sends records until each is taken or refused for good. Waits, sends again and splits as the sink says.
    pub(super) async fn send_all(&self, run: &RunContext, records: Vec<Encoded>) -> Result<BatchOutcome> {
        let Self { to, health, stop, .. } = *self;
        let mut outcome = BatchOutcome::of(&records);
        // What is split off comes after the rest of it.
        let mut waiting = vec![records];
        let (mut tries, mut refused_alone, mut unanswered) = (0, 0, 0);
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
                sent = to.send(Batch { run, records: &records }) => sent,
                () = stop.cancelled() => return Err(DeliveryError::Stopped),
            };
            unanswered = if matches!(sent, Err(SendError::NoAnswer(_))) { unanswered + 1 } else { 0 };
            let (problem, after) = match sent {
                Ok(SinkResponse::AllBut { records: count, reason }) if (1..records.len()).contains(&count) => {
                    outcome.all_but(&records, count, reason);
                    health.send_fewer_together(records.len());
                    tries = 0;
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
                        tries = 0;
                    }
                    let is_stuck = again.len() == before;
                    waiting.push(again);
                    match problem {
                        None if !is_stuck => continue,
                        problem => (problem.unwrap_or_else(|| "it takes none of a batch".to_owned()), None),
                    }
                }
                // Of an answer that does not fit what was sent, nothing counts as taken.
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
                    if refused_alone == REFUSED_ALL && outcome.taken() == 0 {
                        // Perhaps it is these neighbours: others are tried before anything is said of all.
                        waiting.reverse();
                    }
                    if refused_alone >= 2 * REFUSED_ALL && outcome.taken() == 0 {
                        return Err(DeliveryError::Refusing(format!("it refuses whatever it is sent: {error}")));
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
            tries += 1;
            if tries >= TRIES {
                return Err(DeliveryError::Sink { problem, pause: after.unwrap_or(PAUSE_FIRST) });
            }
            self.pause(after, tries).await?;
        }
        Ok(outcome)
    }

    async fn pause(&self, after: Option<Duration>, tries: u32) -> Result<()> {
        pause(self.wait, after, tries, self.stop).await
    }
}

/// How many of the first records may be sent together, at least one.
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

/// Waits after so many attempts, for as long as the sink asks or for longer each time.
pub(super) async fn pause(
    wait: &dyn Wait,
    after: Option<Duration>,
    tries: u32,
    stop: &CancellationToken,
) -> Result<()> {
    tokio::select! {
        () = wait.sleep(after.unwrap_or(backoff(AGAIN_FIRST, tries - 1, AGAIN_MAX))) => Ok(()),
        () = stop.cancelled() => Err(DeliveryError::Stopped),
    }
}
