//! Compares an archive with a plain list: random sequences of the operations of clients and jobs, performed by three
//! nodes. After each step, the data read is compared with the list; at the end, all data is compared, on every node.
//!
//! `RUNLOG_SEQUENCES=N` runs N sequences on each pair of backends.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt;
use proptest::prelude::*;
use runlog_model::{FileFormat, Record, RecordOrder, RunId, RunStatus, TimeRange, Timestamp, WorkspaceId};
use runlog_store::audit::AuditFilter;
use runlog_store::logs::LiveQuery;
use runlog_store::maintenance::DeletedLog;
use runlog_store::maintenance::{LegalHold, Retention};
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::query::{ScanColumn, ScanFilter};
use runlog_store::{ErrorKind, Store, StoreSettings};

use crate::collection::{Attempt, Upstream};
use crate::common::{finish_body, page_records, pairs, push, record, records_on, runtime, search_for, sorted};

use crate::crash::Doing;
use crate::damage::Damage;
use crate::deliveries::{Sink, Stop, Work};
use crate::interleaving::{cut_short, interleaved};
use crate::summaries::Made;

#[path = "state_machine/collection.rs"]
mod collection;
#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "state_machine/crash.rs"]
mod crash;
#[path = "state_machine/damage.rs"]
mod damage;
#[path = "state_machine/deliveries.rs"]
mod deliveries;
#[path = "state_machine/interleaving.rs"]
mod interleaving;
#[path = "state_machine/summaries.rs"]
mod summaries;

/// An archive on the pair of backends of this test.
type Archive = common::Archive<pairs::Chosen>;
/// An archive on the other two backends, as the target of a copy.
type Copy = common::Archive<pairs::Other>;

const NODES: usize = 3;
const RUNS_MAX: usize = 6;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Maximum duration of a step, even on a busy machine. A step that takes longer is in a deadlock.
const STEP_MAX: Duration = Duration::from_secs(60);
/// Shorter than the time for which the archive keeps the ids of batches.
const BATCH_IDS_KEPT_MS: i64 = 25 * DAY_MS;

/// An operation, with the nodes that perform it and its run.
#[derive(Debug, Clone)]
enum Step {
    Begin {
        node: usize,
    },
    /// Sends a batch with these times, under a name that may have been used before.
    Push {
        node: usize,
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    /// Sends a batch, drops the call after a number of polls, and sends the batch to another node.
    PushCutShort {
        node: usize,
        run: usize,
        name: u8,
        times: Vec<i64>,
        polls: usize,
    },
    /// Sends the same batch to two nodes and another batch to a third one, concurrently.
    PushTogether {
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    Finish {
        node: usize,
        run: usize,
    },
    /// Waits, then seals the logs that are due.
    Seal {
        node: usize,
    },
    /// All nodes seal concurrently, while a batch arrives.
    SealTogether {
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    /// Seals, and is cancelled after a number of polls.
    SealCutShort {
        node: usize,
        polls: usize,
    },
    Delete {
        node: usize,
        run: usize,
    },
    /// Two nodes delete the same log.
    DeleteTogether {
        run: usize,
    },
    Hold {
        node: usize,
        run: usize,
        is_held: bool,
    },
    /// Sets the retention of all logs, waits, and applies it on two nodes concurrently.
    Retain {
        days: u64,
        wait_hours: i64,
    },
    Sweep {
        node: usize,
    },
    /// Sets the clock forward or back.
    SetClock {
        ms: i64,
    },
    /// Replaces a node by a new process.
    Reopen,
    /// Fetches the log page by page: requests, builds and downloads on any node.
    Fetch {
        node: usize,
        run: usize,
        order: RecordOrder,
    },
    /// Requests a page, changes the log, and downloads the page.
    FetchLater {
        node: usize,
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    ReadLive {
        node: usize,
        run: usize,
        start: u64,
        count: u64,
        range: (i64, i64),
    },
    /// Reads the log while another node seals it.
    ReadWhileSealing {
        node: usize,
        run: usize,
    },
    Search {
        node: usize,
        run: usize,
        index: usize,
    },
    Count {
        node: usize,
    },
    Verify {
        node: usize,
    },
    Copy {
        node: usize,
    },
    /// Deletes a log while a batch arrives.
    PushWhileDeleting {
        run: usize,
        times: Vec<i64>,
        polls: usize,
    },
    /// Reads a log repeatedly while a batch arrives.
    ReadWhilePushing {
        run: usize,
        times: Vec<i64>,
    },
    /// Sweeps repeatedly while batches arrive.
    SweepWhilePushing {
        run: usize,
        times: Vec<i64>,
    },
    /// Seals the logs that are due, and deletes one of them a number of milliseconds later.
    SealWhileDeleting {
        node: usize,
        run: usize,
        after_ms: u64,
    },
    /// Applies a retention while a batch arrives.
    RetainWhilePushing {
        run: usize,
        times: Vec<i64>,
        polls: usize,
    },
    /// Applies a retention a number of milliseconds after a log has reached exactly the age of the retention.
    RetainAtTheEdge {
        run: usize,
        days: u64,
        after_ms: i64,
    },
    /// Requests several pages of a node concurrently.
    RequestTogether {
        node: usize,
        run: usize,
    },
    /// Requests a page, and its file immediately before and after the token expires.
    Expire {
        node: usize,
        run: usize,
    },
    Summarize {
        node: usize,
        run: usize,
        change: Change,
        made: Made,
    },
    SummarizeWhileDeleting {
        node: usize,
        run: usize,
        polls: usize,
    },
    Deliver {
        node: usize,
        work: Work,
    },
    RetryRefused {
        node: usize,
    },
    Collect {
        node: usize,
        run: usize,
        change: Change,
        attempt: Attempt,
    },
    Damage {
        node: usize,
        object: usize,
        at: usize,
        damage: Damage,
    },
    /// A node ends in the middle of a push, of sealing or of a sweep.
    Crash {
        run: usize,
        times: Vec<i64>,
        what: u8,
        after: Duration,
    },
}

/// A change to a log during another operation.
#[derive(Debug, Clone)]
enum Change {
    Nothing,
    Push(Vec<i64>),
    Delete,
    Seal,
}

/// The expected content of a run: its records in order of arrival, and its batches by name.
#[derive(Default)]
struct ModelRun {
    records: Vec<Record>,
    batches: HashMap<u8, Vec<Record>>,
    is_finished: bool,
    is_held: bool,
    /// Start of its retention period. Unit: epoch milliseconds.
    retained_from: i64,
    /// Number of deletions of its log, and how many of them were due to a retention.
    epoch: u64,
    deleted_by_retention: u64,
}

struct Machine {
    archive: Archive,
    /// The other nodes.
    others: Vec<Store>,
    workspace: WorkspaceId,
    runs: Vec<RunId>,
    model: Vec<ModelRun>,
    sink: Sink,
    upstream: Upstream,
    /// Number of steps so far. It is part of each message, which makes messages unique.
    number: usize,
    /// Unit: epoch milliseconds.
    begun_ms: i64,
    /// Of the runs whose batches are short.
    parity: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let run = || 0..RUNS_MAX;
    let name = || 0..12_u8;
    let times = || prop::collection::vec(prop_oneof![3 => 1_000..1_020_i64, 1 => 0..9_000_i64], 1..25);
    let order = || prop_oneof![Just(RecordOrder::Asc), Just(RecordOrder::Desc)];
    let step = prop_oneof![
        2 => node().prop_map(|node| Step::Begin { node }),
        10 => (node(), run(), name(), times()).prop_map(|(node, run, name, times)| Step::Push { node, run, name, times }),
        2 => (node(), run(), name(), times(), 0..6_usize)
            .prop_map(|(node, run, name, times, polls)| Step::PushCutShort { node, run, name, times, polls }),
        2 => (run(), name(), times()).prop_map(|(run, name, times)| Step::PushTogether { run, name, times }),
        4 => (node(), run()).prop_map(|(node, run)| Step::Finish { node, run }),
        3 => node().prop_map(|node| Step::Seal { node }),
        2 => (run(), name(), times()).prop_map(|(run, name, times)| Step::SealTogether { run, name, times }),
        1 => (node(), 0..8_usize).prop_map(|(node, polls)| Step::SealCutShort { node, polls }),
        1 => (node(), run()).prop_map(|(node, run)| Step::Delete { node, run }),
        1 => run().prop_map(|run| Step::DeleteTogether { run }),
        2 => (node(), run(), any::<bool>()).prop_map(|(node, run, is_held)| Step::Hold { node, run, is_held }),
        1 => (1..4_u64, 0..40_i64).prop_map(|(days, wait_hours)| Step::Retain { days, wait_hours }),
        2 => node().prop_map(|node| Step::Sweep { node }),
        1 => (-7_200_000..7_200_000_i64).prop_map(|ms| Step::SetClock { ms }),
        1 => Just(Step::Reopen),
        2 => (node(), run(), order()).prop_map(|(node, run, order)| Step::Fetch { node, run, order }),
        1 => (node(), run(), name(), times())
            .prop_map(|(node, run, name, times)| Step::FetchLater { node, run, name, times }),
        2 => (node(), run(), 0..60_u64, 1..60_u64, (0..9_000_i64, 0..9_000_i64))
            .prop_map(|(node, run, start, count, range)| Step::ReadLive { node, run, start, count, range }),
        1 => (node(), run()).prop_map(|(node, run)| Step::ReadWhileSealing { node, run }),
        2 => (node(), run(), 0..100_usize).prop_map(|(node, run, index)| Step::Search { node, run, index }),
        2 => node().prop_map(|node| Step::Count { node }),
        1 => node().prop_map(|node| Step::Verify { node }),
        1 => node().prop_map(|node| Step::Copy { node }),
    ];
    let polls = || 0..12_usize;
    let change = || {
        prop_oneof![
            3 => Just(Change::Nothing),
            2 => times().prop_map(Change::Push),
            1 => Just(Change::Delete),
            1 => Just(Change::Seal),
        ]
    };
    let made = || prop_oneof![3 => Just(Made::Saved), 1 => Just(Made::Postponed), 1 => Just(Made::Abandoned)];
    let beside = prop_oneof![
        2 => (run(), times(), polls())
            .prop_map(|(run, times, polls)| Step::PushWhileDeleting { run, times, polls }),
        5 => (run(), times()).prop_map(|(run, times)| Step::ReadWhilePushing { run, times }),
        3 => (run(), times()).prop_map(|(run, times)| Step::SweepWhilePushing { run, times }),
        4 => (node(), run(), 0..10_u64).prop_map(|(node, run, after_ms)| Step::SealWhileDeleting { node, run, after_ms }),
        2 => (run(), times(), polls())
            .prop_map(|(run, times, polls)| Step::RetainWhilePushing { run, times, polls }),
        1 => (run(), 1..4_u64, -1..2_i64)
            .prop_map(|(run, days, after_ms)| Step::RetainAtTheEdge { run, days, after_ms }),
        2 => (node(), run()).prop_map(|(node, run)| Step::RequestTogether { node, run }),
        1 => (node(), run()).prop_map(|(node, run)| Step::Expire { node, run }),
        1 => (run(), times(), 0..3_u8, (0..10_000_u64).prop_map(Duration::from_micros))
            .prop_map(|(run, times, what, after)| Step::Crash { run, times, what, after }),
        4 => (node(), any::<usize>(), any::<usize>(), damages())
            .prop_map(|(node, object, at, damage)| Step::Damage { node, object, at, damage }),
    ];
    let derived = prop_oneof![
        2 => (node(), run(), change(), made())
            .prop_map(|(node, run, change, made)| Step::Summarize { node, run, change, made }),
        4 => (node(), run(), polls()).prop_map(|(node, run, polls)| Step::SummarizeWhileDeleting { node, run, polls }),
        6 => (node(), works(change())).prop_map(|(node, work)| Step::Deliver { node, work }),
        1 => node().prop_map(|node| Step::RetryRefused { node }),
        2 => (node(), run(), change(), attempts())
            .prop_map(|(node, run, change, attempt)| Step::Collect { node, run, change, attempt }),
    ];
    prop::collection::vec(prop_oneof![5 => step, 2 => beside, 2 => derived], 1..40)
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![Just(Damage::Lost), Just(Damage::CutShort), Just(Damage::BitFlipped), Just(Damage::TextAltered),]
}

fn works(change: impl Strategy<Value = Change>) -> impl Strategy<Value = Work> {
    let stop = prop_oneof![
        4 => Just(Stop::Finished),
        1 => Just(Stop::Released),
        1 => Just(Stop::Failed),
        2 => Just(Stop::Gone),
        2 => Just(Stop::GoneAfterSending),
    ];
    let refused = prop_oneof![3 => Just(None), 1 => (0..3_usize).prop_map(Some)];
    (1..20_usize, 0..4_usize, stop, refused, prop::bool::weighted(0.2), change).prop_map(
        |(records, steps, stop, refused, is_slow, change)| Work { records, steps, stop, refused, is_slow, change },
    )
}

fn attempts() -> impl Strategy<Value = Attempt> {
    prop_oneof![
        2 => Just(Attempt::Landed),
        1 => Just(Attempt::Failed),
        1 => Just(Attempt::Released),
        2 => Just(Attempt::Gone),
    ]
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the test says for how long")]
fn sequences() -> u32 {
    let given = std::env::var("RUNLOG_SEQUENCES").ok().and_then(|number| number.parse().ok());
    given.unwrap_or_else(pairs::cases)
}

async fn count_on(store: &Store) -> usize {
    let scan = store.query().scan(ScanFilter::default(), &[ScanColumn::Time]);
    let batches: Vec<arrow_array::RecordBatch> = scan.stream().try_collect().await.unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
}

/// Maps the first few of these times to an interval of a few milliseconds.
fn narrow(times: &[i64]) -> Vec<i64> {
    times.iter().take(3).map(|ms| 1_000 + times[0] % 6 + ms % 3).collect()
}

async fn seal_all(store: &Store) {
    while store.maintenance().seal().await.unwrap().runs > 0 {}
}

impl ModelRun {
    fn new(now_ms: i64) -> Self {
        Self { retained_from: now_ms, ..Self::default() }
    }

    fn sorted(&self) -> Vec<Record> {
        sorted(self.records.clone(), TimeRange::ALL)
    }

    /// Applies a batch with this name to the model, and returns the expected outcome: whether the batch is a
    /// repetition.
    fn expect_push(&mut self, name: u8, records: &[Record], now_ms: i64) -> Result<bool, ErrorKind> {
        match self.batches.get(&name) {
            Some(before) if before == records => Ok(true),
            Some(_) => Err(ErrorKind::Conflict),
            None => {
                self.batches.insert(name, records.to_vec());
                self.records.extend_from_slice(records);
                if !self.is_finished {
                    self.retained_from = now_ms;
                }
                Ok(false)
            }
        }
    }

    fn expect_delete(&mut self) -> Result<u64, ErrorKind> {
        if self.is_held {
            return Err(ErrorKind::Conflict);
        }
        self.batches.clear();
        self.epoch += 1;
        Ok(std::mem::take(&mut self.records).len() as u64)
    }
}

impl Machine {
    async fn new(page_records_max: u64) -> Self {
        let archive = Archive::with_page_limit(page_records_max).await;
        let mut others = Vec::new();
        for _ in 1..NODES {
            others.push(archive.another_node().await);
        }
        let workspace = archive.store.runs().get(archive.run_id).await.unwrap().unwrap().workspace_id;
        let begun_ms = archive.now().as_millis();
        let (runs, model) = (vec![archive.run_id], vec![ModelRun::new(begun_ms)]);
        let (sink, upstream) = (Sink::default(), Upstream::default());
        let parity = usize::from(page_records_max.is_multiple_of(2));
        Self { archive, others, workspace, runs, model, sink, upstream, number: 0, begun_ms, parity }
    }

    fn node(&self, index: usize) -> &Store {
        match index % NODES {
            0 => &self.archive.store,
            index => &self.others[index - 1],
        }
    }

    fn now_ms(&self) -> i64 {
        self.archive.now().as_millis()
    }

    /// Returns one of the existing runs.
    fn some_run(&self, run: usize) -> usize {
        run % self.runs.len()
    }

    /// The batches of every second run span a short time, so that one may begin in the millisecond in which another
    /// ends.
    fn is_narrow(&self, run: usize) -> bool {
        (run + self.parity).is_multiple_of(2)
    }

    /// Returns the records of a batch with this name. In every second step, a name that was used before gets the same
    /// records again.
    fn batch(&self, run: usize, name: u8, times: &[i64]) -> Vec<Record> {
        let again = self.model[run].batches.get(&name).filter(|_| self.number.is_multiple_of(2)).cloned();
        again.unwrap_or_else(|| {
            let message = |index| format!("s{}r{index}e", self.number);
            let times = if self.is_narrow(run) { narrow(times) } else { times.to_vec() };
            times.into_iter().enumerate().map(|(index, ms)| record(ms, &message(index))).collect()
        })
    }

    async fn apply(&mut self, step: Step) {
        let text = format!("{step:?}");
        let done = tokio::time::timeout(STEP_MAX, self.take(step)).await;
        assert!(done.is_ok(), "a step does not end: {text}");
    }

    async fn take(&mut self, step: Step) {
        self.number += 1;
        if self.now_ms() - self.begun_ms > BATCH_IDS_KEPT_MS {
            return;
        }
        match step {
            Step::Begin { node } => self.begin(node).await,
            Step::Push { node, run, name, times } => {
                let run = self.some_run(run);
                self.push(node, run, name, &times).await;
            }
            Step::PushCutShort { node, run, name, times, polls } => {
                let run = self.some_run(run);
                let records = self.batch(run, name, &times);
                let _ = cut_short(polls, push(self.node(node), self.runs[run], name, &records)).await;
                // Nobody knows whether it is stored; sending it again settles it.
                let answer = push(self.node(node + 1), self.runs[run], name, &records).await;
                let now_ms = self.now_ms();
                let expected = self.model[run].expect_push(name, &records, now_ms);
                assert_eq!(answer.map(drop), expected.map(drop), "a batch for run {run} that was cut short");
            }
            Step::PushTogether { run, name, times } => self.push_together(run, name, &times).await,
            Step::Finish { node, run } => {
                let run = self.some_run(run);
                self.finish(node, run).await;
            }
            Step::Seal { node } => {
                self.archive.clock.advance_ms(31_000);
                seal_all(self.node(node)).await;
            }
            Step::SealTogether { run, name, times } => self.seal_together(run, name, &times).await,
            Step::SealCutShort { node, polls } => {
                self.archive.clock.advance_ms(31_000);
                let _ = cut_short(polls, self.node(node).maintenance().seal()).await;
                // The claim expires first; until then, no other node may seal these runs.
                self.archive.clock.advance_ms(HOUR_MS);
            }
            Step::Delete { node, run } => {
                let run = self.some_run(run);
                let ticket = self.request(node, run, TimeRange::ALL, RecordOrder::Desc).await;
                self.delete(node, run).await;
                let status =
                    self.node(node + 1).pages().page_status(self.runs[run], &ticket.token, Duration::ZERO).await;
                assert_eq!(status.is_err(), !self.model[run].is_held, "the page of a log that was deleted: {status:?}");
            }
            Step::DeleteTogether { run } => self.delete_together(run).await,
            Step::Hold { node, run, is_held } => {
                let run = self.some_run(run);
                self.node(node)
                    .maintenance()
                    .set_legal_hold(self.runs[run], is_held.then(LegalHold::default).as_ref())
                    .await
                    .unwrap();
                self.model[run].is_held = is_held;
            }
            Step::Retain { days, wait_hours } => self.retain(days, wait_hours).await,
            Step::Sweep { node } => {
                self.archive.clock.advance_ms(2 * HOUR_MS);
                self.node(node).maintenance().sweep().await.unwrap();
            }
            Step::SetClock { ms } => self.archive.clock.advance_ms(ms),
            Step::Reopen => self.archive.reopen().await,
            Step::Fetch { node, run, order } => self.fetch(node, run, order).await,
            Step::FetchLater { node, run, name, times } => self.fetch_later(node, run, name, &times).await,
            Step::ReadLive { node, run, start, count, range } => self.read_live(node, run, start, count, range).await,
            Step::ReadWhileSealing { node, run } => self.read_while_sealing(node, run).await,
            Step::Search { node, run, index } => self.search(node, run, index).await,
            Step::Count { node } => {
                let expected: usize = self.model.iter().map(|run| run.records.len()).sum();
                assert_eq!(count_on(self.node(node)).await, expected, "records in a scan");
            }
            Step::Verify { node } => self.verify(node).await,
            Step::Copy { node } => {
                let copy = Copy::empty().await;
                self.node(node).maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
                for (run_id, model) in self.runs.iter().zip(&self.model) {
                    assert_eq!(copy.records_of(*run_id).await, model.sorted(), "a copy of run {run_id}");
                }
                let verified = copy.store.maintenance().verify(false, |_| ()).await.unwrap();
                assert_eq!(verified.problem_texts, Vec::<String>::new(), "in a copy");
            }
            Step::PushWhileDeleting { run, times, polls } => self.push_while_deleting(run, &times, polls).await,
            Step::ReadWhilePushing { run, times } => self.read_while_pushing(run, &times).await,
            Step::SweepWhilePushing { run, times } => self.sweep_while_pushing(run, &times).await,
            Step::SealWhileDeleting { node, run, after_ms } => {
                let run = self.some_run(run);
                self.make_sealable(node, run).await;
                let (sealing, deleting) = (self.node(node).clone(), self.node(node + 1).clone());
                let id = self.runs[run];
                // Sealing continues in its own task, which is not delayed.
                let deletion = async {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    deleting.maintenance().delete_log(id).await
                };
                let (sealed, deleted) = tokio::join!(sealing.maintenance().seal(), deletion);
                sealed.unwrap();
                self.expect_deleted(run, deleted);
                self.push(node + 2, run, self.fresh_name(), &[1_002]).await;
            }
            Step::RetainWhilePushing { run, times, polls } => self.retain_while_pushing(run, &times, polls).await,
            Step::RetainAtTheEdge { run, days, after_ms } => {
                let run = self.some_run(run);
                let edge_ms = self.model[run].retained_from + days.cast_signed() * DAY_MS + after_ms;
                if edge_ms >= self.now_ms() {
                    self.archive.clock.advance_ms(edge_ms - self.now_ms());
                    self.retain(days, 0).await;
                }
            }
            Step::RequestTogether { node, run } => {
                let run = self.some_run(run);
                let range = |end| TimeRange { start: None, end: Some(Timestamp::clamped(end)) };
                let request = |end| self.request(node, run, range(end), RecordOrder::Asc);
                futures::future::join_all((1_000..1_020).map(request)).await;
            }
            Step::Expire { node, run } => self.expire(node, run).await,
            Step::Summarize { node, run, change, made } => {
                let run = self.some_run(run);
                self.summarize(node, run, &change, made).await;
            }
            Step::SummarizeWhileDeleting { node, run, polls } => {
                let run = self.some_run(run);
                self.summarize_while_deleting(node, run, polls).await;
            }
            Step::Deliver { node, work } => _ = self.deliver(node, &work).await,
            Step::RetryRefused { node } => self.retry_refused(node).await,
            Step::Collect { node, run, change, attempt } => {
                let run = self.some_run(run);
                self.collect(node, run, &change, attempt).await;
            }
            Step::Damage { node, object, at, damage } => self.damage(node, object, at, damage).await,
            Step::Crash { run, times, what, after } => self.crash_of(run, &times, what, after).await,
        }
    }

    fn index_of(&self, run_id: RunId) -> usize {
        self.runs.iter().position(|id| *id == run_id).unwrap()
    }

    /// Returns a name that no other step uses.
    fn fresh_name(&self) -> u8 {
        u8::try_from(200 + self.number % 50).unwrap()
    }

    async fn push(&mut self, node: usize, run: usize, name: u8, times: &[i64]) {
        let records = self.batch(run, name, times);
        let answer = push(self.node(node), self.runs[run], name, &records).await;
        let now_ms = self.now_ms();
        let expected = self.model[run].expect_push(name, &records, now_ms);
        assert_eq!(answer.map(|stored| stored.repeated), expected, "a batch for run {run}");
        assert_eq!(
            records_on(self.node(node + 1), self.runs[run]).await,
            self.model[run].sorted(),
            "run {run}, pushed to"
        );
        self.check_live(node + 2, run).await;
    }

    /// Reads a whole log as a live page, slice by slice.
    async fn check_live(&self, node: usize, run: usize) {
        let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 10_000 };
        let page = self.node(node).logs().live_page(self.runs[run], &query).await.unwrap();
        assert_eq!(page.records, self.model[run].sorted(), "run {run} as a live page");
    }

    async fn delete(&mut self, node: usize, run: usize) {
        let deleted = self.node(node).maintenance().delete_log(self.runs[run]).await;
        self.expect_deleted(run, deleted);
    }

    fn expect_deleted(&mut self, run: usize, deleted: runlog_store::Result<DeletedLog>) {
        let expected = self.model[run].expect_delete();
        assert_eq!(deleted.map(|log| log.records).map_err(|error| error.kind()), expected, "deletion of {run}");
    }

    async fn verify(&self, node: usize) {
        let verified = self.node(node).maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!(verified.problem_texts, Vec::<String>::new());
    }

    async fn change(&mut self, node: usize, run: usize, change: &Change) {
        match change {
            Change::Nothing => {}
            Change::Push(times) => self.push(node, run, self.fresh_name(), times).await,
            Change::Delete => self.delete(node, run).await,
            Change::Seal => {
                self.archive.clock.advance_ms(31_000);
                seal_all(self.node(node)).await;
            }
        }
    }

    /// Makes a run that has records and has ended due for sealing.
    async fn make_sealable(&mut self, node: usize, run: usize) {
        self.push(node, run, self.fresh_name(), &[1_001, 1_003]).await;
        self.finish(node, run).await;
        self.archive.clock.advance_ms(31_000);
    }

    async fn seal_one(&mut self, node: usize, run: usize) {
        self.make_sealable(node, run).await;
        seal_all(self.node(node)).await;
    }

    async fn push_while_deleting(&mut self, run: usize, times: &[i64], polls: usize) {
        let run = self.some_run(run);
        let (name, id) = (self.fresh_name(), self.runs[run]);
        let records = self.batch(run, name, times);
        let (pushing, deleting) = (self.node(0).clone(), self.node(1).clone());
        let (answer, deleted) =
            interleaved(polls, push(&pushing, id, name, &records), deleting.maintenance().delete_log(id)).await;
        assert!(!answer.unwrap().repeated);
        let left = records_on(self.node(2), id).await;
        let now_ms = self.now_ms();
        // The remaining records show which of the two operations came first.
        let model = &mut self.model[run];
        let is_first = left.is_empty() || model.is_held;
        if is_first {
            model.expect_push(name, &records, now_ms).unwrap();
        }
        self.expect_deleted(run, deleted);
        if !is_first {
            self.model[run].expect_push(name, &records, now_ms).unwrap();
        }
        assert_eq!(left, self.model[run].sorted(), "run {run}, deleted while a batch arrived");
    }

    async fn read_while_pushing(&mut self, run: usize, times: &[i64]) {
        let run = self.some_run(run);
        let (name, id) = (self.fresh_name(), self.runs[run]);
        let records = self.batch(run, name, times);
        let before = self.model[run].sorted();
        let (pushing, reading) = (self.node(0).clone(), self.node(1).clone());
        let sent = records.clone();
        let push = tokio::spawn(async move { push(&pushing, id, name, &sent).await });
        let mut seen = Vec::new();
        while !push.is_finished() {
            seen.push(records_on(&reading, id).await);
        }
        let now_ms = self.now_ms();
        let expected = self.model[run].expect_push(name, &records, now_ms);
        assert_eq!(push.await.unwrap().map(|stored| stored.repeated), expected);
        let after = self.model[run].sorted();
        let first_after = seen.iter().position(|log| *log == after).unwrap_or(seen.len());
        assert!(seen[..first_after].iter().all(|log| *log == before), "run {run} before a batch arrived");
        assert!(seen[first_after..].iter().all(|log| *log == after), "run {run} after a batch arrived");
    }

    async fn sweep_while_pushing(&mut self, run: usize, times: &[i64]) {
        let run = self.some_run(run);
        let (name, id) = (self.fresh_name(), self.runs[run]);
        let records = self.batch(run, name, times);
        let (pushing, sent) = (self.node(0).clone(), records.clone());
        let push = tokio::spawn(async move { push(&pushing, id, name, &sent).await });
        while !push.is_finished() {
            self.node(1).maintenance().sweep().await.unwrap();
        }
        let now_ms = self.now_ms();
        let expected = self.model[run].expect_push(name, &records, now_ms);
        assert_eq!(push.await.unwrap().map(|stored| stored.repeated), expected);
        assert_eq!(records_on(self.node(2), id).await, self.model[run].sorted(), "run {run} beside a sweep");
    }

    async fn retain_while_pushing(&mut self, run: usize, times: &[i64], polls: usize) {
        let run = self.some_run(run);
        let edge_ms = self.model[run].retained_from + DAY_MS + 1;
        self.archive.clock.advance_ms((edge_ms - self.now_ms()).max(0));
        self.set_retention(Some(1)).await;
        let due = self.due_for_deletion(1);
        let (name, id) = (self.fresh_name(), self.runs[run]);
        let records = self.batch(run, name, times);
        let (retaining, pushing) = (self.node(1).clone(), self.node(0).clone());
        let pass = retaining.maintenance().apply_retention();
        let (report, answer) = interleaved(polls, pass, push(&pushing, id, name, &records)).await;
        let (report, now_ms) = (report.unwrap(), self.now_ms());
        assert!(!answer.unwrap().repeated);
        let left = records_on(self.node(2), id).await;
        // A log that has received records since it was examined is kept; an ended log may have been examined after the
        // records arrived.
        let is_first = left.is_empty() && self.model[run].is_finished;
        if is_first {
            self.model[run].expect_push(name, &records, now_ms).unwrap();
        }
        let is_deleted = is_first || due.contains(&run) && left.len() == records.len();
        let others = due.into_iter().filter(|other| *other != run);
        let deleted: Vec<usize> = others.chain(is_deleted.then_some(run)).collect();
        assert_eq!(report.runs, deleted.len() as u64, "logs deleted by a pass while a batch arrived");
        for run in deleted {
            self.expect_deleted_by_retention(run).await;
        }
        if !is_first {
            self.model[run].expect_push(name, &records, now_ms).unwrap();
        }
        assert_eq!(left, self.model[run].sorted(), "run {run}, which received a batch while a retention was applied");
        self.set_retention(None).await;
    }

    async fn expire(&mut self, node: usize, run: usize) {
        let run = self.some_run(run);
        let ticket = self.request(node, run, TimeRange::ALL, RecordOrder::Asc).await;
        let life_ms = StoreSettings::in_folder(std::path::Path::new("")).page_life_ms;
        let status = || self.node(node + 1).pages().page_status(self.runs[run], &ticket.token, Duration::ZERO);
        self.archive.clock.advance_ms(life_ms - 1);
        while self.node(node).pages().build_next_page().await.unwrap() {}
        let last = status().await;
        assert!(matches!(last, Ok(PageStatus::Ready(_))), "in the last moment of a token: {last:?}");
        self.archive.clock.advance_ms(1);
        assert_eq!(status().await.map_err(|error| error.kind()), Err(ErrorKind::Expired), "after its hour");
    }

    async fn crash_of(&mut self, run: usize, times: &[i64], what: u8, after: Duration) {
        let run = self.some_run(run);
        let (name, run_id) = (self.fresh_name(), self.runs[run]);
        let records = self.batch(run, name, times);
        self.archive.clock.advance_ms(31_000);
        let doing = match what {
            0 => Doing::Pushing { run_id, name, records: records.clone() },
            1 => Doing::Sealing,
            _ => Doing::Sweeping,
        };
        self.crash(doing, after).await;
        if what == 0 {
            // Nobody knows whether it is stored; sending it again settles it.
            let answer = push(self.node(1), run_id, name, &records).await;
            let now_ms = self.now_ms();
            let expected = self.model[run].expect_push(name, &records, now_ms);
            assert_eq!(answer.map(drop), expected.map(drop), "a batch for run {run} whose node is gone");
        }
        // The leases of the crashed node expire.
        self.archive.clock.advance_ms(HOUR_MS);
        assert_eq!(records_on(self.node(2), run_id).await, self.model[run].sorted(), "run {run} after a node is gone");
    }

    async fn begin(&mut self, node: usize) {
        if self.runs.len() == RUNS_MAX {
            return;
        }
        let run_id = self.archive.start_another_run().await;
        assert!(self.node(node).runs().get(run_id).await.unwrap().is_some());
        self.runs.push(run_id);
        let now_ms = self.now_ms();
        self.model.push(ModelRun::new(now_ms));
    }

    async fn finish(&mut self, node: usize, run: usize) {
        if self.model[run].is_finished {
            return;
        }
        let finish = finish_body(RunStatus::Successful, None);
        self.node(node).runs().finish(self.runs[run], &finish).await.unwrap();
        self.note_finished(run);
    }

    /// Notes that a run ends now, unless it has ended before.
    fn note_finished(&mut self, run: usize) {
        let now_ms = self.now_ms();
        let model = &mut self.model[run];
        if !model.is_finished {
            (model.is_finished, model.retained_from) = (true, now_ms);
            self.sink.note_end(now_ms);
        }
    }

    async fn push_together(&mut self, run: usize, name: u8, times: &[i64]) {
        let run = self.some_run(run);
        let (records, other_name) = (self.batch(run, name, times), name + 100);
        let other: Vec<Record> = vec![record(times[0], &format!("s{}beside", self.number))];
        let id = self.runs[run];
        let (first, second, beside) = tokio::join!(
            push(self.node(0), id, name, &records),
            push(self.node(1), id, name, &records),
            push(self.node(2), id, other_name, &other),
        );
        let now_ms = self.now_ms();
        let model = &mut self.model[run];
        let expected = model.expect_push(name, &records, now_ms);
        match expected {
            // One of the two calls stores the batch, and the other finds it stored.
            Ok(was_stored) => {
                let mut repeated = [first.unwrap().repeated, second.unwrap().repeated];
                repeated.sort_unstable();
                assert_eq!(repeated, [was_stored, true], "the same batch at once");
            }
            Err(kind) => assert_eq!((first.map(drop), second.map(drop)), (Err(kind), Err(kind))),
        }
        let expected = model.expect_push(other_name, &other, now_ms);
        assert_eq!(beside.map(|stored| stored.repeated), expected, "a batch beside others");
        // The order of records with the same time depends on which batch arrived first, which the test cannot know.
        let arrived = records_on(self.node(0), id).await;
        let model = &mut self.model[run];
        let (mut found, mut listed) = (arrived.clone(), model.records.clone());
        let key = |record: &Record| (record.time, record.message.clone());
        found.sort_by_key(key);
        listed.sort_by_key(key);
        assert_eq!(found, listed, "after batches that arrived at once");
        model.records = arrived;
    }

    async fn seal_together(&mut self, run: usize, name: u8, times: &[i64]) {
        let run = self.some_run(run);
        let records = self.batch(run, name, times);
        self.archive.clock.advance_ms(31_000);
        let (answer, (), ()) = tokio::join!(
            push(self.node(0), self.runs[run], name, &records),
            seal_all(self.node(1)),
            seal_all(self.node(2)),
        );
        let now_ms = self.now_ms();
        let expected = self.model[run].expect_push(name, &records, now_ms);
        assert_eq!(answer.map(|stored| stored.repeated), expected, "a batch for run {run} while logs are sealed");
    }

    async fn delete_together(&mut self, run: usize) {
        let run = self.some_run(run);
        let id = self.runs[run];
        let (first, second) =
            tokio::join!(self.node(0).maintenance().delete_log(id), self.node(1).maintenance().delete_log(id));
        let both = [first, second].map(|deleted| deleted.map(|log| log.records).map_err(|error| error.kind()));
        match self.model[run].expect_delete() {
            Ok(records) => {
                assert_eq!(both.map(Result::unwrap).iter().sum::<u64>(), records, "deleted twice at once");
                self.model[run].epoch += 1;
            }
            Err(kind) => assert_eq!(both, [Err(kind), Err(kind)]),
        }
    }

    async fn set_retention(&self, days: Option<u64>) {
        let retention = Retention { days, bytes: None };
        self.archive.store.maintenance().set_retention(self.workspace, retention).await.unwrap();
    }

    /// Returns the runs whose logs are older than this number of days.
    fn due_for_deletion(&self, days: u64) -> Vec<usize> {
        let before = self.now_ms() - days.cast_signed() * DAY_MS;
        let is_due = |run: &usize| {
            let model = &self.model[*run];
            !model.records.is_empty() && !model.is_held && model.retained_from < before
        };
        (0..self.runs.len()).filter(is_due).collect()
    }

    async fn retain(&mut self, days: u64, wait_hours: i64) {
        self.set_retention(Some(days)).await;
        self.archive.clock.advance_ms(wait_hours * HOUR_MS);
        let due = self.due_for_deletion(days);
        let (first, second) =
            tokio::join!(self.node(1).maintenance().apply_retention(), self.node(2).maintenance().apply_retention());
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.runs + second.runs, due.len() as u64, "logs deleted by two passes at once");
        for run in due {
            self.expect_deleted_by_retention(run).await;
        }
        self.set_retention(None).await;
    }

    /// Checks that the log was deleted, and that the audit log has one entry for each deletion.
    async fn expect_deleted_by_retention(&mut self, run: usize) {
        let model = &mut self.model[run];
        model.expect_delete().unwrap();
        model.deleted_by_retention += 1;
        let expected = model.deleted_by_retention;
        let filter = AuditFilter { subject: Some(self.runs[run].to_string()), limit: 9, ..AuditFilter::default() };
        let (_, entries) = self.node(0).audit().entries(&filter).await.unwrap();
        assert_eq!(entries, expected, "audit entries of the deletions of run {run}");
    }

    async fn fetch(&self, node: usize, run: usize, order: RecordOrder) {
        let run = self.some_run(run);
        let mut pages = self.naive_pages(node, run, order).await;
        let combined: Vec<Record> = match order {
            RecordOrder::Desc => pages.concat().into_iter().rev().collect(),
            RecordOrder::Asc => {
                pages.reverse();
                pages.concat()
            }
        };
        assert_eq!(combined, self.model[run].sorted(), "pages of run {run}");
    }

    /// Returns the pages of a run, newest page first, as a client receives them that follows the vendor's guide.
    async fn naive_pages(&self, node: usize, run: usize, order: RecordOrder) -> Vec<Vec<Record>> {
        let (mut range, mut pages) = (TimeRange::ALL, Vec::new());
        loop {
            let ticket = self.request(node, run, range, order).await;
            let records = self.download(node + 2, run, &ticket.token).await;
            assert_eq!(records.len() as u64, ticket.records);
            pages.push(records);
            let Some(header) = ticket.end.next_end_text() else { return pages };
            range.end = Some(header.parse().unwrap());
        }
    }

    async fn request(
        &self,
        node: usize,
        run: usize,
        range: TimeRange,
        order: RecordOrder,
    ) -> runlog_store::pages::PageTicket {
        let run_id = self.runs[run];
        let request = PageRequest { run_id, range, format: FileFormat::Json, order, file_name: "log".to_owned() };
        self.node(node).pages().request_page(&request).await.unwrap()
    }

    async fn download(&self, node: usize, run: usize, token: &str) -> Vec<Record> {
        while self.node(node + 1).pages().build_next_page().await.unwrap() {}
        page_records(self.node(node), self.runs[run], token).await
    }

    async fn fetch_later(&mut self, node: usize, run: usize, name: u8, times: &[i64]) {
        let run = self.some_run(run);
        let as_it_was = self.model[run].sorted();
        let ticket = self.request(node, run, TimeRange::ALL, RecordOrder::Asc).await;
        let records = self.batch(run, name, times);
        let answer = push(self.node(node + 1), self.runs[run], name, &records).await;
        let now_ms = self.now_ms();
        let expected = self.model[run].expect_push(name, &records, now_ms);
        assert_eq!(answer.map(|stored| stored.repeated), expected);
        let page = self.download(node, run, &ticket.token).await;
        let newest = as_it_was.len().saturating_sub(page.len());
        assert_eq!(page, as_it_was[newest..], "a page of run {run} as it was when it was requested");
    }

    async fn read_live(&self, node: usize, run: usize, start: u64, count: u64, range: (i64, i64)) {
        let run = self.some_run(run);
        let end = |ms| Some(Timestamp::clamped(ms));
        let range = TimeRange { start: end(range.0.min(range.1)), end: end(range.0.max(range.1)) };
        let query = LiveQuery { range, order: RecordOrder::Asc, start_index: start, count };
        let page = self.node(node).logs().live_page(self.runs[run], &query).await.unwrap();
        let inside = sorted(self.model[run].records.clone(), range);
        let wanted: Vec<Record> = inside.iter().skip(start as usize).take(count as usize).cloned().collect();
        assert_eq!((page.total, page.filtered), (self.model[run].records.len() as u64, inside.len() as u64));
        assert_eq!(page.records, wanted, "a live page of run {run}");
    }

    async fn read_while_sealing(&self, node: usize, run: usize) {
        let run = self.some_run(run);
        let logs = self.node(node).logs();
        let mut reader = logs.read_records(self.runs[run], TimeRange::ALL, RecordOrder::Asc).await.unwrap();
        let mut read = reader.next().await.unwrap().unwrap_or_default();
        self.archive.clock.advance_ms(120_000);
        self.node(node + 1).maintenance().seal().await.unwrap();
        while let Some(more) = reader.next().await.unwrap() {
            read.extend(more);
        }
        assert_eq!(read, self.model[run].sorted(), "run {run} while it was sealed");
    }

    async fn search(&self, node: usize, run: usize, index: usize) {
        let run = self.some_run(run);
        let records = &self.model[run].records;
        let wanted = records.get(index % records.len().max(1)).and_then(|record| record.message.clone());
        let text = wanted.clone().unwrap_or_else(|| "s0r0e".to_owned());
        let page = self.node(node).query().search(search_for(&text)).await.unwrap();
        let found: Vec<_> = page.items.into_iter().map(|hit| (hit.run_id, hit.message)).collect();
        let expected: Vec<_> = wanted.into_iter().map(|message| (self.runs[run], Some(message))).collect();
        assert_eq!((page.is_complete, found), (true, expected), "a search for {text:?}");
    }

    async fn check(&self) {
        for index in 0..NODES {
            let store = self.node(index);
            for run in 0..self.runs.len() {
                self.check_live(index, run).await;
            }
            for (run_id, model) in self.runs.iter().zip(&self.model) {
                assert_eq!(records_on(store, *run_id).await, model.sorted(), "run {run_id} on node {index}");
                let run = store.runs().get(*run_id).await.unwrap().unwrap();
                assert_eq!(run.records, model.records.len() as u64);
            }
        }
    }

    /// Final check: all data equals the list, before and after sealing and sweeping everything that is due.
    async fn end(mut self) {
        self.check().await;
        self.archive.clock.advance_ms(31_000);
        seal_all(self.node(1)).await;
        self.archive.clock.advance_ms(2 * HOUR_MS);
        self.node(2).maintenance().sweep().await.unwrap();
        self.check().await;
        self.archive.clock.advance_ms(4 * DAY_MS);
        self.summarize_rest().await;
        self.deliver_rest().await;
        self.verify(0).await;
        for store in &self.others {
            store.close().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(sequences()))]

    fn the_archive_behaves_like_a_list(steps in steps(), page_records_max in 3..60_u64) {
        runtime().block_on(async {
            let mut machine = Machine::new(page_records_max).await;
            for step in steps {
                machine.apply(step).await;
            }
            machine.end().await;
        });
    }
}

crate::common::pairs::on_each_pair! {
    async: ;
    sync: the_archive_behaves_like_a_list
}
