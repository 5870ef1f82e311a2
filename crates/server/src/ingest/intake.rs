//! Records that name their run themselves, as sent by OTLP exporters and engines: grouped by run, then stored.
//!
//! A run that does not exist is started if a task is named. A task that does not exist is created if a workspace is
//! named in which the caller may publish. A workspace that does not exist is created for administrators.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::http::StatusCode;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{EnvironmentId, Record, RunId, RunStatus, TaskId, Timestamp, WorkspaceId, hex};
use runlog_store::Store;
use runlog_store::accounts::Caller;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::auth::audit::AuditedChange;
use crate::metrics::counters::Metrics;

/// The sender of records, and its request.
pub(crate) struct Sender<'a> {
    pub(crate) store: &'a Store,
    pub(crate) metrics: &'a Metrics,
    pub(crate) caller: &'a Caller,
    pub(crate) change: &'a AuditedChange,
}

impl Sender<'_> {
    /// The archive for a change, which is recorded with it.
    pub(super) fn store_to(&self, action: &str) -> Store {
        self.change.store_to(action, StatusCode::OK)
    }
}

/// The task of a run and its workspace. Absent values are unknown.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskHint {
    pub(crate) task_id: Option<TaskId>,
    pub(crate) task_name: Option<String>,
    pub(crate) task_version: Option<String>,
    pub(crate) workspace_id: Option<WorkspaceId>,
    pub(crate) workspace_name: Option<String>,
    pub(crate) environment_id: Option<EnvironmentId>,
    pub(crate) environment_name: Option<String>,
}

impl TaskHint {
    /// True if any value is known.
    pub(crate) fn is_some(&self) -> bool {
        let Self { task_id, task_name, task_version, workspace_id, workspace_name, environment_id, environment_name } =
            self;
        task_id.is_some()
            || workspace_id.is_some()
            || environment_id.is_some()
            || [task_name, task_version, workspace_name, environment_name].into_iter().any(Option::is_some)
    }

    /// Fills missing values from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            task_id: self.task_id.or(other.task_id),
            task_name: self.task_name.or(other.task_name),
            task_version: self.task_version.or(other.task_version),
            workspace_id: self.workspace_id.or(other.workspace_id),
            workspace_name: self.workspace_name.or(other.workspace_name),
            environment_id: self.environment_id.or(other.environment_id),
            environment_name: self.environment_name.or(other.environment_name),
        }
    }
}

/// The part of a request about one run.
#[derive(Debug, Default)]
pub(crate) struct RunBatch {
    pub(crate) task: TaskHint,
    /// How it started, if the request contains it; its task is ignored.
    pub(crate) begun: Option<StartRun>,
    /// How it ended, if the request contains it.
    pub(crate) ended: Option<FinishRun>,
    /// When it was triggered, if it starts with the request; none: with its first record.
    pub(crate) triggered_at: Option<Timestamp>,
    pub(crate) records: Vec<Record>,
    /// Nanoseconds of each record below its millisecond.
    nanos: Vec<u32>,
    digest: Sha256,
    is_one_of_a_kind: bool,
    /// True if a record had no time and received the current one.
    is_undated: bool,
}

/// The content of a request.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    runs: BTreeMap<RunId, RunBatch>,
    /// The parts of the runs, stored or not.
    events: u64,
    /// Items that could not be stored.
    refused: Refused,
    /// Number of texts with invalid characters that were repaired.
    pub(crate) repaired: u64,
    /// Number of records whose time could not be parsed and was replaced by the current one.
    pub(crate) undated: u64,
}

/// Items that were not stored, with the reason for the first one.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub(crate) count: u64,
    pub(crate) why: Option<String>,
    /// Number of items that could not be parsed.
    pub(crate) lines: u64,
}

/// The identity of a request, by which a repetition is recognised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Naming<'a> {
    /// Its content: that of a client which repeats it, because it received no response.
    ByContent(&'a [u8]),
    /// A name of its own, whatever its content is.
    Unique(&'a str),
}

/// The result of a request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stored: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) refused: Refused,
    pub(crate) repaired: u64,
    pub(crate) undated: u64,
}

impl Refused {
    pub(crate) fn add(&mut self, count: u64, why: String) {
        self.count += count;
        self.why.get_or_insert(why);
    }
}

impl RunBatch {
    /// Adopts information about the task that was missing before.
    pub(crate) fn hint(&mut self, task: TaskHint) {
        self.task = std::mem::take(&mut self.task).or(task);
    }

    /// Adds a record with its nanoseconds below the millisecond; none if it had no time.
    pub(crate) fn push(&mut self, record: Record, nanos: Option<u32>) {
        self.is_undated |= nanos.is_none();
        let nanos = nanos.unwrap_or(0);
        digest(&mut self.digest, &record, nanos);
        self.records.push(record);
        self.nanos.push(nanos);
        self.is_one_of_a_kind |= nanos > 0 || self.records.len() > 1;
    }

    /// Derives the batch ID from the content, so that a repeated request is stored once. A single record with a time in
    /// whole milliseconds has no ID, because an engine may log the same text twice within one. A record without a time
    /// has none, either, because its time would differ each time.
    fn id(&self) -> Option<String> {
        let has_name = self.is_one_of_a_kind && !self.is_undated;
        has_name.then(|| format!("intake-2-{}", hex::encode(self.digest.clone().finalize())))
    }

    /// The records in order of their nanoseconds; their times are stored in milliseconds.
    pub(super) fn into_records(self) -> Vec<Record> {
        if self.nanos.iter().all(|nanos| *nanos == 0) {
            return self.records;
        }
        let mut records: Vec<(u32, Record)> = self.nanos.into_iter().zip(self.records).collect();
        records.sort_by_key(|(nanos, record)| (record.time, *nanos));
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// The time of the earliest record, which is the start of a run that it starts.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.records.iter().map(|record| record.time).min()
    }

    /// The time of the latest record, which is the end of a run that it ends.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.records.iter().map(|record| record.time).max()
    }
}

impl Intake {
    /// The part of a run to which something is added, and the bytes that a new run takes.
    pub(crate) fn run(&mut self, id: RunId) -> (&mut RunBatch, usize) {
        self.events += 1;
        match self.runs.entry(id) {
            Entry::Occupied(known) => (known.into_mut(), 0),
            Entry::Vacant(new) => (new.insert(RunBatch::default()), size_of::<RunBatch>()),
        }
    }

    /// Adds what is known about the task of a run that has a part in the request.
    pub(crate) fn hint(&mut self, id: RunId, task: TaskHint) {
        if let Some(batch) = self.runs.get_mut(&id) {
            batch.hint(task);
        }
    }

    /// Takes over what was refused while the request was parsed.
    pub(crate) fn refuse_all(&mut self, refused: Refused) {
        self.events += refused.count;
        self.refused.lines += refused.count;
        if let Some(why) = refused.why {
            self.refused.add(refused.count, why);
        }
    }

    /// Counts an item without a known run.
    pub(crate) fn refuse(&mut self, why: String) {
        self.events += 1;
        self.refused.add(1, why);
    }

    /// The parts of the runs, in order, each with the ID of its batch, and what is to be counted.
    pub(super) fn into_parts(self, naming: Naming<'_>) -> (Vec<(RunId, RunBatch, Option<String>)>, Outcome) {
        let Self { runs, events, refused, repaired, undated } = self;
        let is_single = events == 1;
        // Most batches have their own IDs.
        let body = LazyCell::new(|| match naming {
            Naming::ByContent(body) => Sha256::new().chain_update(body),
            Naming::Unique(name) => Sha256::new().chain_update(name),
        });
        let part = |(run_id, batch): (RunId, RunBatch)| {
            // Records that are sent together with others, or with the end of their run, are sent again if one of those
            // fails, and must not be stored twice.
            let is_alone = is_single && batch.ended.is_none();
            let name = match naming {
                Naming::ByContent(_) => batch.id().or_else(|| (!is_alone).then(|| id_in(&body, run_id))),
                Naming::Unique(_) => Some(id_in(&body, run_id)),
            };
            (run_id, batch, name)
        };
        (runs.into_iter().map(part).collect(), Outcome { refused, repaired, undated, ..Outcome::default() })
    }
}

/// Adds a record to the digest of its batch: every part with its length, in a format that is independent of the
/// version.
fn digest(digest: &mut Sha256, record: &Record, nanos: u32) {
    digest.update(nanos.to_le_bytes());
    digest.update(record.time.as_millis().to_le_bytes());
    let extra = record.extra.as_ref().map(|extra| Value::Object((***extra).clone()).to_string());
    let texts = [
        &record.severity,
        &record.log_type,
        &record.message,
        &record.bundle_name,
        &record.bundle_version,
        &record.pod_name,
        &extra,
    ];
    for text in texts {
        match text {
            None => digest.update([0]),
            Some(text) => {
                digest.update([1]);
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
        }
    }
}

/// The ID of a body for a run.
fn id_in(body: &Sha256, run_id: RunId) -> String {
    format!("intake-body-{}", hex::encode(body.clone().chain_update(run_id.to_string()).finalize()))
}

/// The end of a run of which only the status is known.
pub(crate) fn ended(status: RunStatus) -> Option<FinishRun> {
    status.is_final().then(|| FinishRun::with_status(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_batch_is_stable_across_versions() {
        let extra = serde_json::json!({"thread": "main", "n": [1, null, 2.5]});
        let Value::Object(extra) = extra else { unreachable!("an object") };
        let record = Record {
            severity: Some("INFO".to_owned()),
            message: Some("grün".to_owned()),
            extra: Some(Box::new(extra.into())),
            ..Record::at(Timestamp::clamped(1_619_018_951_115))
        };
        let mut batch = RunBatch::default();
        batch.push(record.clone(), Some(250));
        batch.push(Record::at(Timestamp::MIN), Some(0));
        let name = batch.id().unwrap();
        assert_eq!(name, "intake-2-86c46bce1c28bb1da0cdc9218d2cb7621c4f5531d0521b37e8776460ccb565e6");
    }

    #[test]
    fn nanoseconds_order_the_records_of_one_millisecond() {
        let mut batch = RunBatch::default();
        for (text, ms, nanos) in [("b", 1, 700), ("a", 1, 100), ("d", 2, 0), ("c", 1, 900)] {
            let record = Record { message: Some(text.to_owned()), ..Record::at(Timestamp::clamped(ms)) };
            batch.push(record, Some(nanos));
        }
        let texts: Vec<_> = batch.into_records().into_iter().filter_map(|record| record.message).collect();
        assert_eq!(texts, ["a", "b", "c", "d"]);
    }
}
