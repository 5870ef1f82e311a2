//! Deliveries to a sink: each record arrives at least once, with an id that never identifies another record; a
//! committed step is not repeated; and a deliverer that has lost its lease to another one cannot change anything.

use std::collections::{HashMap, HashSet};

use runlog_model::RunId;
use runlog_store::ErrorKind;
use runlog_store::delivery::{ClaimedDelivery, DeliveryStep, KeyedRecord, RefusedRange};

use crate::{Change, HOUR_MS, Machine};

const SINK: &str = "sink";
pub(crate) const LEASE_MS: i64 = 60_000;
/// Each search for ended runs goes back this far before the previous search. See the limit of the same name.
const LOOKBACK_MS: i64 = runlog_store::limits::FINISHED_RUNS_LOOKBACK_MS;

/// The way in which the work on a delivery ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    /// After its last record.
    Finished,
    Released,
    Failed,
    /// The deliverer disappears after this number of steps, before it sends the next one.
    Gone,
    /// The deliverer disappears after this number of steps, when it has sent the next one and not committed it.
    GoneAfterSending,
}

/// The behaviour of a deliverer.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Number of records per step.
    pub(crate) records: usize,
    /// Number of steps until it stops.
    pub(crate) steps: usize,
    pub(crate) stop: Stop,
    /// The step whose records the sink refuses.
    pub(crate) refused: Option<usize>,
    /// Whether it takes longer than its lease, and renews the lease.
    pub(crate) is_slow: bool,
    /// The change to the log between reading and the first step.
    pub(crate) change: Change,
}

/// A run, its epoch, and the number of a record in order of arrival.
type Id = (RunId, u64, u64);

/// The content of a sink.
#[derive(Default)]
pub(crate) struct Sink {
    is_registered: bool,
    /// The message received with each id.
    messages: HashMap<Id, String>,
    committed: HashSet<Id>,
    refused: HashSet<Id>,
    /// Unfinished deliveries with the ends of their leases. Unit: epoch milliseconds.
    open: Vec<(ClaimedDelivery, i64)>,
    /// Runs that ended before this time may not be offered. Unit: epoch milliseconds.
    offered_until: i64,
    /// True if a run ended before that time, because the clock was set back.
    must_rescan: bool,
}

impl Sink {
    fn receive(&mut self, run_id: RunId, epoch: u64, record: &KeyedRecord) -> Id {
        let id = (run_id, epoch, record.key.arrival);
        let message = record.record.message.clone().unwrap_or_default();
        let before = self.messages.entry(id).or_insert_with(|| message.clone());
        assert_eq!(*before, message, "one id for two records");
        assert!(!self.committed.contains(&id), "{message} was delivered before");
        id
    }

    /// Notes that a run ends now.
    pub(crate) fn note_end(&mut self, now_ms: i64) {
        self.must_rescan |= now_ms <= self.offered_until;
    }
}

impl Machine {
    pub(crate) async fn offer(&mut self, node: usize) {
        let deliveries = self.node(node).deliveries().clone();
        if !self.sink.is_registered {
            deliveries.register_sink(SINK, "test", None).await.unwrap();
            self.sink.is_registered = true;
        }
        deliveries.enqueue_finished_runs(SINK, |_| true).await.unwrap();
        self.sink.offered_until = self.sink.offered_until.max(self.now_ms() - 30_000 - LOOKBACK_MS);
    }

    /// Works on a delivery. Returns false if none is due.
    pub(crate) async fn deliver(&mut self, node: usize, work: &Work) -> bool {
        self.offer(node).await;
        let mut until_ms = self.now_ms() + LEASE_MS;
        let Some(mut claimed) = self.claim_delivery(node).await else { return false };
        let deliveries = self.node(node).deliveries().clone();
        let (id, epoch) = (claimed.run.id, claimed.epoch);
        let run = self.index_of(id);
        assert_eq!(epoch, self.model[run].epoch, "the delivery of run {run}");
        self.replay(node, &mut claimed).await;

        let (mut reader, mut pending) = (deliveries.read(&claimed), Vec::new());
        pending.extend(reader.next().await.unwrap().unwrap_or_default());
        self.change(node + 1, run, &work.change).await;
        loop {
            match reader.next().await {
                Ok(Some(more)) => pending.extend(more),
                Ok(None) => break,
                Err(error) => {
                    assert!(self.model[run].epoch > epoch, "only a log that was deleted ends early: {error}");
                    break;
                }
            }
        }
        assert!(pending.is_sorted_by_key(|record| record.key), "records of run {run} in order");

        let mut steps = pending.chunks(work.records);
        for number in 0.. {
            let is_at_stop = number == work.steps && !matches!(work.stop, Stop::Finished);
            if is_at_stop && !matches!(work.stop, Stop::GoneAfterSending) {
                break;
            }
            let Some(records) = steps.next() else { break };
            let ids: Vec<Id> = records.iter().map(|record| self.sink.receive(id, epoch, record)).collect();
            if is_at_stop {
                break;
            }
            if work.is_slow && number == 0 {
                until_ms = self.renew(node, &claimed).await;
            }
            let is_refused = work.refused == Some(number);
            let step = DeliveryStep {
                until: records.last().map(|record| record.key),
                delivered: if is_refused { 0 } else { records.len() as u64 },
                refused: is_refused.then(|| refusal(records)).into_iter().collect(),
                ..DeliveryStep::default()
            };
            deliveries.commit_step(&mut claimed, &step).await.unwrap();
            match is_refused {
                true => self.sink.refused.extend(ids),
                false => self.sink.committed.extend(ids),
            }
        }
        match work.stop {
            Stop::Finished => deliveries.finish(&claimed).await.unwrap(),
            Stop::Released => deliveries.release(&claimed).await.unwrap(),
            Stop::Failed => {
                let again_at = self.archive.now().plus_millis(1_000);
                deliveries.record_failure(&claimed, "away", Some(again_at)).await.unwrap();
            }
            Stop::Gone | Stop::GoneAfterSending => self.sink.open.push((claimed, until_ms)),
        }
        true
    }

    /// Claims a delivery, and checks that its previous owner can no longer change it.
    async fn claim_delivery(&mut self, node: usize) -> Option<ClaimedDelivery> {
        let deliveries = self.node(node).deliveries().clone();
        let (now_ms, until) = (self.now_ms(), self.archive.now().plus_millis(LEASE_MS));
        let claimed = deliveries.claim(SINK, until).await.unwrap()?;
        let is_of_this = |open: &(ClaimedDelivery, i64)| open.0.run.id == claimed.run.id;
        while let Some(at) = self.sink.open.iter().position(is_of_this) {
            let (mut before, until_ms) = self.sink.open.swap_remove(at);
            assert!(until_ms < now_ms, "a delivery in the hands of two");
            let other = self.node(node + 1).deliveries();
            assert!(!other.renew_lease(&before, until).await.unwrap(), "a lost lease was renewed");
            let step = DeliveryStep { delivered: 1_000, ..DeliveryStep::default() };
            assert_eq!(kind_of(other.commit_step(&mut before, &step).await), Some(ErrorKind::Conflict), "a lost lease");
            assert_eq!(kind_of(other.finish(&before).await), Some(ErrorKind::Conflict), "a lost lease");
        }
        Some(claimed)
    }

    /// Renews a lease shortly before it expires, and checks shortly before its new end that it is still valid. Returns
    /// the new end. Unit: epoch milliseconds.
    async fn renew(&mut self, node: usize, claimed: &ClaimedDelivery) -> i64 {
        self.archive.clock.advance_ms(LEASE_MS - 1_000);
        let until = self.archive.now().plus_millis(LEASE_MS);
        assert!(self.node(node).deliveries().renew_lease(claimed, until).await.unwrap());
        self.archive.clock.advance_ms(LEASE_MS - 1_000);
        if let Some(other) = self.claim_delivery(node + 1).await {
            assert_ne!(other.run.id, claimed.run.id, "a lease that was renewed");
            self.node(node + 1).deliveries().release(&other).await.unwrap();
        }
        until.as_millis()
    }

    /// Resends the refused records that were marked to be sent again.
    async fn replay(&mut self, node: usize, claimed: &mut ClaimedDelivery) {
        if !claimed.has_replays {
            return;
        }
        let deliveries = self.node(node).deliveries().clone();
        while let Some(batch) = deliveries.read_replays(claimed).await.unwrap() {
            let id = claimed.run.id;
            let ids: Vec<Id> =
                batch.records.iter().map(|record| self.sink.receive(id, claimed.epoch, record)).collect();
            let delivered = ids.len() as u64;
            let step = DeliveryStep { delivered, replayed: Some(batch.replayed), ..DeliveryStep::default() };
            deliveries.commit_step(claimed, &step).await.unwrap();
            for id in ids {
                assert!(self.sink.refused.remove(&id), "a record is sent again that was not refused");
                self.sink.committed.insert(id);
            }
        }
    }

    pub(crate) async fn retry_refused(&mut self, node: usize) {
        self.offer(node).await;
        self.node(node).deliveries().retry(SINK).await.unwrap();
    }

    /// Final check: all records of ended runs are delivered, and no delivery remains.
    pub(crate) async fn deliver_rest(&mut self) {
        self.offer(0).await;
        if self.sink.must_rescan {
            self.node(0).deliveries().rescan_finished_runs(SINK).await.unwrap();
        }
        let whole = Work {
            records: 1_000,
            steps: usize::MAX,
            stop: Stop::Finished,
            refused: None,
            is_slow: false,
            change: Change::Nothing,
        };
        for _ in 0..3 {
            self.archive.clock.advance_ms(HOUR_MS);
            self.retry_refused(1).await;
            while self.deliver(2, &whole).await {}
        }
        for (run, run_id) in self.runs.iter().enumerate() {
            let model = &self.model[run];
            let mut expected: Vec<_> = match model.is_finished {
                true => model.records.iter().map(|record| record.message.clone().unwrap_or_default()).collect(),
                false => Vec::new(),
            };
            let is_here = |id: &&Id| (id.0, id.1) == (*run_id, model.epoch);
            let mut delivered: Vec<_> =
                self.sink.committed.iter().filter(is_here).map(|id| self.sink.messages[id].clone()).collect();
            expected.sort_unstable();
            delivered.sort_unstable();
            assert_eq!(delivered, expected, "what was delivered of run {run}");
        }
        let left = self.node(0).deliveries().dead_letters(SINK, 10).await.unwrap();
        assert!(left.is_empty(), "refused records of logs that are gone: {left:?}");
    }
}

fn refusal(records: &[KeyedRecord]) -> RefusedRange {
    let mut range = RefusedRange::one(records[0].key, "refused");
    records[1..].iter().for_each(|record| range.extend(record.key));
    range
}

fn kind_of(outcome: runlog_store::Result<()>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}
