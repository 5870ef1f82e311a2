//! Delivers archived runs to one sink, at the pace that the sink bears.
//!
//! ```text
//! offer runs that have ended ▸ claim one ▸ read on from the last step ▸ redact ▸ send a batch ▸ note the step ▸ done
//! ```
//!
//! Any number of deliverers may share an archive. A step is noted when the sink has its records; a deliverer that dies
//! before it leaves the records of one batch to be sent again, in the same batches, with the same ids.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use runlog_client::Wait;
use runlog_model::{Clock, Timestamp, backoff, error_chain, millis};
use runlog_store::delivery::{ClaimedDelivery, Deliveries};
use runlog_store::supervise::Supervisor;
use runlog_store::workspaces::Workspaces;
use runlog_store::{ErrorKind, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::config::SinkConfig;
use super::delivery::RunDelivery;
use super::destination::Takes;
use super::error::{DeliveryError, PAUSE_DENIED, PAUSE_FIRST, Result};
use super::health::SinkHealth;
use super::sinks::sink::SendError;
use super::stats::DeliveryStats;
use crate::shutdown::{shutdown_is_over, until_shutdown};
use crate::workers::{Pool, side_by_side};

/// How often the archive is looked at for runs that have ended.
const OFFER_EVERY: Duration = Duration::from_secs(5);
/// What is said of a run that cannot be delivered because of a fault of ours.
const PANIC: &str = "delivering it met a fault of the program, which its log names";
/// How long a deliverer's lease of a run lasts unless it is renewed.
const LEASE: Duration = Duration::from_secs(20);
/// How long a run waits that the sink refuses wholly, at first and at most.
const SETBACK_FIRST: Duration = Duration::from_secs(60);
const SETBACK_MAX: Duration = Duration::from_secs(6 * 3_600);
/// How long one waits at most that the archive could not give: when the archive can again, it can for all of them.
const SETBACK_MAX_ARCHIVE: Duration = Duration::from_secs(600);

/// Delivers to one sink.
#[derive(Clone)]
pub struct Deliverer(Arc<Shared>);

struct Shared {
    deliveries: Deliveries,
    workspaces: Workspaces,
    supervisor: Supervisor,
    sink: SinkConfig,
    clock: Arc<dyn Clock>,
    wait: Arc<dyn Wait>,
    pool: Arc<Pool>,
    health: SinkHealth,
}

impl Deliverer {
    /// A deliverer; nothing is sent yet.
    pub fn new(store: &Store, sink: SinkConfig, clock: Arc<dyn Clock>, wait: Arc<dyn Wait>) -> Self {
        Self(Arc::new(Shared {
            deliveries: store.deliveries().clone(),
            workspaces: store.workspaces().clone(),
            supervisor: store.supervisor().clone(),
            sink,
            clock,
            wait,
            pool: Arc::new(Pool::new()),
            health: SinkHealth::default(),
        }))
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
        let Shared { deliveries, sink, .. } = &*self.0;
        deliveries.enqueue_finished_runs(&sink.name, |run| sink.filter.wants_run(run)).await
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
    ) -> std::result::Result<DeliveryStats, runlog_store::Error> {
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
        let Shared { supervisor, sink, wait, pool, .. } = &*self.0;
        let name = |what: &str| format!("deliver {}: {what}", sink.name);
        let (offering, seeing, delivering) = (name("offer runs"), name("be seen"), name("deliver"));
        let (deliverer, until) = (self.clone(), stop.clone());
        let step = move || {
            let (deliverer, stop) = (deliverer.clone(), until.clone());
            async move { deliverer.deliver_one_of_many(&stop).await }
        };
        tokio::join!(
            supervisor.run(&offering, &stop, || self.clone().offer_on(stop.clone())),
            supervisor.run(&seeing, &stop, || self.clone().heartbeat_on(stop.clone())),
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

    /// Keeps noting that this sink has a deliverer, whatever its deliveries do.
    async fn heartbeat_on(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
        while !stop.is_cancelled() {
            tokio::select! { () = self.0.wait.sleep(OFFER_EVERY) => {}, () = stop.cancelled() => break }
            let seen = tokio::select! {
                seen = self.0.deliveries.touch_sink(self.name()) => seen,
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
    ) -> std::result::Result<Option<DeliveryStats>, runlog_store::Error> {
        match self.deliver_one(stop).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                self.tell("a run could not be delivered", &error);
                Ok(Some(DeliveryStats::default()))
            }
            Ok(None) if !stop.is_cancelled() => {
                self.probe_if_away().await?;
                Ok(None)
            }
            other => other,
        }
    }

    /// Probes a sink that was away and for which nothing is due: nothing else would show that it is back.
    async fn probe_if_away(&self) -> std::result::Result<(), runlog_store::Error> {
        if !self.0.health.is_away() || self.is_paused() {
            return Ok(());
        }
        match self.check().await {
            Ok(()) => self.mark_recovered().await,
            Err(error) => {
                self.leave_alone(PAUSE_FIRST);
                self.note(Some(&error.to_string())).await
            }
        }
    }

    async fn look(&self) -> std::result::Result<(), runlog_store::Error> {
        // What was wrong stays said until the sink takes something again.
        if !self.0.health.is_away() {
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
        let Shared { deliveries, sink, .. } = &*self.0;
        deliveries.register_sink(&sink.name, sink.destination.kind(), problem).await
    }

    /// Claims the run that has waited for longest, and delivers it; none when none is due or the sink is left alone.
    async fn deliver_one(
        &self,
        stop: &CancellationToken,
    ) -> std::result::Result<Option<DeliveryStats>, runlog_store::Error> {
        let Shared { deliveries, sink, clock, wait, .. } = &*self.0;
        if self.is_paused() {
            return Ok(None);
        }
        // Stopped here, a claim may have been made of which nobody knows; its lease runs out.
        let claimed = tokio::select! {
            claimed = deliveries.claim(&sink.name, lease_end(clock.now())) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(mut claimed) = claimed else { return Ok(None) };
        self.0.pool.wake();
        let held = claimed.clone();
        let mut stats = DeliveryStats::default();
        // Ends what is in hand in good order: a file in the making leaves nothing behind.
        let no_more = stop.child_token();
        let outcome = {
            // A run that makes it panic is set back like any other that fails.
            let delivery = RunDelivery {
                deliveries,
                workspaces: &self.0.workspaces,
                sink,
                clock: clock.as_ref(),
                wait: wait.as_ref(),
                health: &self.0.health,
                claimed: &mut claimed,
                stats: &mut stats,
                stop: &no_more,
            };
            let delivering = AssertUnwindSafe(delivery.deliver()).catch_unwind();
            let delivering =
                delivering.map(|ended| ended.unwrap_or_else(|_| Err(DeliveryError::Run(PANIC.to_owned()))));
            tokio::pin!(delivering);
            tokio::select! {
                outcome = &mut delivering => Some(outcome),
                () = self.hold_lease(&held) => {
                    no_more.cancel();
                    tokio::select! { _ = delivering => {}, () = shutdown_is_over(&no_more) => {} }
                    None
                }
                // It ends by itself before that, unless the archive does not answer.
                () = shutdown_is_over(stop) => Some(Err(DeliveryError::Stopped)),
            }
        };
        let Some(outcome) = outcome else {
            warn!(sink = sink.name, run.id = %held.run.id, "another deliverer has taken over a run that took too long");
            return Ok(Some(stats));
        };
        until_shutdown(self.conclude(&claimed, outcome, &mut stats), stop).await?;
        Ok(Some(stats))
    }

    /// Takes note of how a delivery ended.
    async fn conclude(
        &self,
        claimed: &ClaimedDelivery,
        outcome: Result<()>,
        stats: &mut DeliveryStats,
    ) -> std::result::Result<(), runlog_store::Error> {
        let Shared { deliveries, sink, .. } = &*self.0;
        match outcome {
            Ok(()) => {
                if self.has_answered(stats) {
                    self.mark_recovered().await?;
                }
                stats.runs = 1;
            }
            Err(DeliveryError::Stopped) => deliveries.release(claimed).await?,
            // The log was deleted meanwhile, or another deliverer has the run: whoever claims it next sees how it is.
            Err(DeliveryError::Archive(error)) if error.kind() == ErrorKind::Conflict => {
                deliveries.release(claimed).await?;
            }
            Err(DeliveryError::Archive(error)) => {
                let longest = match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::Busy => SETBACK_MAX_ARCHIVE,
                    _ => SETBACK_MAX,
                };
                self.set_back(claimed, stats, error_chain(&error), longest).await?;
            }
            Err(DeliveryError::Run(problem)) => self.set_back(claimed, stats, problem, SETBACK_MAX).await?,
            Err(DeliveryError::Refusing(problem)) if self.0.health.is_first_refusing() => {
                self.set_back(claimed, stats, problem, SETBACK_MAX).await?;
            }
            Err(DeliveryError::Refusing(problem)) => self.leave_with(claimed, stats, problem, PAUSE_DENIED).await?,
            Err(DeliveryError::Dead(problem)) => {
                info!(sink = sink.name, run.id = %claimed.run.id, problem, "the sink refuses a run");
                deliveries.record_failure(claimed, &problem, None).await?;
                (stats.dead, stats.problem) = (1, Some(problem));
            }
            Err(DeliveryError::Sink { problem, pause }) => self.leave_with(claimed, stats, problem, pause).await?,
        }
        Ok(())
    }

    /// Leaves the sink alone for a while, and what is in hand until then.
    async fn leave_with(
        &self,
        claimed: &ClaimedDelivery,
        stats: &mut DeliveryStats,
        problem: String,
        pause: Duration,
    ) -> std::result::Result<(), runlog_store::Error> {
        let until = self.leave_alone(pause);
        warn!(sink = self.name(), problem, "the sink takes nothing, and is left alone for a while");
        self.note(Some(&problem)).await?;
        self.0.deliveries.record_failure(claimed, &problem, Some(until)).await?;
        (stats.set_back, stats.problem) = (1, Some(problem));
        Ok(())
    }

    /// True when the sink had to answer so that a run was delivered: of one whose records are all left out, it heard
    /// nothing.
    fn has_answered(&self, stats: &DeliveryStats) -> bool {
        matches!(self.0.sink.destination.0, Takes::Runs(_)) || stats.records + stats.refused > 0
    }

    async fn set_back(
        &self,
        claimed: &ClaimedDelivery,
        stats: &mut DeliveryStats,
        problem: String,
        longest: Duration,
    ) -> std::result::Result<(), runlog_store::Error> {
        let Shared { deliveries, sink, clock, .. } = &*self.0;
        let times = u32::try_from(claimed.attempts - 1).unwrap_or_default();
        let again_at = clock.now().plus_millis(millis(backoff(SETBACK_FIRST, times, longest)));
        info!(sink = sink.name, run.id = %claimed.run.id, problem, %again_at, "a run was not delivered, and is tried again");
        deliveries.record_failure(claimed, &problem, Some(again_at)).await?;
        (stats.set_back, stats.problem) = (1, Some(problem));
        Ok(())
    }

    /// Renews the lease of a run; ends when another deliverer has taken it.
    async fn hold_lease(&self, claimed: &ClaimedDelivery) {
        let Shared { deliveries, clock, wait, .. } = &*self.0;
        loop {
            wait.sleep(LEASE / 3).await;
            match deliveries.renew_lease(claimed, lease_end(clock.now())).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => debug!(%error, "a claim could not be renewed"),
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.0.health.is_paused(self.0.clock.now())
    }

    fn leave_alone(&self, first: Duration) -> Timestamp {
        self.0.health.leave_alone(first, self.0.clock.now())
    }

    /// Notes that the sink takes what it is sent again.
    async fn mark_recovered(&self) -> std::result::Result<(), runlog_store::Error> {
        if self.0.health.recovered() {
            info!(sink = self.name(), "the sink takes what it is sent again");
            self.note(None).await?;
            // What waits because of it does not wait any longer.
            self.0.deliveries.expedite(self.name()).await?;
        }
        Ok(())
    }
}

fn lease_end(now: Timestamp) -> Timestamp {
    now.plus_millis(millis(LEASE))
}
