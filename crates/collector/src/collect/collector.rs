//! Collects an upstream: finds its runs, polls them until they have ended and settled, and lands their logs.
//!
//! ```text
//! list ▸ upsert ▸ claim ▸ fetch to disk ▸ store the missing records ▸ one transaction: the run has ended and landed
//! ```
//!
//! Any number of collectors may share an archive. Each step can be repeated: listing known runs again has no effect,
//! pages on disk are not fetched again, and archived records are not stored again.

use std::sync::Arc;
use std::time::Duration;

use runlog_model::{Timestamp, millis, planted};
use runlog_store::collection::CollectorHeartbeat;
use runlog_store::supervise::Supervisor;
use runlog_store::{Store, limits};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::audit_logs::{AuditLogRound, AuditLogWorker};
use super::component_metrics::ComponentWorker;
use super::context::CollectContext;
use super::discover::{Discovered, Discovery, DiscoveryOutcome};
use super::error::Result;
use super::plan_executions::PlanWorker;
use super::progress::{CollectEvent, CollectProgress};
use super::range::Range;
use super::rights::{RightOutcome, RightTest, concerns_all_requests, test_audit_rights, test_plan_rights, test_rights};
use super::run_worker::RunWorker;
use super::stats::CollectStats;
use super::upstream::Upstream;
use crate::shutdown::with_shutdown_timeout;
use crate::workers::side_by_side;

/// If listing takes longer than this, running runs are polled at the same time; also the interval at which that is
/// checked.
const LISTING_IS_LONG: Duration = Duration::from_secs(300);
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of workers that poll running runs.
const FOLLOWERS: usize = 4;
/// Number of workers that fetch component metrics.
const MEASURERS: usize = 2;
/// Number of workers that fetch plan executions.
const PLANNERS: usize = 2;
/// How often a collector announces itself to the others.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Collects one upstream into one archive.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    context: Arc<CollectContext>,
    discovery: Discovery,
    worker: RunWorker,
    components: ComponentWorker,
    plans: PlanWorker,
    audit_logs: AuditLogWorker,
    progress: Arc<dyn CollectProgress>,
}

impl Collector {
    /// Creates a collector; sends no request.
    pub fn new(store: &Store, upstream: Upstream, progress: Arc<dyn CollectProgress>) -> Self {
        let context = Arc::new(CollectContext::new(store, upstream));
        let worker = RunWorker::new(Arc::clone(&context), Arc::clone(&progress));
        let components = ComponentWorker::new(Arc::clone(&context));
        let plans = PlanWorker::new(Arc::clone(&context));
        let audit_logs = AuditLogWorker::new(Arc::clone(&context));
        let discovery = Discovery::new();
        Self(Arc::new(Shared { context, discovery, worker, components, plans, audit_logs, progress }))
    }

    /// The name of its upstream.
    pub fn name(&self) -> &str {
        &self.0.context.upstream.name
    }

    /// Announces itself to the other collectors of the host, and takes its share of the rate limit.
    pub async fn share_pace(&self) -> Result<()> {
        let CollectContext { archive, upstream, .. } = self.0.context.as_ref();
        let (client, traffic) = (&upstream.client, upstream.client.traffic());
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let collector = CollectorHeartbeat {
            host: upstream.host(),
            id: upstream.process.clone(),
            seen_at: 0,
            per_minute: client.pace().map(|pace| number(pace.requests_per_minute())),
            requests_left: client.requests_left().map(|left| number(left as u64)),
            requests: number(traffic.requests),
            repeated: number(traffic.repeated),
            limited: number(traffic.limited),
        };
        let at_work = archive.collection.heartbeat(&collector, limits::COLLECTOR_TTL_MS).await?;
        client.share_pace(if planted::is("pace-not-shared") { 1 } else { at_work.len() });
        Ok(())
    }

    /// Gives up its share of the rate limit, and waits until the pages of landed runs are removed.
    pub async fn leave(&self) -> Result<()> {
        let Shared { context, worker, .. } = &*self.0;
        let CollectContext { archive, upstream, .. } = context.as_ref();
        let host = upstream.host();
        context.store_detail_failures().await;
        let forget = with_shutdown_timeout(archive.collection.remove_collector(&host, &upstream.process));
        let (forgotten, ()) = tokio::join!(forget, worker.spare_folders().removed());
        Ok(forgotten?)
    }

    /// Lists the runs since the last listing, with some overlap.
    pub async fn discover(&self) -> Result<Discovered> {
        let upstream = &self.0.context.upstream;
        let (client, now) = (&upstream.client, upstream.client.clock().now());
        let before = self.0.context.archive.collection.listed_until(&upstream.name).await?;
        let from = match before {
            Some(until) => until.min(now).plus_millis(-millis(upstream.settings.look_back)),
            None => now.plus_millis(-millis(upstream.settings.history.max(upstream.settings.look_back))),
        };
        let range = Range { from: client.in_service_time(from), to: client.in_service_time(now) };
        self.discover_range(range).await
    }

    /// Lists the runs of a range of time, by the clock of the upstream. An error of one list or run is returned at the
    /// end; runs from the other lists are kept.
    pub async fn discover_range(&self, range: Range) -> Result<Discovered> {
        let Shared { context, discovery, progress, .. } = &*self.0;
        let CollectContext { archive, upstream, .. } = context.as_ref();
        if planted::is("listed-before-kept") {
            archive.collection.set_listed_until(&upstream.name, range.to).await?;
        }
        let DiscoveryOutcome { mut found, is_all_listed, mut problem } = discovery.round(context, range).await;
        if is_all_listed {
            archive.collection.set_listed_until(&upstream.name, upstream.client.in_own_time(range.to)).await?;
        }
        // Plan executions are listed by place; where runs could not be listed, they cannot either.
        if self.0.plans.is_wanted() && problem.is_none() {
            let listed = async { self.0.plans.list(&discovery.places(upstream).await?, range).await };
            match listed.await {
                Ok(requests) => found.requests += requests,
                Err(error) => problem = Some(error),
            }
        }
        debug!(upstream = upstream.name, listed = found.listed, new = found.new, "runs were listed");
        if found.taken_in > 0 {
            let (upstream, runs) = (&upstream.name, found.taken_in);
            info!(upstream, runs, "{runs} runs that had been excluded by their status are included now");
        }
        progress.report(CollectEvent::Listed(found));
        context.store_detail_failures().await;
        match problem {
            None => Ok(found),
            Some(error) => Err(error),
        }
    }

    /// Deletes the audit logs of the tenant that are too old, and stores those since the last round, if they are
    /// wanted. A problem of the upstream is recorded, and no error.
    pub async fn collect_audit_logs(&self, stop: &CancellationToken) -> Result<AuditLogRound> {
        self.0.audit_logs.round(stop).await
    }

    /// Number of runs that the service lists for a range of time, whether they are selected or not.
    pub async fn count(&self, range: Range) -> Result<u64> {
        self.0.discovery.count(&self.0.context, range).await
    }

    /// Tests each right that the account needs: to list workspaces and runs, and to read the logs of some runs of the
    /// range. The error is one of the settings, such as a workspace that does not exist.
    pub async fn test_rights(&self, range: Range) -> Result<Vec<RightTest>> {
        let Shared { context, discovery, .. } = &*self.0;
        let upstream = &context.upstream;
        let scopes = discovery.scopes(context).await?;
        let (client, tags) = (&upstream.client, &upstream.selection.tags);
        let mut tests = test_rights(client, &scopes, tags, range, self.0.components.is_wanted()).await;
        let is_hopeless = |test: &RightTest| matches!(&test.outcome, RightOutcome::Failed(error) if concerns_all_requests(error.kind()));
        if self.0.plans.is_wanted() && !tests.iter().any(is_hopeless) {
            tests.push(test_plan_rights(client, &discovery.places(upstream).await?, range).await);
        }
        if self.0.audit_logs.is_wanted() && !tests.iter().any(is_hopeless) {
            tests.push(test_audit_rights(client, range).await);
        }
        Ok(tests)
    }

    /// Lands every due run, several at a time, until none is left or `stop`. If the archive becomes unavailable, runs
    /// in progress continue as far as possible.
    pub async fn land_due(&self, stop: &CancellationToken) -> Result<CollectStats> {
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move { collector.step(&stop).await }
        };
        let round = side_by_side(self.0.context.upstream.settings.parallel, stop, step).await;
        self.0.worker.spare_folders().removed().await;
        self.0.worker.spare_folders().remove();
        round
    }

    /// Lands one due run, polls one running run, or fetches the component metrics of one or a plan execution; none if
    /// there is nothing to do.
    async fn step(&self, stop: &CancellationToken) -> Result<Option<CollectStats>> {
        match self.0.worker.land_one(stop).await? {
            Some(one) => Ok(Some(one)),
            None if self.0.worker.follow_one(stop).await? => Ok(Some(CollectStats::default())),
            None => match self.0.components.fetch_one(stop).await? {
                Some(one) => Ok(Some(one)),
                None => self.0.plans.fetch_one(stop).await,
            },
        }
    }

    /// Collects until `stop`: lists runs whenever `pause` has passed, and lands due runs immediately. These tasks do
    /// not wait for each other, and a task that fails is restarted.
    pub async fn run(&self, pause: impl Fn(Timestamp) -> Duration + Send + Sync + 'static, stop: CancellationToken) {
        let upstream = &self.0.context.upstream;
        let supervisor = &self.0.context.archive.supervisor;
        let shared = tokio::select! { shared = self.share_pace() => shared, () = stop.cancelled() => Ok(()) };
        if let Err(error) = shared {
            warn!(upstream = upstream.name, error = &error as &dyn std::error::Error, "cannot share the rate limit");
        }
        let name = |what: &str| format!("collect {}: {what}", upstream.name);
        let (pause, listing) = (Arc::new(pause), name("list runs"));
        let (follow, look, land, share) = (name("follow"), name("look at"), name("land"), name("share the rate limit"));
        let (measure, plan, audit) = (name("component metrics"), name("plan executions"), name("audit logs"));
        tokio::join!(
            supervisor.run(&listing, &stop, || self.clone().list_continuously(Arc::clone(&pause), stop.clone())),
            supervisor.run(&audit, &stop, || self.clone().audit_continuously(Arc::clone(&pause), stop.clone())),
            supervisor.run(&follow, &stop, || self.clone().follow_continuously(stop.clone())),
            supervisor.run(&share, &stop, || self.clone().share_pace_continuously(stop.clone())),
            self.discover_continuously(supervisor, &look, &stop),
            self.land_continuously(supervisor, &land, &stop),
            self.measure_continuously(supervisor, &measure, &stop),
            self.plan_continuously(supervisor, &plan, &stop),
        );
        if let Err(error) = self.leave().await {
            debug!(%error, "the other collectors will notice later that this one has ended");
        }
    }

    async fn list_continuously(
        self,
        pause: Arc<impl Fn(Timestamp) -> Duration>,
        stop: CancellationToken,
    ) -> Result<()> {
        let upstream = &self.0.context.upstream;
        while !stop.is_cancelled() {
            // Requests to an unavailable upstream are retried for a minute; a shutdown does not wait for that.
            let discovered = tokio::select! {
                discovered = self.discover() => discovered,
                () = stop.cancelled() => break,
            };
            if let Err(error) = discovered {
                warn!(upstream = upstream.name, error = &error as &dyn std::error::Error, "cannot list runs");
            }
            let next = pause(upstream.client.clock().now());
            tokio::select! { () = upstream.client.sleep(next) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    /// Collects the audit logs of the tenant whenever the pause has passed.
    async fn audit_continuously(
        self,
        pause: Arc<impl Fn(Timestamp) -> Duration>,
        stop: CancellationToken,
    ) -> Result<()> {
        let upstream = &self.0.context.upstream;
        while !stop.is_cancelled() && self.0.audit_logs.has_work() {
            if let Err(error) = self.collect_audit_logs(&stop).await {
                let error: &dyn std::error::Error = &error;
                warn!(upstream = upstream.name, error, "audit logs of the tenant cannot be stored");
            }
            let next = pause(upstream.client.clock().now());
            tokio::select! { () = upstream.client.sleep(next) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    /// Polls running runs if listing takes long.
    async fn follow_continuously(self, stop: CancellationToken) -> Result<()> {
        let Shared { context, discovery, worker, .. } = &*self.0;
        let upstream = &context.upstream;
        while !stop.is_cancelled() {
            tokio::select! { () = upstream.client.sleep(FOLLOW_EVERY) => {}, () = stop.cancelled() => break }
            let long_ago = upstream.client.clock().now().plus_millis(-millis(LISTING_IS_LONG));
            if !discovery.has_been_listing_since(long_ago) {
                continue;
            }
            let followed = tokio::select! {
                followed = discovery.follow(context, long_ago) => followed,
                () = stop.cancelled() => break,
            };
            if let Err(error) = followed {
                let error: &dyn std::error::Error = &error;
                warn!(upstream = upstream.name, error, "cannot poll running runs");
            }
            worker.landing().wake();
        }
        Ok(())
    }

    async fn share_pace_continuously(self, stop: CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            tokio::select! { () = self.0.context.upstream.client.sleep(HEARTBEAT) => {}, () = stop.cancelled() => break }
            let shared = tokio::select! { shared = self.share_pace() => shared, () = stop.cancelled() => break };
            if let Err(error) = shared {
                debug!(%error, "cannot share the rate limit again");
            }
        }
        Ok(())
    }

    async fn land_continuously(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move {
                let landed = collector.0.worker.land_one(&stop).await;
                if let Ok(None) = &landed {
                    collector.0.worker.spare_folders().remove();
                }
                landed
            }
        };
        let Upstream { client, settings, .. } = &self.0.context.upstream;
        self.0.worker.landing().live(supervisor, name, settings.parallel, client.wait(), stop, step).await;
    }

    /// Fetches component metrics as they become due.
    async fn measure_continuously(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let components = &self.0.components;
        if !components.is_wanted() {
            return;
        }
        let (worker, until) = (components.clone(), stop.clone());
        let step = move || {
            let (worker, stop) = (worker.clone(), until.clone());
            async move { worker.fetch_one(&stop).await }
        };
        let wait = self.0.context.upstream.client.wait();
        components.pool().live(supervisor, name, MEASURERS, wait, stop, step).await;
    }

    /// Fetches plan executions as they become due.
    async fn plan_continuously(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let plans = &self.0.plans;
        if !plans.is_wanted() {
            return;
        }
        let (worker, until) = (plans.clone(), stop.clone());
        let step = move || {
            let (worker, stop) = (worker.clone(), until.clone());
            async move { worker.fetch_one(&stop).await }
        };
        let wait = self.0.context.upstream.client.wait();
        plans.pool().live(supervisor, name, PLANNERS, wait, stop, step).await;
    }

    async fn discover_continuously(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let Upstream { client, settings, .. } = &self.0.context.upstream;
        if settings.while_going.is_none() {
            return;
        }
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move { collector.0.worker.follow_one(&stop).await.map(|has_looked| has_looked.then_some(())) }
        };
        let followers = settings.parallel.min(FOLLOWERS);
        self.0.worker.following().live(supervisor, name, followers, client.wait(), stop, step).await;
    }
}
