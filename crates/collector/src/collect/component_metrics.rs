//! Fetches the component metrics of runs whose logs have landed.
//!
//! ```text
//! landed ▸ due ▸ claim ▸ all pages ▸ one transaction: metrics stored, not due any more
//! ```
//!
//! The log does not wait for them: the transaction that lands it makes them due, and requests for them have the lowest
//! priority. They are stored completely or not at all, so that a collector that is killed begins again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::{COMPONENTS_PAGE_MAX, Client, ComponentPage, ErrorKind};
use runlog_model::wire::components::{ComponentMetric, RunComponents};
use runlog_model::{RunId, Timestamp, backoff, error_chain, millis, planted};
use runlog_store::collection::ClaimedComponents;
use runlog_store::{failpoint, limits};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::lease::{RunLease, lease_end};
use super::pause::{Pause, lacks_right};
use super::stats::CollectStats;
use super::upstream_run::execution_of;
use crate::shutdown::{until_shutdown, with_shutdown_timeout};
use crate::workers::Pool;

/// How many times the settle delay of the log it takes after the end of a run until its metrics are complete.
const SETTLE_TIMES: u32 = 2;
/// How long after its end a run without metrics may still get some. Unit: milliseconds.
const METRICS_COME_MS: i64 = 3_600_000;
/// Time after the end of a run for which fetching its metrics is attempted: Talend Cloud keeps them for 31 days. Unit:
/// milliseconds.
const KEPT_MS: i64 = 31 * 86_400_000;
/// The delay after the first failed attempt, and the maximum.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The delay after an attempt that did not fail because of the run.
const AGAIN_AFTER_OUTAGE: Duration = Duration::from_secs(300);
/// Number of attempts after which the metrics of a run are given up if the problem is in its metrics, not in the
/// service: about a day.
const ATTEMPTS_MAX: i64 = 12;
/// How often the metrics of a run are read in one attempt, if they are not certain.
const READINGS_MAX: u32 = 3;

/// Fetches component metrics of an upstream. Cheap to clone; clones share their state.
#[derive(Clone)]
pub(super) struct ComponentWorker(Arc<Shared>);

struct Shared {
    context: Arc<CollectContext>,
    pool: Arc<Pool>,
    pause: Pause,
    /// Whether runs that landed before metrics were wanted are due.
    has_scheduled_missing: OnceCell<()>,
}

/// The result of an attempt.
enum Attempt {
    /// The metrics are stored.
    Landed(u64),
    /// The run has none.
    None,
    /// They may still come.
    NotYet(&'static str),
}

impl ComponentWorker {
    /// Creates a worker; claims nothing yet.
    pub(super) fn new(context: Arc<CollectContext>) -> Self {
        Self(Arc::new(Shared {
            context,
            pool: Arc::new(Pool::new()),
            pause: Pause::default(),
            has_scheduled_missing: OnceCell::new(),
        }))
    }

    /// The workers.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// True if metrics are to be collected.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.context.upstream.settings.component_metrics
    }

    /// Makes the metrics due of runs that landed before metrics were wanted.
    async fn schedule_missing(&self) -> Result<()> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let since = upstream.client.clock().now().plus_millis(-KEPT_MS);
        archive.collection.schedule_missing_components(&upstream.name, since).await?;
        Ok(())
    }

    /// Claims the run whose metrics have been due for longest, and fetches them; none if none are due.
    pub(super) async fn fetch_one(&self, stop: &CancellationToken) -> Result<Option<CollectStats>> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        if !self.is_wanted() || self.0.pause.is_on(now) {
            return Ok(None);
        }
        tokio::select! {
            scheduled = self.0.has_scheduled_missing.get_or_try_init(|| self.schedule_missing()) => { scheduled?; }
            () = stop.cancelled() => return Ok(None),
        }
        let claimed = tokio::select! {
            claimed = archive.collection.claim_components(&upstream.name, lease_end(&self.0.context, now)) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(None) };
        let run_id = claimed.run.run_id()?;
        let lease = RunLease::hold(&self.0.context, &claimed.run);
        let outcome = tokio::select! {
            ended = AbortOnDropHandle::new(tokio::spawn(self.clone().fetch_and_store(claimed.clone(), run_id))) => {
                ended.map_err(CollectError::from).flatten()
            }
            () = lease.lost() => return Ok(Some(CollectStats::default())),
            () = stop.cancelled() => {
                with_shutdown_timeout(archive.collection.release(&upstream.name, &claimed.run)).await?;
                return Ok(Some(CollectStats::default()));
            }
        };
        match outcome {
            Ok(Attempt::Landed(metrics)) => {
                info!(run.id = %run_id, metrics, "the component metrics of a run have landed");
                return Ok(Some(CollectStats { components: 1, ..CollectStats::default() }));
            }
            Ok(Attempt::None) => info!(run.id = %run_id, "a run has no component metrics"),
            Ok(Attempt::NotYet(why)) => {
                until_shutdown(self.set_back(&claimed, run_id, why.to_owned(), FetchFailure::NotYet), stop).await?;
            }
            Err(error) => {
                let mut problem = error_chain(&error);
                if lacks_right(&error) {
                    problem.push_str("; or set component_metrics = false");
                }
                let has_paused = self.0.pause.begin_after(&error, upstream.client.clock().now());
                let is_outage = has_paused || matches!(error, CollectError::Archive(_));
                let setback = if is_outage { FetchFailure::Outage } else { FetchFailure::OfRun };
                until_shutdown(self.set_back(&claimed, run_id, problem, setback), stop).await?;
            }
        }
        Ok(Some(CollectStats::default()))
    }

    async fn fetch_and_store(self, claimed: ClaimedComponents, run_id: RunId) -> Result<Attempt> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let fetched = fetch_all(&upstream.client, run_id).await;
        let components = match fetched {
            Ok(FetchedMetrics { is_pending: true, .. }) => {
                return Ok(Attempt::NotYet("the upstream has not collected the component metrics itself yet"));
            }
            // The service may be about to list the others. Metrics that it will delete soon are stored as they are.
            Ok(FetchedMetrics { is_short: true, .. }) if claimed.run.attempts == 0 && !self.is_gone(&claimed) => {
                return Ok(Attempt::NotYet("the service counts more component metrics of the run than it returns"));
            }
            Ok(FetchedMetrics { components, .. }) if !components.items.is_empty() => Some(components),
            Ok(_) => None,
            Err(CollectError::Upstream(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let now = upstream.client.clock().now();
        if components.is_none() && self.ended_at(&claimed).is_some_and(|end| now.millis_since(end) < METRICS_COME_MS) {
            return Ok(Attempt::NotYet("the service has no component metrics of the run yet"));
        }
        failpoint::reach("components-fetched");
        let is_stored = archive.collection.land_components(&upstream.name, &claimed, components.as_ref()).await?;
        Ok(match components {
            Some(components) if is_stored => Attempt::Landed(components.items.len() as u64),
            _ => Attempt::None,
        })
    }

    /// Records a failed attempt, or that the last one has failed: because the service no longer has the metrics, or
    /// because those of this run are invalid.
    async fn set_back(
        &self,
        claimed: &ClaimedComponents,
        run_id: RunId,
        problem: String,
        setback: FetchFailure,
    ) -> Result<(), runlog_store::Error> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        let collection = &archive.collection;
        if self.is_gone(claimed) || setback == FetchFailure::OfRun && claimed.run.attempts + 1 >= ATTEMPTS_MAX {
            warn!(run.id = %run_id, problem, "the component metrics of a run cannot be fetched any more");
            return collection.give_up_components(&upstream.name, claimed, &problem).await;
        }
        let attempts = u32::try_from(claimed.run.attempts).unwrap_or_default();
        let retry_at = now.plus_millis(millis(match setback {
            // Once the service is back, it is so for all runs.
            FetchFailure::Outage => AGAIN_AFTER_OUTAGE,
            FetchFailure::OfRun | FetchFailure::NotYet => backoff(AGAIN_FIRST, attempts, AGAIN_MAX),
        }));
        info!(run.id = %run_id, problem, %retry_at, "the component metrics of a run were not fetched and will be retried");
        match setback {
            FetchFailure::Outage => collection.defer_components(&upstream.name, claimed, &problem, retry_at).await,
            FetchFailure::OfRun | FetchFailure::NotYet => {
                collection.record_components_failure(&upstream.name, claimed, &problem, retry_at).await
            }
        }
    }

    /// True if the service no longer keeps the metrics of the run.
    fn is_gone(&self, claimed: &ClaimedComponents) -> bool {
        let now = self.0.context.upstream.client.clock().now();
        self.ended_at(claimed).is_some_and(|end| now.millis_since(end) > KEPT_MS)
    }

    /// When the run ended, by the clock of this process.
    fn ended_at(&self, claimed: &ClaimedComponents) -> Option<Timestamp> {
        let run = execution_of(claimed.run.run_id().ok()?, &claimed.run.body).ok()?;
        let ended = run.finished_at.or(run.started_at).or(run.triggered_at);
        ended.map(|ended| self.0.context.upstream.client.in_own_time(ended))
    }
}

/// Why the metrics of a run were not fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FetchFailure {
    /// Something is wrong with those of this run.
    OfRun,
    /// They are not there yet.
    NotYet,
    /// The service or the archive is unavailable or refuses everything.
    Outage,
}

/// When the metrics of a run that ended at this time are requested, if its log settles this long after its end.
pub(super) fn due_at(now: Timestamp, ended: Option<Timestamp>, settle: Duration) -> Timestamp {
    let settle_ms = millis(settle * SETTLE_TIMES);
    // The clock of the service may be ahead.
    ended.map_or(now, |ended| now.max(ended.plus_millis(settle_ms).min(now.plus_millis(settle_ms))))
}

/// All metrics of a run.
struct FetchedMetrics {
    components: RunComponents,
    /// True if the upstream, another Runlog, is to collect them itself first.
    is_pending: bool,
    /// True if the service counts more.
    is_short: bool,
}

/// Fetches all pages. `UnsteadyMetrics`: they are different each time.
///
/// Pages are parts of a list that the service computes for each request. If they do not have as many metrics as the
/// service counts, or if a metric occurs on two pages, they may not be parts of the same list, or the service may count
/// wrongly: two readings in a row that have the same metrics show that these are all. If they are fewer than the service
/// counts, the caller confirms them with a second attempt.
async fn fetch_all(client: &Client, run_id: RunId) -> Result<FetchedMetrics> {
    let (mut before, mut received) = (None, (0, 0));
    for _ in 0..READINGS_MAX {
        let ListReading { fetched, total, is_certain } = read_pages(client, run_id).await?;
        let count = fetched.components.items.len();
        if !is_certain && !fetched.is_pending {
            let counts = counted(&fetched.components.items);
            if before.as_ref() != Some(&counts) || (count == 0 && total > 0) {
                (before, received) = (Some(counts), (count, total));
                continue;
            }
        }
        if fetched.components.total != total {
            let told = format!("the upstream counts {total} component metrics of a run, but returns {count} each time");
            warn!(run.id = %run_id, total, count, "{told}");
        }
        return Ok(fetched);
    }
    let (count, total) = received;
    Err(CollectError::UnsteadyMetrics { run: run_id.to_string(), count, total })
}

/// The metrics as they were read once.
struct ListReading {
    fetched: FetchedMetrics,
    /// Number of metrics reported by the service.
    total: u64,
    /// True if the service counts as many, and none occurs on two pages.
    is_certain: bool,
}

/// Reads pages until all metrics are there that the service counts, or a page has nothing new.
async fn read_pages(client: &Client, run_id: RunId) -> Result<ListReading> {
    let ComponentPage { run, mut processes, items, total, is_pending } = client.component_page(run_id, 0).await?;
    processes.truncate(limits::COMPONENT_PROCESSES_MAX);
    let mut pages = Pages::default();
    pages.add(items);
    let mut is_steady = true;
    while !pages.are_all(total) && !pages.are_too_many() && !planted::is("first-components-only") {
        let page = client.component_page(run_id, pages.received as u64).await?;
        is_steady &= page.total == total;
        if !pages.add(page.items) {
            break;
        }
    }
    let are_too_many = pages.are_too_many();
    let has_repeated = pages.has_repeated;
    let items = pages.joined(total);
    let is_certain = is_steady && !has_repeated && (are_too_many || items.len() as u64 == total);
    let counted = if are_too_many { total.max(items.len() as u64) } else { items.len() as u64 };
    let mut components = RunComponents { run, processes, items, total: counted };
    keep_within(&mut components);
    let is_short = counted < total;
    Ok(ListReading { fetched: FetchedMetrics { components, is_pending, is_short }, total, is_certain })
}

/// Pages as they were received, which may overlap.
#[derive(Default)]
struct Pages {
    items: Vec<ComponentMetric>,
    keys: Vec<String>,
    seen: HashSet<String>,
    /// Indexes of the first metrics of pages, and how many metrics from there on were on the page before, too.
    joints: Vec<(usize, usize)>,
    received: usize,
    bytes: usize,
    /// Length of the last page.
    last: usize,
    /// True if a metric occurs on two pages.
    has_repeated: bool,
}

impl Pages {
    /// Adds a page. False if it has nothing new.
    fn add(&mut self, page: Vec<ComponentMetric>) -> bool {
        let keys: Vec<String> = page.iter().map(key).collect();
        if keys.iter().all(|key| self.seen.contains(key)) {
            return false;
        }
        self.has_repeated |= keys.iter().any(|key| self.seen.contains(key));
        let is_joint = |length: &usize| self.keys.ends_with(&keys[..*length]);
        let overlap = (1..=keys.len().min(self.keys.len())).rev().find(is_joint).unwrap_or(0);
        self.joints.push((self.items.len(), overlap));
        self.bytes += keys.iter().map(|key| key.len() + 1).sum::<usize>();
        self.seen.extend(keys.iter().cloned());
        self.last = page.len();
        self.received += page.len();
        self.items.extend(page);
        self.keys.extend(keys);
        true
    }

    /// True if as many were received as the service counts, which can be trusted: the last page did not begin with the
    /// end of the one before, and was not full.
    fn are_all(&self, total: u64) -> bool {
        let overlaps = self.joints.last().is_some_and(|(_, overlap)| *overlap > 0);
        self.received as u64 == total && !overlaps && (self.last as u64) < COMPONENTS_PAGE_MAX
    }

    /// True if the archive would not keep more of a run.
    fn are_too_many(&self) -> bool {
        self.items.len() >= limits::COMPONENT_METRICS_MAX || self.bytes >= limits::COMPONENT_METRICS_BYTES_MAX / 2
    }

    /// All metrics, each overlap once, unless the service counts them as different ones.
    fn joined(self, total: u64) -> Vec<ComponentMetric> {
        if self.received as u64 == total {
            return self.items;
        }
        let is_again =
            |index: usize| self.joints.iter().any(|(first, overlap)| (*first..first + overlap).contains(&index));
        let items = self.items.into_iter().enumerate();
        items.filter(|(index, _)| !is_again(*index)).map(|(_, item)| item).collect()
    }
}

/// Drops the last metrics beyond what the archive keeps of a run; `total` still counts them.
fn keep_within(components: &mut RunComponents) {
    components.items.truncate(limits::COMPONENT_METRICS_MAX);
    let mut bytes = 0;
    let mut fits = |item: &ComponentMetric| {
        bytes += json_bytes(std::slice::from_ref(item));
        bytes < limits::COMPONENT_METRICS_BYTES_MAX / 2
    };
    let kept = components.items.iter().position(|item| !fits(item)).unwrap_or(components.items.len());
    components.items.truncate(kept);
}

fn key(item: &ComponentMetric) -> String {
    serde_json::to_string(item).unwrap_or_default()
}

/// How often each metric occurs.
fn counted(items: &[ComponentMetric]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(key(item)).or_default() += 1;
    }
    counts
}

fn json_bytes(items: &[ComponentMetric]) -> usize {
    items.iter().map(|item| key(item).len() + 1).sum()
}
