//! Delivers archived runs to one sink, as fast as the sink accepts them.
//!
//! ```text
//! enqueue ended runs ▸ claim one ▸ read on from the last step ▸ redact ▸ send a batch ▸ record the step ▸ done
//! ```
//!
//! Any number of deliverers may share an archive. A step is recorded once the sink has its records. If a deliverer dies
//! before that, the records of one batch are sent again, in the same batches, with the same IDs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use runlog_client::Wait;
use runlog_model::{Clock, Timestamp, backoff, error_chain, millis};
use runlog_store::components::Components;
use runlog_store::delivery::{ClaimedDelivery, Deliveries};
use runlog_store::supervise::Supervisor;
use runlog_store::tenant_audit_logs::TenantAuditLogs;
use runlog_store::workspaces::Workspaces;
use runlog_store::{BackgroundThreads, ErrorKind, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::audit_logs::{self, AuditDelivery};
use super::config::SinkConfig;
use super::delivery::RunDelivery;
use super::destination::DestinationKind;
use super::error::{DeliveryError, PAUSE_DENIED, PAUSE_FIRST, Result};
use super::health::SinkHealth;
use super::sinks::sink::SendError;
use super::stats::DeliveryStats;
use crate::shutdown::{shutdown_is_over, until_shutdown, with_shutdown_timeout};
use crate::workers::{Pool, side_by_side};

/// How often the archive is queried for runs that have ended.
const OFFER_EVERY: Duration = Duration::from_secs(5);
/// The message for a run that cannot be delivered because of an internal error.
const PANIC: &str = "delivering it met a fault of the program, which its log names";
/// How long the lease of a run lasts without renewal.
const LEASE: Duration = Duration::from_secs(20);
/// The delay before a run that the sink refuses completely is retried, initially and at most.
const SETBACK_FIRST: Duration = Duration::from_secs(60);
const SETBACK_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Maximum difference between the clocks of two nodes.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3_600);
/// The maximum delay if the archive could not be read: once it works again, it does so for all runs.
const SETBACK_MAX_ARCHIVE: Duration = Duration::from_secs(600);

/// Delivers runs to one sink.
#[derive(Clone)]
pub struct Deliverer(Arc<Shared>);

struct Shared {
    deliveries: Deliveries,
    workspaces: Workspaces,
    components: Components,
    audit_logs: TenantAuditLogs,
    supervisor: Supervisor,
    threads: Arc<BackgroundThreads>,
    sink: Arc<SinkConfig>,
    clock: Arc<dyn Clock>,
    wait: Arc<dyn Wait>,
    pool: Arc<Pool>,
    health: SinkHealth,
}

impl Deliverer {
    /// Creates a deliverer; sends nothing yet.
    pub fn new(store: &Store, sink: SinkConfig, clock: Arc<dyn Clock>, wait: Arc<dyn Wait>) -> Self {
        Self(Arc::new(Shared {
            deliveries: store.deliveries().clone(),
            workspaces: store.workspaces().clone(),
            components: store.components().clone(),
            audit_logs: store.tenant_audit_logs().clone(),
            supervisor: store.supervisor().clone(),
            threads: Arc::clone(store.background_threads()),
            sink: Arc::new(sink),
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

    /// The location of its sink, without secrets.
    pub fn location(&self) -> String {
        self.0.sink.destination.location()
    }

    /// Tests whether the sink is available and grants access.
    pub async fn check(&self) -> std::result::Result<(), SendError> {
        self.0.sink.destination.check().await
    }

    /// Makes runs due that have ended and match the filters of the sink. Returns the number of new ones.
    pub async fn offer(&self) -> std::result::Result<u64, runlog_store::Error> {
        let Shared { deliveries, sink, clock, .. } = &*self.0;
        let latest = clock.now().plus_millis(millis(SETBACK_MAX + CLOCKS_DIFFER));
        deliveries.bring_forward(&sink.name, latest).await?;
        deliveries.enqueue_finished_runs(&sink.name, |run| sink.filter.wants_run(run)).await
    }

    /// Registers the sink in the archive, without an error.
    pub async fn register(&self) -> std::result::Result<(), runlog_store::Error> {
        self.note(None).await
    }

    /// Delivers every due run, several at a time, until none is left, the sink is unavailable, or `stop`. If the
    /// archive becomes unavailable, deliveries in progress continue as far as possible.
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

    /// Delivers until `stop`. Enqueuing runs, heartbeats and deliveries are separate tasks, so that none of them waits
    /// for a long delivery; a task that fails is restarted.
    pub async fn run(&self, stop: CancellationToken) {
        let Shared { supervisor, sink, wait, pool, .. } = &*self.0;
        let name = |what: &str| format!("deliver {}: {what}", sink.name);
        let (offering, seeing, delivering) = (name("offer runs"), name("be seen"), name("deliver"));
        let auditing = name("audit logs");
        let (deliverer, until) = (self.clone(), stop.clone());
        let step = move || {
            let (deliverer, stop) = (deliverer.clone(), until.clone());
            async move { deliverer.deliver_one_of_many(&stop).await }
        };
        tokio::join!(
            supervisor.run(&offering, &stop, || self.clone().offer_continuously(stop.clone())),
            supervisor.run(&seeing, &stop, || self.clone().send_heartbeats(stop.clone())),
            supervisor.run(&auditing, &stop, || self.clone().audit_continuously(stop.clone())),
            pool.live(supervisor, &delivering, sink.parallel, wait, &stop, step),
        );
    }

    /// Delivers the audit logs of tenants if the sink takes them, until it has all or is unavailable. `is_once`: there
    /// is no further call soon, so that files are written even if they are not full.
    pub async fn deliver_audit_logs(
        &self,
        is_once: bool,
        stop: &CancellationToken,
    ) -> std::result::Result<DeliveryStats, runlog_store::Error> {
        let Shared { audit_logs: logs, threads, sink, clock, wait, health, .. } = &*self.0;
        let mut stats = DeliveryStats::default();
        if !sink.audit_logs || self.is_paused() {
            return Ok(stats);
        }
        logs.register_sink(&sink.name).await?;
        let until = audit_logs::lease_end(clock.now());
        let Some(mut claimed) = logs.claim_delivery(&sink.name, until).await? else { return Ok(stats) };
        let (clock, wait) = (clock.as_ref(), wait.as_ref());
        let (held, no_more) = (claimed.clone(), stop.child_token());
        let outcome = {
            let stop = &no_more;
            let delivery =
                AuditDelivery { logs, threads, sink, clock, wait, health, stop, writes_small_files: is_once };
            let delivering = delivery.deliver(&mut claimed, &mut stats);
            tokio::pin!(delivering);
            let renewed = |now| logs.renew_delivery(&held, audit_logs::lease_end(now));
            tokio::select! {
                biased;
                outcome = &mut delivering => Some(outcome),
                () = self.hold_lease(renewed) => {
                    no_more.cancel();
                    tokio::select! { _ = delivering => {}, () = shutdown_is_over(&no_more) => {} }
                    None
                }
            }
        };
        let Some(outcome) = outcome else {
            warn!(sink = sink.name, "another deliverer has taken over audit logs that took too long");
            return Ok(stats);
        };
        let again_at = || {
            let times = u32::try_from(claimed.attempts - 1).unwrap_or_default();
            clock.now().plus_millis(millis(backoff(SETBACK_FIRST, times, SETBACK_MAX_ARCHIVE)))
        };
        let (problem, again_at) = match outcome {
            Ok(()) => {
                if stats.audit_logs > 0 {
                    self.mark_recovered().await?;
                }
                logs.release_delivery(&claimed, None).await?;
                return Ok(stats);
            }
            Err(DeliveryError::Stopped) => {
                with_shutdown_timeout(logs.release_delivery(&claimed, None)).await?;
                return Ok(stats);
            }
            Err(DeliveryError::Archive(error)) if error.kind() == ErrorKind::Conflict => return Ok(stats),
            Err(DeliveryError::Archive(error)) => (error_chain(&error), again_at()),
            Err(DeliveryError::Run(problem) | DeliveryError::Dead(problem) | DeliveryError::Refusing(problem)) => {
                (problem, again_at())
            }
            Err(DeliveryError::Sink { problem, pause }) => {
                let until = self.start_pause(pause);
                self.note(Some(&problem)).await?;
                (problem, until)
            }
        };
        warn!(sink = sink.name, problem, %again_at, "audit logs were not delivered, and are tried again");
        logs.release_delivery(&claimed, Some((&problem, again_at))).await?;
        (stats.set_back, stats.problem) = (1, Some(problem));
        Ok(stats)
    }

    async fn audit_continuously(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
        while self.0.sink.audit_logs && !stop.is_cancelled() {
            if let Err(error) = self.deliver_audit_logs(false, &stop).await {
                self.tell("audit logs could not be delivered", &error);
            }
            tokio::select! { () = self.0.wait.sleep(OFFER_EVERY) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    async fn offer_continuously(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
        while !stop.is_cancelled() {
            let looked = tokio::select! { looked = self.look() => looked, () = stop.cancelled() => break };
            if let Err(error) = looked {
                self.tell("cannot query finished runs", &error);
            }
            tokio::select! { () = self.0.wait.sleep(OFFER_EVERY) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    /// Records heartbeats of this sink, regardless of its deliveries.
    async fn send_heartbeats(self, stop: CancellationToken) -> std::result::Result<(), runlog_store::Error> {
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

    /// Delivers a due run. A run that cannot be read does not cause a pause.
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

    /// Probes a sink that was unavailable and for which nothing is due; otherwise its recovery would not be noticed.
    async fn probe_if_away(&self) -> std::result::Result<(), runlog_store::Error> {
        if !self.0.health.is_away() || self.is_paused() {
            return Ok(());
        }
        match self.check().await {
            Ok(()) => self.mark_recovered().await,
            Err(error) => {
                self.start_pause(PAUSE_FIRST);
                self.note(Some(&error.to_string())).await
            }
        }
    }

    async fn look(&self) -> std::result::Result<(), runlog_store::Error> {
        // The error remains until the sink accepts something again.
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

    /// Claims the oldest due run and delivers it; none if no run is due or the sink is paused.
    async fn deliver_one(
        &self,
        stop: &CancellationToken,
    ) -> std::result::Result<Option<DeliveryStats>, runlog_store::Error> {
        let Shared { deliveries, sink, clock, wait, .. } = &*self.0;
        if self.is_paused() {
            return Ok(None);
        }
        // If it is stopped here, a claim may be lost; its lease expires.
        let claimed = tokio::select! {
            claimed = deliveries.claim(&sink.name, lease_end(clock.now())) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(mut claimed) = claimed else { return Ok(None) };
        self.0.pool.wake();
        let held = claimed.clone();
        let mut stats = DeliveryStats::default();
        // The current delivery is ended properly, so that no incomplete file is left behind.
        let no_more = stop.child_token();
        let outcome = {
            // A run that makes it panic is retried later, like any other failed run.
            let delivery = RunDelivery {
                deliveries,
                workspaces: &self.0.workspaces,
                components: &self.0.components,
                threads: &self.0.threads,
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
            let renewed = |now| deliveries.renew_lease(&held, lease_end(now));
            tokio::select! {
                biased;
                outcome = &mut delivering => Some(outcome),
                () = self.hold_lease(renewed) => {
                    no_more.cancel();
                    tokio::select! { _ = delivering => {}, () = shutdown_is_over(&no_more) => {} }
                    None
                }
                // It ends before that, unless the archive does not respond.
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

    /// Records the outcome of a delivery.
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
            // The log was deleted in the meantime, or another deliverer has taken over: the next claim sees the current
            // state.
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
            Err(DeliveryError::Refusing(problem)) => self.pause_with(claimed, stats, problem, PAUSE_DENIED).await?,
            Err(DeliveryError::Dead(problem)) => {
                info!(sink = sink.name, run.id = %claimed.run.id, problem, "the sink refuses a run");
                deliveries.record_failure(claimed, &problem, None).await?;
                (stats.dead, stats.problem) = (1, Some(problem));
            }
            Err(DeliveryError::Sink { problem, pause }) => self.pause_with(claimed, stats, problem, pause).await?,
        }
        Ok(())
    }

    /// Pauses the sink and the current deliveries.
    async fn pause_with(
        &self,
        claimed: &ClaimedDelivery,
        stats: &mut DeliveryStats,
        problem: String,
        pause: Duration,
    ) -> std::result::Result<(), runlog_store::Error> {
        let until = self.start_pause(pause);
        warn!(sink = self.name(), problem, "the sink takes nothing, and is left alone for a while");
        self.note(Some(&problem)).await?;
        self.0.deliveries.record_failure(claimed, &problem, Some(until)).await?;
        (stats.set_back, stats.problem) = (1, Some(problem));
        Ok(())
    }

    /// True if delivering the run required a response of the sink: if all records are filtered out, nothing was sent.
    fn has_answered(&self, stats: &DeliveryStats) -> bool {
        matches!(self.0.sink.destination.0, DestinationKind::Runs(_)) || stats.records + stats.refused > 0
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

    /// Renews a lease, which gets the time now and returns false if another deliverer has it; then this returns.
    async fn hold_lease<F: Future<Output = std::result::Result<bool, runlog_store::Error>>>(
        &self,
        renew: impl Fn(Timestamp) -> F,
    ) {
        let Shared { clock, wait, .. } = &*self.0;
        loop {
            wait.sleep(LEASE / 3).await;
            match renew(clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => debug!(%error, "a claim could not be renewed"),
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.0.health.is_paused(self.0.clock.now())
    }

    fn start_pause(&self, first: Duration) -> Timestamp {
        self.0.health.start_pause(first, self.0.clock.now())
    }

    /// Records that the sink accepts records again.
    async fn mark_recovered(&self) -> std::result::Result<(), runlog_store::Error> {
        if self.0.health.recovered() {
            info!(sink = self.name(), "the sink accepts records again");
            self.note(None).await?;
            // Runs that wait because of the sink become due immediately.
            self.0.deliveries.expedite(self.name()).await?;
        }
        Ok(())
    }
}

fn lease_end(now: Timestamp) -> Timestamp {
    now.plus_millis(millis(LEASE))
}
