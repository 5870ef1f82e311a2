//! Deliverers and a sink: each record arrives at least once, always under the same id; a committed step is not
//! repeated; and a deliverer that has lost its lease to another one cannot change anything.

use std::collections::{BTreeMap, BTreeSet};

use runlog_model::{RunId, Timestamp};
use runlog_store::delivery::{ClaimedDelivery, DeliveryStep, KeyedRecord, RefusedRange};
use runlog_store::{Error, ErrorKind, Result as StoreResult, Store};

use crate::clients::{Answer, Clients};
use crate::locked;
use crate::schedule::Kind;
use crate::seed::Numbers;

pub(crate) const SINK: &str = "sink";
pub(crate) const LEASE_MS: i64 = 60_000;

/// A run, its epoch, and the number of a record in order of arrival.
type Id = (RunId, u64, u64);

/// The content of a sink.
#[derive(Default)]
pub(crate) struct Sink {
    messages: BTreeMap<Id, String>,
    accepted: BTreeSet<Id>,
    /// The session that committed each record, and when. Unit: ticks.
    committed: BTreeMap<Id, (u64, u64)>,
    holders: Holders,
}

/// The holders of leases, according to the responses.
#[derive(Default)]
pub(crate) struct Holders(BTreeMap<RunId, Holder>);

struct Holder {
    generation: u64,
    /// `None` if it was released. Unit: epoch milliseconds.
    until_ms: Option<i64>,
}

impl Holders {
    /// Notes that a deliverer has acquired the lease. Fails if another one still held it.
    pub(crate) fn claim(&mut self, run: RunId, now_ms: i64, until_ms: i64) -> Result<u64, String> {
        let before = self.0.get(&run);
        let generation = before.map_or(0, |before| before.generation) + 1;
        let is_held = before.and_then(|before| before.until_ms).is_some_and(|until_ms| until_ms >= now_ms);
        self.0.insert(run, Holder { generation, until_ms: Some(until_ms) });
        if is_held { Err(format!("run {run} is in the hands of two")) } else { Ok(generation) }
    }

    pub(crate) fn renew(&mut self, run: RunId, generation: u64, until_ms: i64) {
        if let Some(holder) = self.0.get_mut(&run).filter(|holder| holder.generation == generation) {
            holder.until_ms = Some(until_ms);
        }
    }

    pub(crate) fn give_up(&mut self, run: RunId, generation: u64) {
        if let Some(holder) = self.0.get_mut(&run).filter(|holder| holder.generation == generation) {
            holder.until_ms = None;
        }
    }

    /// Returns whether another deliverer has acquired the lease since.
    pub(crate) fn is_lost(&self, run: RunId, generation: u64) -> bool {
        self.0.get(&run).is_some_and(|holder| holder.generation > generation)
    }
}

impl Sink {
    /// Receives a record from the session that began at this tick. Another session may have committed the record since.
    fn receive(&mut self, claimed: &ClaimedDelivery, record: &KeyedRecord, session: (u64, u64)) -> Result<Id, String> {
        let id = (claimed.run.id, claimed.epoch, record.key.arrival);
        let message = record.record.message.clone().unwrap_or_default();
        let before = self.messages.entry(id).or_insert_with(|| message.clone());
        if *before != message {
            return Err(format!("one id for two records: {id:?} was {before}, and is {message}"));
        }
        let is_again = |(generation, at): &(u64, u64)| *generation == session.0 || *at < session.1;
        if self.committed.get(&id).is_some_and(is_again) {
            return Err(format!("{message} was delivered before, and the step committed"));
        }
        Ok(id)
    }

    /// The records of one state of a log that were accepted.
    pub(crate) fn accepted_of(&self, run: RunId, epoch: u64) -> BTreeSet<String> {
        let ids = self.accepted.range((run, epoch, 0)..=(run, epoch, u64::MAX));
        ids.filter_map(|id| self.messages.get(id).cloned()).collect()
    }
}

/// The work of a deliverer on one delivery, in a node.
struct Session {
    clients: Clients,
    node: usize,
    store: Store,
    numbers: Numbers,
    /// Whether it runs to the end without faults of its own.
    is_steady: bool,
    generation: u64,
    /// Unit: ticks.
    begun: u64,
}

impl Clients {
    /// Lets a node work on a delivery. Returns false if none is due.
    pub(crate) async fn deliver(&self, is_steady: bool) -> bool {
        let (clients, node, numbers) = (self.clone(), self.some_node(), self.numbers());
        let delivering = self.call(node, "deliver", false, move |store| {
            let session = Session { clients, node, store, numbers, is_steady, generation: 0, begun: 0 };
            session.work()
        });
        match delivering.await.0 {
            Answer::Of(Ok(has_delivered)) => has_delivered,
            Answer::Of(Err(error)) => {
                self.expect_usual("a delivery", &error);
                true
            }
            Answer::Lost => true,
        }
    }
}

impl Session {
    async fn work(mut self) -> StoreResult<bool> {
        let deliveries = self.store.deliveries().clone();
        if self.numbers.chance(200) {
            deliveries.retry(SINK).await?;
        }
        deliveries.enqueue_finished_runs(SINK, |_| true).await?;
        self.begun = self.clients.tick();
        let until_ms = self.clients.now_ms() + LEASE_MS;
        // The node converts the time by its own clock.
        let until = Timestamp::clamped(until_ms + self.clients.0.shared.ahead_ms(self.node));
        let Some(mut claimed) = deliveries.claim(SINK, until).await? else { return Ok(false) };
        let now_ms = self.clients.now_ms();
        let holding = locked(&self.clients.0.sink).holders.claim(claimed.run.id, now_ms, until_ms);
        self.generation = match holding {
            Ok(generation) => generation,
            Err(_) if self.clients.0.shared.profile.skew_ms > 0 => 0,
            Err(problem) => {
                self.clients.violation(format!("a delivery: {problem}"));
                return Ok(true);
            }
        };
        let outcome = self.deliver(&mut claimed).await;
        if outcome.is_ok() && self.is_gone() {
            return Ok(true);
        }
        locked(&self.clients.0.sink).holders.give_up(claimed.run.id, self.generation);
        let ended = match outcome {
            Ok(true) => deliveries.finish(&claimed).await,
            Ok(false) => deliveries.release(&claimed).await,
            Err(error) => {
                let again_at = Timestamp::clamped(self.clients.now_ms() + 1_000);
                let failed = deliveries.record_failure(&claimed, "away", Some(again_at)).await;
                failed.and(if is_of_deletion(&error) { Ok(()) } else { Err(error) })
            }
        };
        ended.map(|()| true)
    }

    /// Returns whether the deliverer disappears without releasing its lease.
    fn is_gone(&mut self) -> bool {
        !self.is_steady && self.numbers.chance(150)
    }

    /// Sends the delivery. Returns false if it stopped before the end.
    async fn deliver(&mut self, claimed: &mut ClaimedDelivery) -> StoreResult<bool> {
        let deliveries = self.store.deliveries().clone();
        while claimed.has_replays
            && let Some(batch) = deliveries.read_replays(claimed).await?
        {
            let Some(ids) = self.send(claimed, &batch.records).await else { return Ok(false) };
            let step =
                DeliveryStep { delivered: ids.len() as u64, replayed: Some(batch.replayed), ..DeliveryStep::default() };
            self.commit(claimed, &step, &ids).await?;
        }
        let (mut reader, mut records) = (deliveries.read(claimed), Vec::new());
        while let Some(more) = reader.next().await? {
            records.extend(more);
        }
        if !records.is_sorted_by_key(|record| record.key) {
            self.clients.violation(format!("records to deliver are not in order: {:?}", claimed.run.id));
        }
        let size = 1 + self.numbers.below(12);
        for chunk in records.chunks(size) {
            if !self.is_steady && self.numbers.chance(100) {
                return Ok(false);
            }
            if !self.is_steady && self.numbers.chance(150) {
                // The deliverer pauses, and may lose its lease without noticing.
                let until_ms = self.clients.now_ms() + self.numbers.between(LEASE_MS / 2, 4 * LEASE_MS);
                self.clients.0.shared.schedule.sleep_until(self.node, until_ms).await;
            }
            if !self.is_steady && self.numbers.chance(150) && !self.take_long(claimed).await? {
                return Ok(false);
            }
            if !self.is_steady && self.numbers.chance(100) {
                let step = DeliveryStep {
                    until: chunk.last().map(|record| record.key),
                    refused: vec![refusal(chunk)],
                    ..DeliveryStep::default()
                };
                self.commit(claimed, &step, &[]).await?;
                continue;
            }
            let Some(ids) = self.send(claimed, chunk).await else { return Ok(false) };
            let step = DeliveryStep {
                until: chunk.last().map(|record| record.key),
                delivered: ids.len() as u64,
                ..DeliveryStep::default()
            };
            self.commit(claimed, &step, &ids).await?;
        }
        Ok(true)
    }

    /// Sends records. The sink may accept them although the response is lost.
    async fn send(&mut self, claimed: &ClaimedDelivery, records: &[KeyedRecord]) -> Option<Vec<Id>> {
        let schedule = self.clients.0.shared.schedule.clone();
        schedule.gate(self.node, Kind::Message, "records to the sink").await;
        let mut ids = Vec::new();
        for record in records {
            let received = locked(&self.clients.0.sink).receive(claimed, record, (self.generation, self.begun));
            match received {
                Ok(id) => ids.push(id),
                Err(problem) => {
                    self.clients.violation(format!("a sink: {problem}"));
                    return None;
                }
            }
        }
        locked(&self.clients.0.sink).accepted.extend(&ids);
        schedule.gate(self.node, Kind::Message, "the answer of the sink").await;
        let is_lost = !self.is_steady && self.numbers.chance(50);
        (!is_lost).then_some(ids)
    }

    async fn commit(&mut self, claimed: &mut ClaimedDelivery, step: &DeliveryStep, ids: &[Id]) -> StoreResult<()> {
        let run = claimed.run.id;
        let was_lost = locked(&self.clients.0.sink).holders.is_lost(run, self.generation);
        self.store.deliveries().commit_step(claimed, step).await?;
        if was_lost && self.clients.0.shared.profile.skew_ms == 0 {
            self.clients.violation(format!("a step is committed with a lost lease, of run {run}"));
        }
        let at = (self.generation, self.clients.tick());
        locked(&self.clients.0.sink).committed.extend(ids.iter().map(|id| (*id, at)));
        Ok(())
    }

    /// Takes nearly as long as its lease, renews it, and takes as long again. False when the lease was lost.
    async fn take_long(&mut self, claimed: &ClaimedDelivery) -> StoreResult<bool> {
        let schedule = self.clients.0.shared.schedule.clone();
        let wait_ms = self.numbers.between(LEASE_MS / 4, LEASE_MS);
        schedule.sleep_until(self.node, self.clients.now_ms() + wait_ms).await;
        let until_ms = self.clients.now_ms() + LEASE_MS;
        let until = Timestamp::clamped(until_ms + self.clients.0.shared.ahead_ms(self.node));
        let (run, was_lost) = {
            let sink = locked(&self.clients.0.sink);
            (claimed.run.id, sink.holders.is_lost(claimed.run.id, self.generation))
        };
        let is_renewed = self.store.deliveries().renew_lease(claimed, until).await?;
        if is_renewed {
            if was_lost && self.clients.0.shared.profile.skew_ms == 0 {
                self.clients.violation(format!("a lost lease is renewed, of run {run}"));
            }
            locked(&self.clients.0.sink).holders.renew(run, self.generation, until_ms);
        }
        let wait_ms = self.numbers.between(0, LEASE_MS - 1_000);
        schedule.sleep_until(self.node, self.clients.now_ms() + wait_ms).await;
        Ok(is_renewed)
    }
}

/// The error of a read of a log that was deleted meanwhile.
fn is_of_deletion(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict)
}

fn refusal(records: &[KeyedRecord]) -> RefusedRange {
    let mut range = RefusedRange::one(records[0].key, "refused");
    records[1..].iter().for_each(|record| range.extend(record.key));
    range
}
