//! Delivers archived runs to one sink, at the pace that the sink bears.
//!
//! ```text
//! offer runs that have ended ▸ claim one ▸ read on from the last step ▸ redact ▸ send a batch ▸ note the step ▸ done
//! ```
//!
//! Any number of deliverers may share an archive. A step is noted when the sink has its records; a deliverer that dies
//! before it leaves the records of one batch to be sent again, in the same batches, with the same ids.

use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_client::Wait;
use runlog_model::record::Severity;
use runlog_model::{Clock, Record, RunStatus, TaskId, Timestamp};
use runlog_store::{ClaimedDelivery, DeliveryStep, ErrorKind, OfferedRun, Place, PlacedRecord, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::collect::{farewell_is_over, inform};
use crate::redact::Redactor;
use crate::sink::{Batch, Destination, Item, RunFacts, SendError, Sent, Sink};
use crate::sinks::files::{Files, Part};
use crate::sinks::webhook::Webhook;
use crate::upstream::fits;
use crate::workers::side_by_side;

/// How long nothing is done when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// How often the archive is looked at for runs that have ended.
const OFFER_EVERY: Duration = Duration::from_secs(5);
/// How long a deliverer holds a run in its hands without a sign of life.
const LEASE: Duration = Duration::from_secs(20);
/// How often a batch is sent before the sink counts as away.
const TRIES: u32 = 5;
/// The wait after the first attempt, and the longest between two of them.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// How long a sink is left alone that is away, at first and at most, and one that does not let us in.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);
const PAUSE_DENIED: Duration = Duration::from_secs(60);
/// After so many records that were refused one by one, and none that was taken, it is not the records that are at fault.
const REFUSED_ALL: usize = 16;
/// How long a run waits that the sink refuses wholly, at first and at most.
const SETBACK_FIRST: Duration = Duration::from_secs(60);
const SETBACK_MAX: Duration = Duration::from_secs(6 * 3_600);
/// How long one waits at most that the archive could not give: when the archive can again, it can for all of them.
const SETBACK_MAX_ARCHIVE: Duration = Duration::from_secs(600);

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// A sink, and what goes there.
#[derive(Clone)]
pub struct SinkSetup {
    /// Its name, under which the archive keeps what it has.
    pub name: String,
    /// Where it is.
    pub destination: Destination,
    /// Which runs and records go there.
    pub filter: SinkFilter,
    /// What is taken out of them.
    pub redactor: Redactor,
    /// How large a batch or file is at most.
    pub bounds: BatchBounds,
    /// Runs that are delivered at a time.
    pub parallel: usize,
}

/// Which runs and records go to a sink: those that fit everything that is given.
#[derive(Debug, Clone, Default)]
pub struct SinkFilter {
    /// Environments, by name.
    pub environments: Vec<String>,
    /// Workspaces, by id or name.
    pub workspaces: Vec<String>,
    /// Tasks, by id.
    pub tasks: Vec<TaskId>,
    /// Tasks, by name, in which `*` stands for any text.
    pub task_names: Vec<String>,
    /// How runs ended.
    pub statuses: Vec<RunStatus>,
    /// The least severity of a record.
    pub severity: Option<Severity>,
}

/// How large a batch or file is at most.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    /// Unit: records.
    pub records: usize,
    /// Unit: bytes, about, before compression.
    pub bytes: usize,
}

/// What a round of deliveries came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryRound {
    /// Runs that were delivered.
    pub runs: u64,
    /// Records that the sink took.
    pub records: u64,
    /// Records that it refused for good.
    pub refused: u64,
    /// Runs that it refused as a whole.
    pub dead: u64,
    /// Runs that could not be delivered, and are tried again.
    pub set_back: u64,
    /// What kept the last of those up.
    pub problem: Option<String>,
}

/// Why a run was not delivered.
#[derive(Debug)]
enum Trouble {
    /// The sink is away or does not let us in.
    Sink { problem: String, pause: Duration },
    /// The sink refuses this run, record by record.
    Run(String),
    /// The sink refuses this run for good.
    Dead(String),
    /// The archive.
    Archive(runlog_store::Error),
    /// It was told to stop.
    Stopped,
}

/// Until when a sink is left alone, and how often in a row it has been.
#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    until: i64,
    times: u32,
}

/// Delivers to one sink.
#[derive(Clone)]
pub struct Deliverer(Arc<Shared>);

struct Shared {
    store: Store,
    sink: SinkSetup,
    clock: Arc<dyn Clock>,
    wait: Arc<dyn Wait>,
    pause: Mutex<Pause>,
}

impl AddAssign for DeliveryRound {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.records += other.records;
        self.refused += other.refused;
        self.dead += other.dead;
        self.set_back += other.set_back;
        self.problem = other.problem.or(self.problem.take());
    }
}

impl SinkFilter {
    fn wants_run(&self, run: &OfferedRun) -> bool {
        let any = |some: &[String], fits: &dyn Fn(&String) -> bool| some.is_empty() || some.iter().any(fits);
        any(&self.environments, &|name| *name == run.environment)
            && any(&self.workspaces, &|name| *name == run.workspace || *name == run.workspace_id)
            && any(&self.task_names, &|pattern| fits(&run.task, pattern))
            && (self.tasks.is_empty() || self.tasks.iter().any(|task| task.to_string() == run.task_id))
            && (self.statuses.is_empty() || self.statuses.contains(&run.status))
    }

    fn wants_record(&self, record: &Record) -> bool {
        self.severity.is_none_or(|least| Severity::of(record.severity.as_deref()) >= least)
    }
}

impl Deliverer {
    /// A deliverer; nothing is sent yet.
    pub fn new(store: Store, sink: SinkSetup, clock: Arc<dyn Clock>, wait: Arc<dyn Wait>) -> Self {
        Self(Arc::new(Shared { store, sink, clock, wait, pause: Mutex::default() }))
    }

    /// The name of its sink.
    pub fn name(&self) -> &str {
        &self.0.sink.name
    }

    /// Where its sink is, without secrets.
    pub fn place(&self) -> String {
        self.0.sink.destination.place()
    }

    /// Tries whether the sink is there and lets us in.
    pub async fn check(&self) -> std::result::Result<(), SendError> {
        self.0.sink.destination.check().await
    }

    /// Makes runs due that have ended and that the sink wants. How many are new.
    pub async fn offer(&self) -> std::result::Result<u64, runlog_store::Error> {
        let Shared { store, sink, .. } = &*self.0;
        store.offer_runs(&sink.name, |run| sink.filter.wants_run(run)).await
    }

    /// Makes the sink known to the archive, as one that nothing is known to be wrong with.
    pub async fn register(&self) -> std::result::Result<(), runlog_store::Error> {
        self.note(None).await
    }

    /// Delivers every run that is due, several at a time, until there is none, the sink is away, or `stop`. When the
    /// archive is away, what is in hand is still delivered as far as it comes.
    pub async fn deliver_due(
        &self,
        stop: &CancellationToken,
    ) -> std::result::Result<DeliveryRound, runlog_store::Error> {
        let (deliverer, until) = (self.clone(), stop.clone());
        let step = move || {
            let (deliverer, stop) = (deliverer.clone(), until.clone());
            async move { deliverer.deliver_one(&stop).await }
        };
        side_by_side(self.0.sink.parallel, stop, step).await
    }

    /// Delivers until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut offered_at = None;
        while !stop.is_cancelled() {
            let now = self.0.clock.now();
            let is_time = offered_at.is_none_or(|at| now.millis_since(at) >= millis(OFFER_EVERY));
            if is_time {
                let looked = tokio::select! { looked = self.look() => looked, () = stop.cancelled() => break };
                if let Err(error) = looked {
                    self.tell("runs could not be looked for", &error);
                }
                offered_at = Some(now);
            }
            if let Err(error) = self.deliver_due(&stop).await {
                self.tell("runs could not be delivered", &error);
            }
            tokio::select! { () = self.0.wait.sleep(IDLE) => {}, () = stop.cancelled() => {} }
        }
    }

    async fn look(&self) -> std::result::Result<(), runlog_store::Error> {
        // What was wrong stays said until the sink takes something again.
        let is_away = self.pause().times > 0;
        if !is_away {
            self.note(None).await?;
        }
        let due = self.offer().await?;
        if due > 0 {
            debug!(sink = self.name(), due, "runs are due for delivery");
        }
        Ok(())
    }

    fn tell(&self, what: &str, error: &runlog_store::Error) {
        warn!(sink = self.name(), error = error as &dyn std::error::Error, "{what}");
    }

    async fn note(&self, problem: Option<&str>) -> std::result::Result<(), runlog_store::Error> {
        let Shared { store, sink, .. } = &*self.0;
        store.note_sink(&sink.name, sink.destination.kind(), problem).await
    }

    /// Delivers the run that has waited for longest; none when none is due or the sink is left alone.
    async fn deliver_one(
        &self,
        stop: &CancellationToken,
    ) -> std::result::Result<Option<DeliveryRound>, runlog_store::Error> {
        let Shared { store, sink, clock, .. } = &*self.0;
        if self.is_paused() {
            return Ok(None);
        }
        // A claim that was made and not heard of runs out.
        let claimed = tokio::select! {
            claimed = store.claim_delivery(&sink.name, lease_end(clock.now())) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(mut claimed) = claimed else { return Ok(None) };
        let held = claimed.clone();
        let mut round = DeliveryRound::default();
        let outcome = tokio::select! {
            outcome = self.bring(&mut claimed, &mut round, stop) => outcome,
            () = self.keep(&held) => {
                warn!(sink = sink.name, run.id = %held.run.id, "another deliverer has taken over a run that took too long");
                return Ok(Some(round));
            }
            // It ends by itself before that, unless the archive does not answer.
            () = farewell_is_over(stop) => Err(Trouble::Stopped),
        };
        inform(self.conclude(&claimed, outcome, &mut round), stop).await?;
        Ok(Some(round))
    }

    /// Takes note of how a delivery ended.
    async fn conclude(
        &self,
        claimed: &ClaimedDelivery,
        outcome: Result<()>,
        round: &mut DeliveryRound,
    ) -> std::result::Result<(), runlog_store::Error> {
        let Shared { store, sink, .. } = &*self.0;
        match outcome {
            Ok(()) => {
                if self.has_answered(round) {
                    self.is_well().await?;
                }
                round.runs = 1;
            }
            Err(Trouble::Stopped) => store.give_back_delivery(claimed).await?,
            // The log was deleted meanwhile, or another deliverer has the run: whoever claims it next sees how it is.
            Err(Trouble::Archive(error)) if error.kind() == ErrorKind::Conflict => {
                store.give_back_delivery(claimed).await?;
            }
            Err(Trouble::Archive(error)) => {
                let longest = match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::Busy => SETBACK_MAX_ARCHIVE,
                    _ => SETBACK_MAX,
                };
                self.set_back(claimed, round, causes(&error), longest).await?;
            }
            Err(Trouble::Run(problem)) => self.set_back(claimed, round, problem, SETBACK_MAX).await?,
            Err(Trouble::Dead(problem)) => {
                info!(sink = sink.name, run.id = %claimed.run.id, problem, "the sink refuses a run");
                store.set_back_delivery(claimed, &problem, None).await?;
                (round.dead, round.problem) = (1, Some(problem));
            }
            Err(Trouble::Sink { problem, pause }) => {
                let until = self.leave_alone(pause);
                warn!(sink = sink.name, problem, "the sink takes nothing, and is left alone for a while");
                self.note(Some(&problem)).await?;
                store.set_back_delivery(claimed, &problem, Some(until)).await?;
                (round.set_back, round.problem) = (1, Some(problem));
            }
        }
        Ok(())
    }

    /// True when the sink had to answer so that a run was delivered: of one whose records are all left out, it heard
    /// nothing.
    fn has_answered(&self, round: &DeliveryRound) -> bool {
        matches!(self.0.sink.destination, Destination::Runs(_)) || round.records + round.refused > 0
    }

    async fn set_back(
        &self,
        claimed: &ClaimedDelivery,
        round: &mut DeliveryRound,
        problem: String,
        longest: Duration,
    ) -> std::result::Result<(), runlog_store::Error> {
        let Shared { store, sink, clock, .. } = &*self.0;
        let times = u32::try_from(claimed.attempts - 1).unwrap_or_default();
        let again_at = clock.now().plus_millis(millis(doubled(SETBACK_FIRST, times, longest)));
        info!(sink = sink.name, run.id = %claimed.run.id, problem, %again_at, "a run was not delivered, and is tried again");
        store.set_back_delivery(claimed, &problem, Some(again_at)).await?;
        (round.set_back, round.problem) = (1, Some(problem));
        Ok(())
    }

    /// Sends what the sink lacks of a run, and ends its delivery.
    async fn bring(
        &self,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Shared { store, sink, .. } = &*self.0;
        let run = facts(store, claimed).await?;
        match &sink.destination {
            Destination::Records(to) => {
                self.send_replays(&**to, &run, claimed, round, stop).await?;
                self.send_records(&**to, &run, claimed, round, stop).await?;
            }
            Destination::Files(files) => self.write_files(files, &run, claimed, round, stop).await?,
            Destination::Runs(webhook) => self.send_run(webhook, &run, claimed, stop).await?,
        }
        Ok(store.finish_delivery(claimed).await?)
    }

    /// Sends records again that were refused and are to be sent again.
    async fn send_replays(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        stop: &CancellationToken,
    ) -> Result<()> {
        while claimed.has_replays {
            let records = self.0.store.read_replays(claimed).await?;
            claimed.has_replays = !records.is_empty();
            let places: Vec<Place> = records.iter().map(|record| record.place).collect();
            let items = records.into_iter().map(|record| self.item(claimed, record)).collect();
            let refused = self.send_all(to, run, items, stop).await?;
            let is_mended = |place: &Place| !refused.iter().any(|(other, _)| other == place);
            let mended: Vec<Place> = places.into_iter().filter(is_mended).collect();
            let step = DeliveryStep { delivered: mended.len() as u64, mended, refused, ..DeliveryStep::default() };
            self.step(claimed, round, &step).await?;
        }
        Ok(())
    }

    async fn send_records(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Shared { store, sink, .. } = &*self.0;
        let mut reader = store.read_delivery(claimed);
        let mut gathered = Gathered::default();
        while let Some(records) = reader.next().await? {
            for record in records {
                gathered.until = Some(record.place);
                match sink.filter.wants_record(&record.record) {
                    true => gathered.push(self.item(claimed, record)),
                    false => gathered.left_out += 1,
                }
                if gathered.is_full(sink.bounds) {
                    self.send_gathered(to, run, claimed, round, std::mem::take(&mut gathered), stop).await?;
                }
            }
        }
        self.send_gathered(to, run, claimed, round, gathered, stop).await
    }

    async fn send_gathered(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        gathered: Gathered,
        stop: &CancellationToken,
    ) -> Result<()> {
        let count = gathered.items.len() as u64;
        let refused = self.send_all(to, run, gathered.items, stop).await?;
        let step = DeliveryStep {
            until: gathered.until,
            delivered: count - refused.len() as u64,
            left_out: gathered.left_out,
            refused,
            mended: Vec::new(),
            ends_part: count > 0,
        };
        self.step(claimed, round, &step).await
    }

    async fn step(&self, claimed: &mut ClaimedDelivery, round: &mut DeliveryRound, step: &DeliveryStep) -> Result<()> {
        if step.until.is_none() && step.mended.is_empty() && step.refused.is_empty() {
            return Ok(());
        }
        self.0.store.step_delivery(claimed, step).await?;
        round.records += step.delivered;
        round.refused += step.refused.len() as u64;
        Ok(())
    }

    /// Sends records until each is taken or refused for good; tells which were refused. Waits, sends again and splits as
    /// the sink says.
    async fn send_all(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        items: Vec<Item>,
        stop: &CancellationToken,
    ) -> Result<Vec<(Place, String)>> {
        let (mut refused, mut refused_alone, mut taken) = (Vec::new(), 0, 0);
        // What is split off comes after the rest of it.
        let mut waiting = vec![items];
        let mut tries = 0;
        while let Some(mut items) = waiting.pop() {
            if items.is_empty() {
                continue;
            }
            let sent = tokio::select! {
                sent = to.send(Batch { run, items: &items }) => sent,
                () = stop.cancelled() => return Err(Trouble::Stopped),
            };
            let (problem, after) = match sent {
                Ok(outcomes) => {
                    let before = items.len();
                    let Sorted { again, problem, gone } = sorted(items, outcomes, &mut refused);
                    taken += gone;
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
                Err(SendError::TooLarge | SendError::Refused(_)) if items.len() > 1 => {
                    let rest = items.split_off(items.len() / 2);
                    waiting.extend([rest, items]);
                    continue;
                }
                Err(error @ (SendError::TooLarge | SendError::Refused(_))) => {
                    refused_alone += 1;
                    if refused_alone >= REFUSED_ALL && taken == 0 {
                        return Err(Trouble::Run(format!("it refuses whatever it is sent: {error}")));
                    }
                    refused.extend(items.into_iter().map(|item| (item.place, error.to_string())));
                    continue;
                }
                Err(SendError::Denied(problem)) => return Err(Trouble::Sink { problem, pause: PAUSE_DENIED }),
                Err(SendError::Away { problem, after }) => {
                    waiting.push(items);
                    (problem, after)
                }
            };
            tries += 1;
            if tries >= TRIES {
                return Err(Trouble::Sink { problem, pause: after.unwrap_or(PAUSE_FIRST) });
            }
            self.wait(after.unwrap_or(doubled(AGAIN_FIRST, tries - 1, AGAIN_MAX)), stop).await?;
        }
        Ok(refused)
    }

    async fn wait(&self, time: Duration, stop: &CancellationToken) -> Result<()> {
        tokio::select! {
            () = self.0.wait.sleep(time) => Ok(()),
            () = stop.cancelled() => Err(Trouble::Stopped),
        }
    }

    async fn write_files(
        &self,
        files: &Files,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Shared { store, sink, .. } = &*self.0;
        let mut reader = store.read_delivery(claimed);
        let mut part: Option<Part> = None;
        let mut gathered = Gathered::default();
        loop {
            let records = match (stop.is_cancelled(), reader.next().await) {
                (false, Ok(Some(records))) => records,
                (false, Ok(None)) => break,
                (is_stopped, outcome) => {
                    if let Some(part) = part {
                        part.abandon().await;
                    }
                    return Err(if is_stopped {
                        Trouble::Stopped
                    } else {
                        outcome.err().map_or(Trouble::Stopped, Into::into)
                    });
                }
            };
            for record in records {
                gathered.until = Some(record.place);
                if !sink.filter.wants_record(&record.record) {
                    gathered.left_out += 1;
                    continue;
                }
                let item = self.item(claimed, record);
                gathered.count(&item);
                let open = match &mut part {
                    Some(open) => open,
                    None => part.insert(files.begin(run, claimed.parts + 1)?),
                };
                files.add(open, run, item).await?;
                if gathered.is_full(sink.bounds) {
                    self.end_part(claimed, round, part.take(), std::mem::take(&mut gathered)).await?;
                }
            }
        }
        self.end_part(claimed, round, part, gathered).await
    }

    async fn end_part(
        &self,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        part: Option<Part>,
        gathered: Gathered,
    ) -> Result<()> {
        let ends_part = part.is_some();
        if let Some(part) = part {
            part.finish().await?;
        }
        let Gathered { until, left_out, records, .. } = gathered;
        let step = DeliveryStep { until, delivered: records as u64, left_out, ends_part, ..DeliveryStep::default() };
        self.step(claimed, round, &step).await
    }

    async fn send_run(
        &self,
        webhook: &Webhook,
        run: &RunFacts,
        claimed: &ClaimedDelivery,
        stop: &CancellationToken,
    ) -> Result<()> {
        let id = format!("{}-{}", epoch_id(claimed), claimed.run.records);
        let mut tries = 0;
        loop {
            let (problem, after) = match webhook.send(&id, run, &self.0.sink.redactor).await {
                Ok(()) => return Ok(()),
                Err(SendError::Away { problem, after }) => (problem, after),
                Err(SendError::Denied(problem)) => return Err(Trouble::Sink { problem, pause: PAUSE_DENIED }),
                Err(error @ (SendError::Refused(_) | SendError::TooLarge)) => {
                    return Err(Trouble::Dead(error.to_string()));
                }
            };
            tries += 1;
            if tries >= TRIES {
                return Err(Trouble::Sink { problem, pause: after.unwrap_or(PAUSE_FIRST) });
            }
            self.wait(after.unwrap_or(doubled(AGAIN_FIRST, tries - 1, AGAIN_MAX)), stop).await?;
        }
    }

    /// A record as it may be seen there, under an id that it keeps.
    fn item(&self, claimed: &ClaimedDelivery, record: PlacedRecord) -> Item {
        let PlacedRecord { place, mut record } = record;
        self.0.sink.redactor.record(&mut record);
        let begins = epoch_id(claimed);
        Item { id: format!("{begins}-{}", place.arrival), spread: spread(&begins), place, record }
    }

    /// Keeps a run in hand; ends when another has taken it.
    async fn keep(&self, claimed: &ClaimedDelivery) {
        let Shared { store, clock, wait, .. } = &*self.0;
        loop {
            wait.sleep(LEASE / 3).await;
            match store.keep_delivery(claimed, lease_end(clock.now())).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => debug!(%error, "a claim could not be renewed"),
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.0.clock.now().as_millis() < self.pause().until
    }

    /// Leaves the sink alone, for longer each time. Until when.
    fn leave_alone(&self, first: Duration) -> Timestamp {
        let mut pause = self.pause();
        let time = doubled(first, pause.times, PAUSE_MAX.max(first));
        let until = self.0.clock.now().plus_millis(millis(time));
        // Several workers may meet the same trouble: it counts once.
        if pause.until < self.0.clock.now().as_millis() {
            *pause = Pause { until: until.as_millis(), times: pause.times.saturating_add(1) };
        }
        Timestamp::clamped(pause.until)
    }

    /// The sink takes what it is sent, again.
    async fn is_well(&self) -> std::result::Result<(), runlog_store::Error> {
        let was_away = std::mem::take(&mut *self.pause()).times > 0;
        if was_away {
            info!(sink = self.name(), "the sink takes what it is sent again");
            self.note(None).await?;
        }
        Ok(())
    }

    /// What the lock guards is changed in single steps, so that a panic elsewhere leaves it whole.
    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.0.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that are sent together.
#[derive(Default)]
struct Gathered {
    items: Vec<Item>,
    records: usize,
    bytes: usize,
    left_out: u64,
    until: Option<Place>,
}

impl Gathered {
    fn push(&mut self, item: Item) {
        self.count(&item);
        self.items.push(item);
    }

    fn count(&mut self, item: &Item) {
        self.records += 1;
        self.bytes += item.bytes();
    }

    fn is_full(&self, bounds: BatchBounds) -> bool {
        // A long stretch of records that are not wanted is noted now and then as well.
        self.records >= bounds.records || self.bytes >= bounds.bytes || self.left_out >= 100_000
    }
}

/// What is left of a batch after an answer.
struct Sorted {
    /// What is to be sent again.
    again: Vec<Item>,
    /// Why it is to be sent after a while only.
    problem: Option<String>,
    /// How many were taken.
    gone: usize,
}

/// Takes from a batch what was taken or refused.
fn sorted(items: Vec<Item>, outcomes: Vec<Sent>, refused: &mut Vec<(Place, String)>) -> Sorted {
    let mut sorted = Sorted { again: Vec::new(), problem: None, gone: 0 };
    for (item, outcome) in items.into_iter().zip(outcomes) {
        match outcome {
            Sent::Taken => sorted.gone += 1,
            Sent::Refused(reason) => refused.push((item.place, reason)),
            Sent::Beside => sorted.again.push(item),
            Sent::Again(why) => {
                sorted.problem.get_or_insert(why);
                sorted.again.push(item);
            }
        }
    }
    sorted
}

async fn facts(store: &Store, claimed: &ClaimedDelivery) -> Result<RunFacts> {
    let task = store.task(claimed.run.task_id).await?;
    let task = task.ok_or_else(|| Trouble::Run(format!("its task {} is not known any more", claimed.run.task_id)))?;
    Ok(RunFacts {
        run: claimed.run.clone(),
        task: task.name,
        workspace: task.workspace.name,
        environment: task.workspace.environment.name,
    })
}

/// What the ids of a run's records begin with. After a deletion they are another log's.
fn epoch_id(claimed: &ClaimedDelivery) -> String {
    match claimed.epoch {
        0 => claimed.run.id.to_string(),
        epoch => format!("{}.{epoch}", claimed.run.id),
    }
}

/// A number that differs from run to run.
fn spread(id: &str) -> u32 {
    id.bytes().fold(2_166_136_261, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

fn lease_end(now: Timestamp) -> Timestamp {
    now.plus_millis(millis(LEASE))
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(20)).min(most)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

impl From<runlog_store::Error> for Trouble {
    fn from(error: runlog_store::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<SendError> for Trouble {
    fn from(error: SendError) -> Self {
        let pause = match &error {
            SendError::Away { after, .. } => after.unwrap_or(PAUSE_FIRST),
            _ => PAUSE_DENIED,
        };
        Self::Sink { problem: error.to_string(), pause }
    }
}
