//! An archive against a plain list: sequences of everything that clients and jobs do, by three nodes, in any order. After
//! each step, what was read is compared with what the list holds; at the end, everything, on every node.
//!
//! `RUNLOG_SEQUENCES=N` runs so many sequences over each pair of backends.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::collections::HashMap;

use futures::TryStreamExt;
use proptest::prelude::*;
use runlog_model::{FileFormat, Record, RecordOrder, RunId, RunStatus, TimeRange, Timestamp, WorkspaceId};
use runlog_store::audit::AuditFilter;
use runlog_store::logs::LiveQuery;
use runlog_store::maintenance::Retention;
use runlog_store::pages::PageRequest;
use runlog_store::query::{ScanColumn, ScanFilter};
use runlog_store::{ErrorKind, Store};

use crate::common::{finish_body, page_records, pairs, push, record, records_on, runtime, search_for, sorted};

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

/// An archive over the pair of backends of this test.
type Archive = common::Archive<pairs::Chosen>;
/// One over the other two backends, to copy to.
type Copy = common::Archive<pairs::Other>;

const NODES: usize = 3;
const RUNS_MAX: usize = 6;
const DAY_MS: i64 = 86_400_000;
/// Shorter than the time after which ids of batches are forgotten.
const BATCH_IDS_KEPT_MS: i64 = 25 * DAY_MS;

/// What is done, by which nodes, to which run.
#[derive(Debug, Clone)]
enum Step {
    Begin {
        node: usize,
    },
    /// Sends a batch of these times under a name that may have been used.
    Push {
        node: usize,
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    /// The same, and the sender goes away after so many polls; then it sends the batch to another node.
    PushCutShort {
        node: usize,
        run: usize,
        name: u8,
        times: Vec<i64>,
        polls: usize,
    },
    /// Sends the same batch to two nodes, and another batch to a third, at once.
    PushTogether {
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    Finish {
        node: usize,
        run: usize,
    },
    /// Waits, then seals what is due.
    Seal {
        node: usize,
    },
    /// All nodes seal at once, while a batch arrives.
    SealTogether {
        run: usize,
        name: u8,
        times: Vec<i64>,
    },
    /// Seals, and is cancelled after so many polls.
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
    /// Sets the retention of all logs, waits, and applies it on two nodes at once.
    Retain {
        days: u64,
        wait_hours: i64,
    },
    Sweep {
        node: usize,
    },
    /// The clock is set forward or back.
    SetClock {
        ms: i64,
    },
    /// Another process takes the place of a node.
    Reopen,
    /// Fetches the log page by page: requests, builds and downloads on any node.
    Fetch {
        node: usize,
        run: usize,
        order: RecordOrder,
    },
    /// Asks for a page, changes the log, and downloads the page.
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
}

/// What a run should hold: its records in order of arrival, and its batches by their names.
#[derive(Default)]
struct ModelRun {
    records: Vec<Record>,
    batches: HashMap<u8, Vec<Record>>,
    is_finished: bool,
    is_held: bool,
    /// When its retention begins. Unit: epoch milliseconds.
    retained_from: i64,
}

struct Machine {
    archive: Archive,
    /// The other nodes.
    others: Vec<Store>,
    workspace: WorkspaceId,
    runs: Vec<RunId>,
    model: Vec<ModelRun>,
    /// Steps so far; part of each message, so that no two are equal.
    number: usize,
    /// Unit: epoch milliseconds.
    begun_ms: i64,
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
        1 => (node(), run(), any::<bool>()).prop_map(|(node, run, is_held)| Step::Hold { node, run, is_held }),
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
    prop::collection::vec(step, 1..40)
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the test says for how long")]
fn sequences() -> u32 {
    let given = std::env::var("RUNLOG_SEQUENCES").ok().and_then(|number| number.parse().ok());
    given.unwrap_or_else(pairs::cases)
}

/// Polls a future so many times at most, then drops it.
async fn cut_short<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| match left {
        0 => std::task::Poll::Ready(None),
        _ => {
            left -= 1;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

async fn count_on(store: &Store) -> usize {
    let scan = store.query().scan(ScanFilter::default(), &[ScanColumn::Time]);
    let batches: Vec<arrow_array::RecordBatch> = scan.stream().try_collect().await.unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
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

    /// The outcome that a batch of this name should have, which is applied: whether it is a repetition.
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
        Self { archive, others, workspace, runs, model, number: 0, begun_ms }
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

    /// One of the runs that there are.
    fn some_run(&self, run: usize) -> usize {
        run % self.runs.len()
    }

    /// Records for a batch of this name: a name that was used comes with the same records in every second step.
    fn batch(&self, run: usize, name: u8, times: &[i64]) -> Vec<Record> {
        let again = self.model[run].batches.get(&name).filter(|_| self.number.is_multiple_of(2)).cloned();
        again.unwrap_or_else(|| {
            let message = |index| format!("s{}r{index}e", self.number);
            times.iter().enumerate().map(|(index, ms)| record(*ms, &message(index))).collect()
        })
    }

    async fn apply(&mut self, step: Step) {
        self.number += 1;
        if self.now_ms() - self.begun_ms > BATCH_IDS_KEPT_MS {
            return;
        }
        match step {
            Step::Begin { node } => self.begin(node).await,
            Step::Push { node, run, name, times } => {
                let run = self.some_run(run);
                let records = self.batch(run, name, &times);
                let answer = push(self.node(node), self.runs[run], name, &records).await;
                let now_ms = self.now_ms();
                let expected = self.model[run].expect_push(name, &records, now_ms);
                assert_eq!(answer.map(|stored| stored.repeated), expected, "a batch for run {run}");
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
                // Its claim has passed before anybody else may seal these runs.
                self.archive.clock.advance_ms(3_600_000);
            }
            Step::Delete { node, run } => {
                let run = self.some_run(run);
                let deleted = self.node(node).maintenance().delete_log(self.runs[run]).await;
                let expected = self.model[run].expect_delete();
                assert_eq!(deleted.map(|log| log.records).map_err(|error| error.kind()), expected, "deletion of {run}");
            }
            Step::DeleteTogether { run } => self.delete_together(run).await,
            Step::Hold { node, run, is_held } => {
                let run = self.some_run(run);
                self.node(node).maintenance().set_legal_hold(self.runs[run], is_held).await.unwrap();
                self.model[run].is_held = is_held;
            }
            Step::Retain { days, wait_hours } => self.retain(days, wait_hours).await,
            Step::Sweep { node } => {
                self.archive.clock.advance_ms(2 * 3_600_000);
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
            Step::Verify { node } => {
                let verified = self.node(node).maintenance().verify(false, |_| ()).await.unwrap();
                assert_eq!(verified.problem_texts, Vec::<String>::new());
            }
            Step::Copy { node } => {
                let copy = Copy::empty().await;
                self.node(node).maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
                for (run_id, model) in self.runs.iter().zip(&self.model) {
                    assert_eq!(copy.records_of(*run_id).await, model.sorted(), "a copy of run {run_id}");
                }
                let verified = copy.store.maintenance().verify(false, |_| ()).await.unwrap();
                assert_eq!(verified.problem_texts, Vec::<String>::new(), "in a copy");
            }
        }
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
        let now_ms = self.now_ms();
        let model = &mut self.model[run];
        (model.is_finished, model.retained_from) = (true, now_ms);
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
            // One of both stores it, and the other finds it stored.
            Ok(was_stored) => {
                let mut repeated = [first.unwrap().repeated, second.unwrap().repeated];
                repeated.sort_unstable();
                assert_eq!(repeated, [was_stored, true], "the same batch at once");
            }
            Err(kind) => assert_eq!((first.map(drop), second.map(drop)), (Err(kind), Err(kind))),
        }
        let expected = model.expect_push(other_name, &other, now_ms);
        assert_eq!(beside.map(|stored| stored.repeated), expected, "a batch beside others");
        // Which of both arrived first cannot be known, and orders records of the same time.
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
            Ok(records) => assert_eq!(both.map(Result::unwrap).iter().sum::<u64>(), records, "deleted twice at once"),
            Err(kind) => assert_eq!(both, [Err(kind), Err(kind)]),
        }
    }

    async fn retain(&mut self, days: u64, wait_hours: i64) {
        let set = |days| Retention { days, bytes: None };
        self.archive.store.maintenance().set_retention(self.workspace, set(Some(days))).await.unwrap();
        self.archive.clock.advance_ms(wait_hours * 3_600_000);
        let before = self.now_ms() - days.cast_signed() * DAY_MS;
        let due: Vec<usize> = (0..self.runs.len())
            .filter(|run| {
                let model = &self.model[*run];
                !model.records.is_empty() && !model.is_held && model.retained_from < before
            })
            .collect();
        let (first, second) =
            tokio::join!(self.node(1).maintenance().apply_retention(), self.node(2).maintenance().apply_retention());
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.runs + second.runs, due.len() as u64, "logs deleted by two passes at once");
        for run in due {
            let filter = AuditFilter { subject: Some(self.runs[run].to_string()), limit: 9, ..AuditFilter::default() };
            let (_, entries) = self.node(0).audit().entries(&filter).await.unwrap();
            self.model[run].expect_delete().unwrap();
            assert!(entries > 0, "a log was deleted without an audit entry");
        }
        self.archive.store.maintenance().set_retention(self.workspace, set(None)).await.unwrap();
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

    /// The pages of a run as a client gets them that does only what the guide says, newest page first.
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
            for (run_id, model) in self.runs.iter().zip(&self.model) {
                assert_eq!(records_on(store, *run_id).await, model.sorted(), "run {run_id} on node {index}");
                let run = store.runs().get(*run_id).await.unwrap().unwrap();
                assert_eq!(run.records, model.records.len() as u64);
            }
        }
    }

    /// At the end: everything as the list has it, also after all that is due was sealed and swept.
    async fn end(self) {
        self.check().await;
        self.archive.clock.advance_ms(31_000);
        seal_all(self.node(1)).await;
        self.archive.clock.advance_ms(2 * 3_600_000);
        self.node(2).maintenance().sweep().await.unwrap();
        self.check().await;
        let verified = self.node(0).maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!(verified.problem_texts, Vec::<String>::new());
        for store in &self.others {
            store.close().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(sequences()))]

    fn whatever_is_done_the_archive_holds_what_a_list_would(steps in steps(), page_records_max in 3..60_u64) {
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
    sync: whatever_is_done_the_archive_holds_what_a_list_would
}
