//! Runs of a day: the messages without a run of an application on a host, of one day in UTC, and how these runs end.
//!
//! Which runs are of a day can be seen from their IDs, so that another node, or this one after a restart, finds those that
//! are to be ended.

use jiff::civil::{Date, Time};
use runlog_model::wire::push::FinishRun;
use runlog_model::{LogZone, Random, RunId, RunStatus, TaskId, TimeRange, Timestamp};
use runlog_store::runs::{RunFilter, Runs};
use runlog_store::{ErrorKind, Result};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::limits;

const DAY_MS: i64 = 86_400_000;

/// A day of the messages that name no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) task: TaskId,
    date: Date,
}

impl Day {
    /// The day of a message with a time, which arrived at another one. A time in the future by more than a day is that of
    /// a wrong clock, and the message belongs to the day of its arrival.
    pub(super) fn of(task: TaskId, time: Timestamp, arrived_at: Timestamp) -> Self {
        let date = |at: Timestamp| LogZone::default().civil(at).date();
        let is_possible = time.millis_since(arrived_at) <= DAY_MS;
        Self { task, date: date(if is_possible { time } else { arrived_at }) }
    }

    /// The first millisecond.
    pub(super) fn begin(self) -> Timestamp {
        let begin = LogZone::default().instant(self.date.to_datetime(Time::midnight()));
        begin.map_or(Timestamp::MIN, |begin| begin.time)
    }

    /// True if it has been over for so long that its runs are ended.
    pub(super) fn is_over(self, now: Timestamp) -> bool {
        last_begin(now) >= self.begin()
    }

    /// The run of an application on a host: the same on every node and after every restart.
    pub(super) fn run_id(self, host: &str, app: &str) -> RunId {
        let (day, source) = (self.digest(), digest("runlog syslog source", &[host, app]));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&day[..8]);
        bytes[8..].copy_from_slice(&source[..8]);
        RunId::random(&Digested(bytes))
    }

    /// True for the run of an application on a host of this day.
    fn has(self, id: RunId) -> bool {
        // The hexadecimal digits of the first eight bytes, and two hyphens.
        let any = self.run_id("", "").to_string();
        id.to_string().get(..18) == any.get(..18)
    }

    fn digest(self) -> [u8; 32] {
        digest("runlog syslog day", &[&self.task.to_string(), &self.date.to_string()])
    }
}

fn digest(what: &str, parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new().chain_update(what);
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// The last time at which a day may have begun whose runs are ended now.
fn last_begin(now: Timestamp) -> Timestamp {
    let grace_ms = i64::try_from(limits::SYSLOG_DAY_GRACE.as_millis()).unwrap_or(i64::MAX);
    now.plus_millis(-DAY_MS - grace_ms)
}

/// The last day whose runs are ended now.
pub(super) fn last_over(task: TaskId, now: Timestamp) -> Day {
    Day { task, date: LogZone::default().civil(last_begin(now)).date() }
}

/// Ends the runs of a task of all days that are over.
pub(super) async fn end_all(runs: &Runs, task: TaskId, now: Timestamp) -> Result<()> {
    // Other runs of the task that have not ended either.
    let mut others = 0;
    loop {
        let filter = RunFilter {
            task_id: Some(task),
            statuses: vec![RunStatus::Executing],
            overlapping: TimeRange { start: None, end: Some(last_begin(now)) },
            limit: limits::SYSLOG_DAYS_RUNS,
            offset: others,
            ..RunFilter::default()
        };
        let (listed, _) = runs.list(&filter).await?;
        let are_all = (listed.len() as u64) < limits::SYSLOG_DAYS_RUNS;
        for run in listed {
            let day = Day { task, date: LogZone::default().civil(run.triggered_at).date() };
            if !day.has(run.id) {
                others += 1;
                continue;
            }
            let end = day.begin().plus_millis(DAY_MS - 1).max(run.started_at.unwrap_or(Timestamp::MIN));
            let finish = FinishRun { finish_timestamp: Some(end), ..FinishRun::with_status(RunStatus::Successful) };
            match runs.finish(run.id, &finish).await {
                Ok(_) => {}
                // Somebody else has ended it.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    others += 1;
                    warn!(error = &error as &dyn std::error::Error, "syslog: cannot end run {} of a day", run.id);
                }
                Err(error) => return Err(error),
            }
        }
        if are_all {
            return Ok(());
        }
    }
}

/// Bytes that an ID is made of.
struct Digested([u8; 16]);

impl Random for Digested {
    fn fill(&self, bytes: &mut [u8]) {
        for (to, from) in bytes.iter_mut().zip(self.0) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn task() -> TaskId {
        "57f64991e4b0b689a64feed0".parse().unwrap()
    }

    #[test]
    fn the_runs_of_a_day_are_known_by_their_ids() {
        let day = Day::of(task(), at("2026-11-28T10:00:00Z"), at("2026-11-28T10:00:01Z"));
        let next = Day::of(task(), at("2026-11-29T00:00:00Z"), at("2026-11-29T10:00:01Z"));
        let ids = [day.run_id("router", "sshd"), day.run_id("router", "dhcpd"), day.run_id("routers", "shd")];
        assert!(ids.iter().all(|id| day.has(*id) && !next.has(*id)));
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[0] != next.run_id("router", "sshd"));
        assert!(!day.has("00000000-0000-4000-8000-00000000000a".parse().unwrap()));
    }

    #[test]
    fn a_day_is_over_some_minutes_after_its_end() {
        let day = Day::of(task(), at("2026-11-28T10:00:00Z"), at("2026-11-28T10:00:01Z"));
        assert!(!day.is_over(at("2026-11-29T00:09:59.999Z")) && day.is_over(at("2026-11-29T00:10:00Z")));
        assert_eq!(last_over(task(), at("2026-11-29T00:10:00Z")), day);
        assert_ne!(last_over(task(), at("2026-11-29T00:09:59Z")), day);
    }

    #[test]
    fn a_time_far_in_the_future_is_that_of_a_wrong_clock() {
        let arrived_at = at("2026-11-28T10:00:00Z");
        let date = |time: &str| Day::of(task(), at(time), arrived_at).date.to_string();
        assert_eq!(date("2026-11-29T09:00:00Z"), "2026-11-29");
        assert_eq!(date("2090-01-01T00:00:00Z"), "2026-11-28");
        assert_eq!(date("1970-01-01T00:00:00Z"), "1970-01-01");
    }
}
