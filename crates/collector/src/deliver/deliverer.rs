//! Delivers archived runs to one sink, at the pace that the sink bears.
//!
//! ```text
//! offer runs that have ended ▸ claim one ▸ read on from the last step ▸ redact ▸ send a batch ▸ note the step ▸ done
//! ```
//!
//! Any number of deliverers may share an archive. A step is noted when the sink has its records; a deliverer that dies
//! before it leaves the records of one batch to be sent again, in the same batches, with the same ids.

use std::ops::AddAssign;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use runlog_client::Wait;
use runlog_model::record::Severity;
use runlog_model::{Clock, Record, RunStatus, TaskId, Timestamp};
use runlog_store::{
    ClaimedDelivery, DeliveryStep, ErrorKind, OfferedRun, Place, PlacedRecord, RefusedRange, Replays, Store, limits,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::redact::Redactor;
use super::sink::{Answered, Batch, Destination, Encoded, Item, RunFacts, SendError, Sent, Sink};
use super::sinks::files::{Files, Part};
use super::sinks::webhook::Webhook;
use crate::collect::collector::{farewell_is_over, inform};
use crate::collect::upstream::fits;
use crate::workers::{Pool, side_by_side};

/// How often the archive is looked at for runs that have ended.
const OFFER_EVERY: Duration = Duration::from_secs(5);
/// What is said of a run that cannot be delivered because of a fault of ours.
const PANIC: &str = "delivering it met a fault of the program, which its log names";
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
/// From so many refused records on, of which one of ten at most was taken, it is not the records that are at fault.
const REFUSED_ALL: usize = 16;
/// So many runs in a row that are refused wholly speak of the sink, and not of the runs.
const RUNS_REFUSED: u32 = 3;
/// A batch is sent in halves after so many attempts in a row that got no answer.
const TRIES_WHOLE: u32 = 2;
/// To batches of what size a sink's complaints that one is too large can lead. Unit: bytes.
const LEARNED_BYTES_MIN: usize = 64 << 10;
/// After so many parts of a batch without a refusal the next ones are larger again.
const CLEAN_PARTS: u32 = 8;
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
    /// Unit: bytes, before compression. A record that is larger goes by itself.
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
    /// This run cannot be delivered now.
    Run(String),
    /// The sink refuses what it is sent of this run, nearly all of it.
    Refusing(String),
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
    pool: Arc<Pool>,
    pause: Mutex<Pause>,
    learned: Mutex<Learned>,
}

/// What the answers of a sink have shown.
#[derive(Debug, Clone, Copy)]
struct Learned {
    /// Records that it refused in a row, and runs that it refused wholly in a row.
    refused: usize,
    runs_refused: u32,
    /// Larger batches are too large. Unit: bytes.
    bytes_max: usize,
    /// Most records that are sent together, so that few stand beside one that it refuses without saying which.
    together_max: usize,
    /// Parts in a row that it took wholly.
    clean_parts: u32,
}

impl Default for Learned {
    fn default() -> Self {
        Self { refused: 0, runs_refused: 0, bytes_max: usize::MAX, together_max: usize::MAX, clean_parts: 0 }
    }
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
        let (pause, learned) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { store, sink, clock, wait, pool: Arc::new(Pool::new()), pause, learned }))
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

    /// Delivers until `stop`: offering, being seen and delivering are tasks of their own, so that nothing of that waits
    /// for a delivery that takes long, and what fails is begun anew.
    pub async fn run(&self, stop: CancellationToken) {
        let Shared { store, sink, wait, pool, .. } = &*self.0;
        let supervisor = store.supervisor();
        let name = |what: &str| format!("deliver {}: {what}", sink.name);
        let (offering, seeing, delivering) = (name("offer runs"), name("be seen"), name("deliver"));
        let (deliverer, until) = (self.clone(), stop.clone());
        let step = move || {
            let (deliverer, stop) = (deliverer.clone(), until.clone());
            async move { deliverer.deliver_one_of_many(&stop).await }
        };
        tokio::join!(
            supervisor.keep(&offering, &stop, || self.clone().offer_on(stop.clone())),
            supervisor.keep(&seeing, &stop, || self.clone().see_on(stop.clone())),
            pool.live(supervisor, &delivering, sink.parallel, wait, &stop, step),
        );
    }

    async fn offer_on(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
        while !stop.is_cancelled() {
            let looked = tokio::select! { looked = self.look() => looked, () = stop.cancelled() => break };
            if let Err(error) = looked {
                self.tell("runs could not be looked for", &error);
            }
            tokio::select! { () = self.0.wait.sleep(OFFER_EVERY) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    /// Has the sink count as one that is worked for, whatever its deliveries do.
    async fn see_on(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
        while !stop.is_cancelled() {
            tokio::select! { () = self.0.wait.sleep(OFFER_EVERY) => {}, () = stop.cancelled() => break }
            let seen = tokio::select! {
                seen = self.0.store.see_sink(self.name()) => seen,
                () = stop.cancelled() => break,
            };
            if let Err(error) = seen {
                debug!(sink = self.name(), %error, "a sink could not be noted as seen");
            }
        }
        Ok(())
    }

    /// Delivers a run when one is due. A run that cannot be read is no reason to do nothing for a while.
    async fn deliver_one_of_many(
        &self,
        stop: &CancellationToken,
    ) -> std::result::Result<Option<DeliveryRound>, runlog_store::Error> {
        match self.deliver_one(stop).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                self.tell("a run could not be delivered", &error);
                Ok(Some(DeliveryRound::default()))
            }
            Ok(None) if !stop.is_cancelled() => {
                self.perhaps_well().await?;
                Ok(None)
            }
            other => other,
        }
    }

    /// Tries a sink that was away and for which nothing is due: nothing else would show that it is well.
    async fn perhaps_well(&self) -> std::result::Result<(), runlog_store::Error> {
        if self.pause().times == 0 || self.is_paused() {
            return Ok(());
        }
        match self.check().await {
            Ok(()) => self.is_well().await,
            Err(error) => {
                self.leave_alone(PAUSE_FIRST);
                self.note(Some(&error.to_string())).await
            }
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
            self.0.pool.wake();
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
        self.0.pool.wake();
        let held = claimed.clone();
        let mut round = DeliveryRound::default();
        // Ends what is in hand in good order: a file in the making leaves nothing behind.
        let no_more = stop.child_token();
        let outcome = {
            // A run that makes it panic is set back like any other that fails.
            let bringing = AssertUnwindSafe(self.bring(&mut claimed, &mut round, &no_more)).catch_unwind();
            let bringing = bringing.map(|brought| brought.unwrap_or_else(|_| Err(Trouble::Run(PANIC.to_owned()))));
            tokio::pin!(bringing);
            tokio::select! {
                outcome = &mut bringing => Some(outcome),
                () = self.keep(&held) => {
                    no_more.cancel();
                    tokio::select! { _ = bringing => {}, () = farewell_is_over(&no_more) => {} }
                    None
                }
                // It ends by itself before that, unless the archive does not answer.
                () = farewell_is_over(stop) => Some(Err(Trouble::Stopped)),
            }
        };
        let Some(outcome) = outcome else {
            warn!(sink = sink.name, run.id = %held.run.id, "another deliverer has taken over a run that took too long");
            return Ok(Some(round));
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
            Err(Trouble::Refusing(problem)) if self.is_first_refusing() => {
                self.set_back(claimed, round, problem, SETBACK_MAX).await?;
            }
            Err(Trouble::Refusing(problem)) => self.leave_with(claimed, round, problem, PAUSE_DENIED).await?,
            Err(Trouble::Dead(problem)) => {
                info!(sink = sink.name, run.id = %claimed.run.id, problem, "the sink refuses a run");
                store.set_back_delivery(claimed, &problem, None).await?;
                (round.dead, round.problem) = (1, Some(problem));
            }
            Err(Trouble::Sink { problem, pause }) => self.leave_with(claimed, round, problem, pause).await?,
        }
        Ok(())
    }

    /// Leaves the sink alone for a while, and what is in hand until then.
    async fn leave_with(
        &self,
        claimed: &ClaimedDelivery,
        round: &mut DeliveryRound,
        problem: String,
        pause: Duration,
    ) -> std::result::Result<(), runlog_store::Error> {
        let until = self.leave_alone(pause);
        warn!(sink = self.name(), problem, "the sink takes nothing, and is left alone for a while");
        self.note(Some(&problem)).await?;
        self.0.store.set_back_delivery(claimed, &problem, Some(until)).await?;
        (round.set_back, round.problem) = (1, Some(problem));
        Ok(())
    }

    /// Notes that a run was refused wholly. True while that may be the run's own fault.
    fn is_first_refusing(&self) -> bool {
        let mut learned = self.learned();
        learned.runs_refused = learned.runs_refused.saturating_add(1);
        learned.runs_refused < RUNS_REFUSED
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
        while let Some(replays) = self.next_replays(claimed).await? {
            let wanted = replays.records.into_iter().filter(|it| self.0.sink.filter.wants_record(&it.record));
            let records = wanted.map(|record| to.encode(run, &self.item(claimed, record))).collect();
            let fates = self.send_all(to, run, records, stop).await?;
            let step = DeliveryStep {
                delivered: fates.taken(),
                refused: fates.into_refused(),
                replayed: Some(replays.replayed),
                ..DeliveryStep::default()
            };
            self.step(claimed, round, &step).await?;
        }
        claimed.has_replays = false;
        Ok(())
    }

    async fn next_replays(&self, claimed: &ClaimedDelivery) -> Result<Option<Replays>> {
        match claimed.has_replays {
            true => Ok(self.0.store.read_replays(claimed).await?),
            false => Ok(None),
        }
    }

    async fn send_records(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Shared { store, sink, clock, .. } = &*self.0;
        let mut reader = store.read_delivery(claimed);
        let mut gathered = Gathered::default();
        while let Some(records) = reader.next().await? {
            let oldest = to.oldest_taken(clock.now());
            for record in records {
                let place = record.place;
                if !sink.filter.wants_record(&record.record) {
                    gathered.left_out += 1;
                } else if oldest.is_some_and(|oldest| place.time < oldest) {
                    gathered.left_out += 1;
                    gathered.too_old += 1;
                } else {
                    let record = to.encode(run, &self.item(claimed, record));
                    if !gathered.has_room_for(&record, self.bounds()) {
                        self.send_gathered(to, run, claimed, round, std::mem::take(&mut gathered), stop).await?;
                    }
                    gathered.push(record);
                }
                gathered.until = Some(place);
                if gathered.is_full(sink.bounds) {
                    self.send_gathered(to, run, claimed, round, std::mem::take(&mut gathered), stop).await?;
                }
            }
        }
        self.send_gathered(to, run, claimed, round, gathered, stop).await
    }

    /// How large a batch is at most, as far as is known.
    fn bounds(&self) -> BatchBounds {
        let BatchBounds { records, bytes } = self.0.sink.bounds;
        BatchBounds { records, bytes: bytes.min(self.learned().bytes_max) }
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
        let Gathered { items, until, left_out, too_old, .. } = gathered;
        let ends_part = !items.is_empty();
        let mut fates = self.send_all(to, run, items, stop).await?;
        self.judge(&fates)?;
        let cut = match fates.refused.is_empty() {
            true => None,
            false => fates.cut(self.0.store.dead_letter_room(claimed).await?),
        };
        let step = match cut {
            None => DeliveryStep {
                until,
                delivered: fates.taken(),
                left_out,
                too_old,
                refused: fates.into_refused(),
                ends_part,
                replayed: None,
            },
            Some(until) => DeliveryStep {
                until,
                delivered: fates.taken(),
                refused: fates.into_refused(),
                ..DeliveryStep::default()
            },
        };
        self.step(claimed, round, &step).await?;
        match cut {
            None => Ok(()),
            Some(_) => Err(Trouble::Run(format!(
                "it has refused more than is kept of that ({} reasons of a run, {} of a sink): mend the cause, then \
                 `runlog deliver --once --replay --sink {}`",
                limits::DEAD_LETTERS_RUN_MAX,
                limits::DEAD_LETTERS_SINK_MAX,
                self.name(),
            ))),
        }
    }

    /// A sink that refuses nearly everything is taken for a mistake in the settings, here or there: nothing of that is
    /// kept as refused.
    fn judge(&self, fates: &Fates) -> Result<()> {
        let (taken, refused) = (fates.taken() as usize, fates.refused() as usize);
        let mut learned = self.learned();
        if taken > 0 {
            (learned.refused, learned.runs_refused) = (0, 0);
        }
        let in_a_row = if taken > 0 { refused } else { learned.refused + refused };
        if refused > 0 && in_a_row >= REFUSED_ALL && refused >= 9 * taken {
            let reason = fates.refused.first().map(|range| range.reason.as_str()).unwrap_or_default();
            let all = taken + refused;
            return Err(Trouble::Refusing(format!(
                "it refuses whatever it is sent, {refused} of {all} records together and {in_a_row} in a row: {reason}"
            )));
        }
        if taken == 0 {
            learned.refused += refused;
        }
        Ok(())
    }

    async fn step(&self, claimed: &mut ClaimedDelivery, round: &mut DeliveryRound, step: &DeliveryStep) -> Result<()> {
        if step.until.is_none() && step.replayed.is_none() && step.refused.is_empty() {
            return Ok(());
        }
        self.0.store.step_delivery(claimed, step).await?;
        round.records += step.delivered;
        round.refused += step.refused.iter().map(|range| range.records).sum::<u64>();
        Ok(())
    }

    /// Sends records until each is taken or refused for good. Waits, sends again and splits as the sink says.
    async fn send_all(
        &self,
        to: &dyn Sink,
        run: &RunFacts,
        records: Vec<Encoded>,
        stop: &CancellationToken,
    ) -> Result<Fates> {
        let mut fates = Fates::of(&records);
        // What is split off comes after the rest of it.
        let mut waiting = vec![records];
        let (mut tries, mut refused_alone, mut unanswered) = (0, 0, 0);
        while let Some(mut records) = waiting.pop() {
            if records.is_empty() {
                continue;
            }
            let together_max = self.learned().together_max;
            if records.len() > together_max {
                let rest = records.split_off(together_max);
                waiting.extend([rest, records]);
                continue;
            }
            let sent = tokio::select! {
                sent = to.send(Batch { run, records: &records }) => sent,
                () = stop.cancelled() => return Err(Trouble::Stopped),
            };
            unanswered = if matches!(sent, Err(SendError::NoAnswer(_))) { unanswered + 1 } else { 0 };
            let (problem, after) = match sent {
                Ok(Answered::AllBut { records: count, reason }) if (1..records.len()).contains(&count) => {
                    fates.all_but(&records, count, reason);
                    self.send_fewer_together(records.len());
                    tries = 0;
                    continue;
                }
                Ok(Answered::Each(outcomes)) if outcomes.len() == records.len() => {
                    let before = records.len();
                    let is_clean = outcomes.iter().all(|outcome| *outcome == Sent::Taken);
                    let (again, problem) = fates.sort(records, outcomes);
                    if is_clean {
                        self.send_more_together();
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
                        Answered::Each(outcomes) => outcomes.len(),
                        Answered::AllBut { records, .. } => records,
                    };
                    let problem = format!("it answered for {answers} of {} records", records.len());
                    waiting.push(records);
                    (problem, None)
                }
                Err(error @ (SendError::TooLarge(_) | SendError::Refused(_))) if records.len() > 1 => {
                    if matches!(error, SendError::TooLarge(_)) {
                        self.send_smaller(&records);
                    }
                    let rest = records.split_off(records.len() / 2);
                    waiting.extend([rest, records]);
                    continue;
                }
                Err(error @ (SendError::TooLarge(_) | SendError::Refused(_))) => {
                    refused_alone += 1;
                    fates.refuse(&records, &error.to_string());
                    if refused_alone == REFUSED_ALL && fates.taken() == 0 {
                        // Perhaps it is these neighbours: others are tried before anything is said of all.
                        waiting.reverse();
                    }
                    if refused_alone >= 2 * REFUSED_ALL && fates.taken() == 0 {
                        return Err(Trouble::Refusing(format!("it refuses whatever it is sent: {error}")));
                    }
                    continue;
                }
                Err(SendError::Denied(problem)) => return Err(Trouble::Sink { problem, pause: PAUSE_DENIED }),
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
                return Err(Trouble::Sink { problem, pause: after.unwrap_or(PAUSE_FIRST) });
            }
            self.wait(after.unwrap_or(doubled(AGAIN_FIRST, tries - 1, AGAIN_MAX)), stop).await?;
        }
        Ok(fates)
    }

    /// These were too large together.
    fn send_smaller(&self, records: &[Encoded]) {
        let bytes: usize = records.iter().map(|record| record.bytes(None)).sum();
        let mut learned = self.learned();
        learned.bytes_max = learned.bytes_max.min((bytes / 2).max(LEARNED_BYTES_MIN));
    }

    /// Of so many it is not known which were refused.
    fn send_fewer_together(&self, records: usize) {
        let mut learned = self.learned();
        (learned.together_max, learned.clean_parts) = ((records / 8).max(1), 0);
    }

    fn send_more_together(&self) {
        let mut learned = self.learned();
        learned.clean_parts = learned.clean_parts.saturating_add(1);
        if learned.together_max < usize::MAX && learned.clean_parts >= CLEAN_PARTS {
            (learned.together_max, learned.clean_parts) = (learned.together_max.saturating_mul(2), 0);
        }
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
        let mut part: Option<Part> = None;
        let written = self.write_parts(files, run, claimed, round, &mut part, stop).await;
        if let Some(part) = part {
            part.abandon().await;
        }
        written
    }

    /// Leaves the part in the making behind when it is broken off.
    async fn write_parts(
        &self,
        files: &Files,
        run: &RunFacts,
        claimed: &mut ClaimedDelivery,
        round: &mut DeliveryRound,
        part: &mut Option<Part>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Shared { store, sink, .. } = &*self.0;
        let mut reader = store.read_delivery(claimed);
        let mut gathered = Gathered::default();
        loop {
            let records = tokio::select! {
                records = reader.next() => records?,
                () = stop.cancelled() => return Err(Trouble::Stopped),
            };
            let Some(records) = records else { break };
            for record in records {
                gathered.until = Some(record.place);
                if !sink.filter.wants_record(&record.record) {
                    gathered.left_out += 1;
                    continue;
                }
                if stop.is_cancelled() {
                    return Err(Trouble::Stopped);
                }
                let item = self.item(claimed, record);
                gathered.count(item.text_bytes());
                let open = match part {
                    Some(open) => open,
                    None => part.insert(files.begin(run, claimed.parts + 1)?),
                };
                files.add(open, run, item).await?;
                if gathered.is_full(sink.bounds) {
                    self.end_part(claimed, round, part.take(), std::mem::take(&mut gathered)).await?;
                }
            }
        }
        if stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        self.end_part(claimed, round, part.take(), gathered).await
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
                Err(SendError::NoAnswer(problem)) => (problem, None),
                Err(SendError::Denied(problem)) => return Err(Trouble::Sink { problem, pause: PAUSE_DENIED }),
                Err(error @ (SendError::Refused(_) | SendError::TooLarge(_))) => {
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
            // What waits because of it does not wait any longer.
            self.0.store.hasten_deliveries(self.name()).await?;
        }
        Ok(())
    }

    /// What the lock guards is changed in single steps, so that a panic elsewhere leaves it whole.
    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.0.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.0.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that are sent together.
#[derive(Default)]
struct Gathered {
    items: Vec<Encoded>,
    records: usize,
    bytes: usize,
    left_out: u64,
    too_old: u64,
    until: Option<Place>,
}

impl Gathered {
    fn has_room_for(&self, record: &Encoded, bounds: BatchBounds) -> bool {
        self.items.is_empty() || self.bytes + self.bytes_of(record) <= bounds.bytes
    }

    fn push(&mut self, record: Encoded) {
        self.count(self.bytes_of(&record));
        self.items.push(record);
    }

    fn bytes_of(&self, record: &Encoded) -> usize {
        record.bytes(self.items.last().map(|before| before.head.as_slice()))
    }

    fn count(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    fn is_full(&self, bounds: BatchBounds) -> bool {
        // A long stretch of records that are not wanted is noted now and then as well.
        self.records >= bounds.records || self.bytes >= bounds.bytes || self.left_out >= 100_000
    }
}

/// What became of each record of a batch.
struct Fates {
    /// Where the records stand, in order.
    places: Vec<Place>,
    /// For each of them, the range of refused ones that it belongs to.
    ranges: Vec<Option<usize>>,
    is_taken: Vec<bool>,
    refused: Vec<RefusedRange>,
}

impl Fates {
    fn of(records: &[Encoded]) -> Self {
        let places: Vec<Place> = records.iter().map(|record| record.place).collect();
        let (ranges, is_taken) = (vec![None; places.len()], vec![false; places.len()]);
        Self { places, ranges, is_taken, refused: Vec::new() }
    }

    /// How many were taken.
    fn taken(&self) -> u64 {
        self.is_taken.iter().filter(|it| **it).count() as u64
            + self.refused.iter().map(|range| range.of_records - range.records).sum::<u64>()
    }

    /// How many were refused.
    fn refused(&self) -> u64 {
        self.refused.iter().map(|range| range.records).sum()
    }

    /// Takes note of an answer. What is to be sent again, and why it is to be sent after a while only.
    fn sort(&mut self, records: Vec<Encoded>, outcomes: Vec<Sent>) -> (Vec<Encoded>, Option<String>) {
        let (mut again, mut problem) = (Vec::new(), None);
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Sent::Taken => self.take(record.place),
                Sent::Refused(reason) => self.refuse(&[record], &reason),
                Sent::Beside => again.push(record),
                Sent::Again(why) => {
                    problem.get_or_insert(why);
                    again.push(record);
                }
            }
        }
        (again, problem)
    }

    fn take(&mut self, place: Place) {
        if let Ok(index) = self.places.binary_search(&place) {
            self.is_taken[index] = true;
        }
    }

    fn refuse(&mut self, records: &[Encoded], reason: &str) {
        for place in records.iter().map(|record| record.place) {
            let Ok(index) = self.places.binary_search(&place) else { continue };
            let before = index.checked_sub(1).and_then(|before| self.ranges[before]);
            let joined = before.filter(|range| {
                let range = &self.refused[*range];
                range.records == range.of_records && same_kind(&range.reason, reason)
            });
            self.ranges[index] = Some(match joined {
                Some(range) => {
                    self.refused[range].extend(place);
                    range
                }
                None => {
                    self.refused.push(RefusedRange::one(place, reason));
                    self.refused.len() - 1
                }
            });
        }
    }

    /// So many of these were refused, and nobody knows which.
    fn all_but(&mut self, records: &[Encoded], count: usize, reason: String) {
        let places: Vec<Place> = records.iter().map(|record| record.place).collect();
        let [first, .., last] = places[..] else { return };
        let arrivals = |of: fn(u64, u64) -> u64| places.iter().map(|place| place.arrival).reduce(of);
        let arrivals = arrivals(u64::min).zip(arrivals(u64::max)).unwrap_or_default();
        let (records, of_records) = (count as u64, places.len() as u64);
        self.refused.push(RefusedRange { first, last, arrivals, records, of_records, reason });
    }

    /// Leaves room for so many ranges. When there are more: how far the records count that stand before the first of
    /// those, and nothing of what comes after.
    fn cut(&mut self, room: usize) -> Option<Option<Place>> {
        if self.refused.len() <= room {
            return None;
        }
        self.refused.sort_by_key(|range| range.first);
        let first = self.refused[room].first;
        self.refused.truncate(room);
        let before = self.places.partition_point(|place| *place < first);
        self.is_taken[before..].fill(false);
        Some(before.checked_sub(1).map(|last| self.places[last]))
    }

    fn into_refused(mut self) -> Vec<RefusedRange> {
        self.refused.sort_by_key(|range| range.first);
        self.refused
    }
}

/// True for reasons that differ in what they quote, in ids and in numbers alone.
fn same_kind(one: &str, other: &str) -> bool {
    fn words(text: &str) -> impl Iterator<Item = &str> {
        let is_apart = |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '{' | '}' | '(' | ')' | ',' | ':' | '=');
        text.split(is_apart).filter(|word| {
            !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit() || matches!(c, '\'' | '"' | '`'))
        })
    }
    one == other || words(one).eq(words(other))
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
