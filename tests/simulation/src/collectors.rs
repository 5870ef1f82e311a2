//! The program's collector on the nodes: every ended run of the upstream lands once and completely, with its component
//! metrics, and so does every execution of a plan.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use runlog_client::{Client, ClientSettings, Credentials, PaceSetting, Wait};
use runlog_collector::{CollectError, CollectEvent, CollectProgress, CollectSettings, Collector, Selection, Upstream};
use runlog_model::{Record, RecordOrder, TimeRange};
use runlog_store::tenant_audit_logs::TenantAuditFilter;
use runlog_store::{Error, ErrorKind, Store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::clients::{Answer, Clients, DAY_MS, HOUR_MS};
use crate::cloud::{BASE, Cloud, CloudNetwork, CloudPlan, CloudRun, RUNS_TOGETHER_MAX, metric};
use crate::node::NodeClock;
use crate::schedule::Schedule;
use crate::seed::{NodeRandom, Numbers};

/// The name of the upstream in the archive.
pub(crate) const NAME: &str = "talend";
const HEARTBEAT_MS: i64 = 5_000;
/// Maximum number of rounds until everything is collected, once the faults are over. Attempts are at most six hours
/// apart.
const ROUNDS_MAX: usize = 60;

/// The settings of collectors, chosen by the seed.
#[derive(Debug, Clone)]
pub(crate) struct CollectorProfile {
    look_back_ms: i64,
    parallel: usize,
    pages_in_flight: usize,
    offset_max: u64,
    follows: bool,
}

impl CollectorProfile {
    pub(crate) fn of(numbers: &mut Numbers, skew_ms: i64) -> Self {
        Self {
            // Longer than the delay with which runs appear in lists, and than the error of clocks.
            look_back_ms: if skew_ms == 0 { [300_000, 300_000, DAY_MS][numbers.below(3)] } else { DAY_MS },
            parallel: [1, 2, 8][numbers.below(3)],
            pages_in_flight: [1, 2, 10][numbers.below(3)],
            offset_max: [RUNS_TOGETHER_MAX as u64, 1_000][numbers.below(2)],
            follows: numbers.chance(300),
        }
    }

    fn settings(&self, folder: &Path, audit_logs: bool) -> CollectSettings {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        CollectSettings {
            look_back: ms(self.look_back_ms),
            history: ms(60 * DAY_MS),
            audit_logs,
            while_going: self.follows.then(|| ms(60_000)),
            parallel: self.parallel,
            pages_in_flight: self.pages_in_flight,
            offset_max: self.offset_max,
            ..CollectSettings::in_folder(folder.to_owned())
        }
    }
}

/// Lets simulated time pass exactly.
pub(crate) struct NodeWait {
    pub(crate) schedule: Schedule,
    pub(crate) node: usize,
}

impl Wait for NodeWait {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let ms = i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX / 2);
        Box::pin(async move {
            self.schedule.sleep_until(self.node, self.schedule.now_ms() + ms).await;
        })
    }
}

/// Reports the progress of collectors to the upstream.
struct CloudProgress(Arc<Cloud>);

impl CollectProgress for CloudProgress {
    fn report(&self, event: CollectEvent<'_>) {
        match event {
            CollectEvent::Landed(id, records) => self.0.note_landed(id, Some(records)),
            CollectEvent::NoLog(id) => self.0.note_landed(id, None),
            CollectEvent::Listed(_)
            | CollectEvent::Fetching(_)
            | CollectEvent::RecordsReceived(_)
            | CollectEvent::Mended(..)
            | CollectEvent::SetBack(..) => {}
        }
    }
}

/// Returns the folder in which the collector of a node keeps pages.
pub(crate) fn folder_of(folder: &Path, node: usize) -> PathBuf {
    folder.join(format!("collector-{node}"))
}

/// Simulates a power failure: each file of the collectors, none of which is synced, stays, is damaged, or is lost.
pub(crate) fn cut_power(folder: &Path, numbers: &mut Numbers) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path)?;
            match numbers.below(6) {
                0 => std::fs::remove_file(&path)?,
                1 => std::fs::write(&path, &bytes[..numbers.below(bytes.len())])?,
                2 => {
                    // The file has its full length, but some of its bytes were not written.
                    let from = numbers.below(bytes.len());
                    std::fs::write(&path, [&bytes[..from], &vec![0; bytes.len() - from]].concat())?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The environment of a collector.
pub(crate) struct Host<'h> {
    pub(crate) node: usize,
    pub(crate) life: usize,
    pub(crate) store: &'h Store,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) folder: &'h Path,
}

/// The collector of one life of a node.
pub(crate) struct NodeCollector {
    collector: Collector,
    /// The life of the node.
    life: usize,
    /// Held while it is at work.
    alone: tokio::sync::Mutex<()>,
}

/// Notes the end of a collector when it is dropped.
struct Leaving<'c> {
    cloud: &'c Cloud,
    life: usize,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.cloud.note_gone(self.life);
    }
}

impl NodeCollector {
    /// Lists runs and lands those that are due, as `runlog collect --once` does.
    async fn collect(&self, node: usize, cloud: &Arc<Cloud>, schedule: &Schedule) -> Result<(), CollectError> {
        self.collector.share_pace().await?;
        cloud.note_heartbeat(self.life);
        let leaving = Leaving { cloud, life: self.life };
        let heartbeats = AbortOnDropHandle::new(tokio::spawn({
            let (collector, schedule, cloud, life) =
                (self.collector.clone(), schedule.clone(), Arc::clone(cloud), self.life);
            async move {
                loop {
                    schedule.sleep_until(node, schedule.now_ms() + HEARTBEAT_MS).await;
                    if collector.share_pace().await.is_ok() {
                        cloud.note_heartbeat(life);
                    }
                }
            }
        }));
        let listed = self.collector.discover().await.map(drop);
        let landed = self.collector.land_due(&CancellationToken::new()).await.map(drop);
        let audited = self.collector.collect_audit_logs(&CancellationToken::new()).await.map(|round| {
            if let Some(problem) = round.problem {
                schedule.note(|| format!("  audit logs: {problem}"));
            }
        });
        drop((heartbeats, leaving));
        let left = self.collector.leave().await;
        listed.and(landed).and(audited).and(left)
    }
}

/// Starts the collector of a life of a node.
pub(crate) fn start(
    cloud: &Arc<Cloud>,
    profile: &CollectorProfile,
    host: &Host<'_>,
    numbers: &mut Numbers,
) -> Result<NodeCollector> {
    let Host { node, life, store, clock, folder } = host;
    let credentials =
        Credentials::ServiceAccount { client_id: "collector".to_owned(), client_secret: "secret".to_owned().into() };
    let settings = ClientSettings {
        pace: PaceSetting::ByGroup(cloud.paces()),
        ..ClientSettings::new(Url::parse(BASE)?, credentials)
    };
    let wait = Arc::new(NodeWait { schedule: clock.schedule.clone(), node: *node });
    let network = Arc::new(CloudNetwork { cloud: Arc::clone(cloud), node: *node, life: *life });
    let random = Arc::new(NodeRandom(Mutex::new(numbers.fork())));
    let client = Client::simulated(settings, Arc::clone(clock) as _, random, wait, network)?;
    let upstream = Upstream {
        name: NAME.to_owned(),
        client,
        selection: Selection::default(),
        settings: profile.settings(folder, cloud.has_audit_logs()),
        process: format!("{node}-{life}"),
    };
    let collector = Collector::new(store, upstream, Arc::new(CloudProgress(Arc::clone(cloud))));
    Ok(NodeCollector { collector, life: *life, alone: tokio::sync::Mutex::default() })
}

impl Clients {
    /// Starts runs in the upstream.
    pub(crate) fn trigger(&self) {
        if let Some(cloud) = &self.0.shared.cloud {
            cloud.trigger(self.0.shared.profile.runs * 3);
        }
    }

    /// Waits until a run of the upstream has just ended, while its log may still grow.
    pub(crate) async fn wait_for_an_end(&self) {
        let Some(cloud) = self.0.shared.cloud.clone() else { return };
        let (now_ms, after_ms) = (self.now_ms(), self.between(0, 4_000));
        let ends_ms = cloud.runs().into_iter().map(|run| run.ended_ms).filter(|ended_ms| *ended_ms > now_ms);
        let next_ms = ends_ms.min().unwrap_or(now_ms);
        self.sleep_until(next_ms + after_ms).await;
    }

    /// Lets the collector of a node list runs and land those that are due. Returns true if it ended without an error.
    pub(crate) async fn collect_from_cloud(&self) -> bool {
        let Some(cloud) = self.0.shared.cloud.clone() else { return true };
        let node = self.some_node();
        let shared = Arc::clone(&self.0.shared);
        let collecting = self.call(node, "collect from the cloud", false, move |_| {
            let collector = shared.collector_of(node);
            async move {
                let Some(collector) = collector else { return Ok(false) };
                // Only one collector of a node runs at a time, as in the program.
                let Ok(_alone) = collector.alone.try_lock() else { return Ok(false) };
                collector.collect(node, &cloud, &shared.schedule).await.map(|()| true)
            }
        });
        match collecting.await.0 {
            Answer::Of(Ok(is_done)) => is_done,
            Answer::Of(Err(error)) => {
                self.0.shared.schedule.note(|| format!("  a collection ends: {error}"));
                false
            }
            Answer::Lost => false,
        }
    }

    /// Reads a run of the upstream from the archive: the records are always a part of its log, and all of it once the
    /// run has landed.
    pub(crate) async fn read_cloud_run(&self) {
        let Some(cloud) = &self.0.shared.cloud else { return };
        self.check_audit_logs(false).await;
        let runs = cloud.runs();
        if runs.is_empty() {
            return;
        }
        let run = runs[self.below(runs.len())].clone();
        self.check_cloud_run(&run, self.some_node(), false).await;
    }

    async fn check_cloud_run(&self, run: &CloudRun, node: usize, is_end: bool) {
        let id = run.id;
        let reading = self.call(node, "read a collected run", false, move |store| async move {
            let Some(found) = store.runs().get(id).await? else { return Ok((false, None, Vec::new(), None)) };
            let has_landed = !store.collection().landed_among(NAME, &[id]).await?.is_empty();
            let mut records: Vec<Record> = Vec::new();
            let mut reader = store.logs().read_records(id, TimeRange::ALL, RecordOrder::Asc).await?;
            while let Some(more) = reader.next().await? {
                records.extend(more);
            }
            let metrics = store.components().all(id).await?;
            Ok::<_, Error>((has_landed, Some(found), records, metrics))
        });
        let (has_landed, found, records, metrics) = match reading.await.0 {
            Answer::Of(Ok(read)) => read,
            Answer::Of(Err(error)) if error.kind() == ErrorKind::NotFound => return,
            Answer::Of(Err(error)) => return self.expect_usual("a read of a collected run", &error),
            Answer::Lost => return,
        };
        let expected = run.log();
        let mut read: Vec<(i64, String)> = records
            .iter()
            .map(|record| (record.time.as_millis(), record.message.clone().unwrap_or_default()))
            .collect();
        read.sort();
        let mut rest = expected.iter();
        if let Some(odd) = read.iter().find(|one| !rest.any(|of| of == *one)) {
            self.violation(format!(
                "run {id} of the upstream has {odd:?} in the archive, or more often than it was sent"
            ));
        }
        let is_whole = read.len() == expected.len();
        if has_landed && !is_whole {
            self.violation(format!(
                "run {id} of the upstream has landed with {} of {} records",
                read.len(),
                expected.len()
            ));
        }
        let has_ended = found.as_ref().is_some_and(|found| found.final_since.is_some());
        if has_ended && !has_landed && run.has_log && !expected.is_empty() {
            self.violation(format!("run {id} of the upstream has ended in the archive, and its log has not landed"));
        }
        let triggered_ms = run.triggered_ms();
        let measured = metrics.as_ref().map(|metrics| {
            metrics.items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect::<Vec<Value>>()
        });
        let metrics_expected: Vec<Value> = (0..run.metrics).map(|number| metric(number, triggered_ms)).collect();
        if measured.as_ref().is_some_and(|measured| !measured.is_empty() && *measured != metrics_expected) {
            self.violation(format!(
                "run {id} has {} component metrics in the archive, of {}",
                measured.as_ref().map_or(0, Vec::len),
                run.metrics
            ));
        }
        if is_end {
            if !has_ended || !is_whole {
                self.violation(format!(
                    "run {id} of the upstream never landed: has ended: {has_ended}, {} of {} records",
                    read.len(),
                    expected.len()
                ));
            }
            if run.metrics > 0 && measured.is_none_or(|measured| measured.is_empty()) {
                self.violation(format!("the component metrics of run {id} never landed"));
            }
        }
    }

    async fn check_cloud_plan(&self, plan: &CloudPlan) {
        let id = plan.id.clone();
        let reading = self.call(self.some_node(), "read a plan execution", false, move |store| async move {
            store.plans().get(&id).await
        });
        let stored = match reading.await.0 {
            Answer::Of(Ok(stored)) => stored,
            Answer::Of(Err(error)) => return self.expect_usual("a read of a plan execution", &error),
            Answer::Lost => return,
        };
        let is_whole = stored.as_ref().is_some_and(|stored| {
            let has_ended = |step: &runlog_model::plan_report::StepReport| step.step.contains_key("finishTimestamp");
            let listed: Vec<_> = stored.report.steps.iter().filter(|step| step.is_listed).collect();
            stored.report.is_final() && listed.len() == plan.steps && listed.into_iter().all(has_ended)
        });
        if !is_whole {
            self.violation(format!("the execution {} of a plan never landed: {stored:?}", plan.id));
        }
    }

    /// Collects until everything of the upstream has landed, once the faults are over.
    pub(crate) async fn collect_the_rest(&self) {
        let Some(cloud) = self.0.shared.cloud.clone() else { return };
        let final_ms = (cloud.runs().iter().map(CloudRun::is_final_at_ms))
            .chain(cloud.plans().iter().map(CloudPlan::is_final_at_ms))
            .chain(cloud.audit_is_final_at_ms())
            .max();
        let Some(final_ms) = final_ms else { return };
        self.sleep_until(final_ms + 60_000).await;
        let mut is_over = false;
        for round in 0..ROUNDS_MAX {
            let is_done = self.collect_from_cloud().await;
            is_over = is_done && self.has_all_landed(&cloud).await;
            if is_over {
                break;
            }
            self.sleep_ms(if round % 2 == 0 { 61_000 } else { 2 * HOUR_MS }).await;
        }
        if !is_over {
            self.violation("there is always something left to collect from the upstream".to_owned());
        }
        for run in cloud.runs() {
            self.check_cloud_run(&run, self.some_node(), true).await;
        }
        for plan in cloud.plans() {
            self.check_cloud_plan(&plan).await;
        }
        self.check_audit_logs(true).await;
    }

    /// Whether the archive has ended every run, and fetched its component metrics and all executions of plans.
    async fn has_all_landed(&self, cloud: &Cloud) -> bool {
        let (runs, plans) = (cloud.runs(), cloud.plans());
        let audit_logs = cloud.audit_entries().map(|entries| entries.len() as u64);
        let asking = self.call(self.some_node(), "ask what has landed", false, move |store| async move {
            for run in &runs {
                let has_ended = store.runs().get(run.id).await?.is_some_and(|found| found.final_since.is_some());
                let is_due = store.collection().components_are_due(run.id).await?;
                if !has_ended || is_due {
                    return Ok(false);
                }
            }
            for plan in &plans {
                let stored = store.plans().get(&plan.id).await?;
                if !stored.is_some_and(|stored| stored.report.is_final()) {
                    return Ok(false);
                }
            }
            let filter = TenantAuditFilter { limit: 1, ..TenantAuditFilter::default() };
            let Some(audit_logs) = audit_logs else { return Ok(true) };
            Ok::<_, Error>(store.tenant_audit_logs().list(&filter).await?.1 >= audit_logs)
        });
        matches!(asking.await.0, Answer::Of(Ok(true)))
    }
}
