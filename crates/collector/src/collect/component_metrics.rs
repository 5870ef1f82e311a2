//! Fetches the component metrics of runs whose logs have landed.
//!
//! ```text
//! landed ▸ due ▸ claim ▸ all pages ▸ one transaction: metrics stored, not due any more
//! ```
//!
//! The log does not wait for them: the transaction that lands it makes them due, and requests for them give way to all
//! others. They are stored completely or not at all, so that a collector that is killed begins again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::{Client, ComponentPage, ErrorKind};
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
/// How long after its end the metrics of a run are tried to fetch: Talend Cloud keeps them for 31 days. Unit:
/// milliseconds.
const KEPT_MS: i64 = 31 * 86_400_000;
/// The delay after the first failed attempt, and the maximum.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The delay after an attempt that did not fail because of the run.
const AGAIN_AFTER_OUTAGE: Duration = Duration::from_secs(300);
/// Number of attempts after which the metrics of a run are given up if the problem is in its metrics, not in the service:
/// about a day.
const ATTEMPTS_MAX: i64 = 12;
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

    /// Whether metrics are wanted.
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
                until_shutdown(self.set_back(&claimed, run_id, why.to_owned(), Setback::NotYet), stop).await?;
            }
            Err(error) => {
                let mut problem = error_chain(&error);
                if lacks_right(&error) {
                    problem.push_str("; or set component_metrics = false");
                }
                let has_paused = self.0.pause.begin_after(&error, upstream.client.clock().now());
                let is_outage = has_paused || matches!(error, CollectError::Archive(_));
                let setback = if is_outage { Setback::Outage } else { Setback::OfRun };
                until_shutdown(self.set_back(&claimed, run_id, problem, setback), stop).await?;
            }
        }
        Ok(Some(CollectStats::default()))
    }

    async fn fetch_and_store(self, claimed: ClaimedComponents, run_id: RunId) -> Result<Attempt> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let fetched = fetch_all(&upstream.client, run_id).await;
        let components = match fetched {
            Ok(Fetched { is_pending: true, .. }) => {
                return Ok(Attempt::NotYet("the upstream has not collected the component metrics itself yet"));
            }
            Ok(Fetched { components, .. }) if components.total > 0 => Some(components),
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

    /// Records a failed attempt, or that the last one has failed: because the service has forgotten the metrics by now, or
    /// because something is wrong with those of this run.
    async fn set_back(
        &self,
        claimed: &ClaimedComponents,
        run_id: RunId,
        problem: String,
        setback: Setback,
    ) -> Result<(), runlog_store::Error> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        let collection = &archive.collection;
        let is_gone = self.ended_at(claimed).is_some_and(|end| now.millis_since(end) > KEPT_MS);
        if is_gone || setback == Setback::OfRun && claimed.run.attempts + 1 >= ATTEMPTS_MAX {
            warn!(run.id = %run_id, problem, "the component metrics of a run cannot be fetched any more");
            return collection.give_up_components(&upstream.name, claimed, &problem).await;
        }
        let attempts = u32::try_from(claimed.run.attempts).unwrap_or_default();
        let retry_at = now.plus_millis(millis(match setback {
            // Once the service is back, it is so for all runs.
            Setback::Outage => AGAIN_AFTER_OUTAGE,
            Setback::OfRun | Setback::NotYet => backoff(AGAIN_FIRST, attempts, AGAIN_MAX),
        }));
        info!(run.id = %run_id, problem, %retry_at, "the component metrics of a run were not fetched and will be retried");
        match setback {
            Setback::Outage => collection.defer_components(&upstream.name, claimed, &problem, retry_at).await,
            Setback::OfRun | Setback::NotYet => {
                collection.record_components_failure(&upstream.name, claimed, &problem, retry_at).await
            }
        }
    }

    fn ended_at(&self, claimed: &ClaimedComponents) -> Option<Timestamp> {
        let run = execution_of(&claimed.run).ok()?;
        run.finished_at.or(run.started_at).or(run.triggered_at)
    }
}

/// Why the metrics of a run were not fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setback {
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
struct Fetched {
    components: RunComponents,
    /// True if the upstream, another Runlog, is to collect them itself first.
    is_pending: bool,
}

/// Fetches all pages. `Unsteady`: the pages do not fit together.
///
/// Pages are parts of a list that the service makes anew for each request. If its length changes, if a page is missing,
/// or if a metric occurs in two pages, the pages may not be parts of the same list; in the last case, a second reading
/// that has the same metrics shows that they are.
async fn fetch_all(client: &Client, run_id: RunId) -> Result<Fetched> {
    let (fetched, is_suspect) = read_pages(client, run_id).await?;
    if is_suspect {
        let (again, _) = read_pages(client, run_id).await?;
        if counted(&fetched.components.items) != counted(&again.components.items) {
            return Err(unsteady(run_id, "a metric occurred on two pages"));
        }
    }
    Ok(fetched)
}

/// Reads all pages once, and tells whether a metric occurs on two of them.
async fn read_pages(client: &Client, run_id: RunId) -> Result<(Fetched, bool)> {
    let ComponentPage { run, processes, items, total, is_pending } = client.component_page(run_id, 0).await?;
    let total = if planted::is("first-components-only") { items.len() as u64 } else { total };
    let mut components = RunComponents { run, processes, items, total };
    components.processes.truncate(limits::COMPONENT_PROCESSES_MAX);
    let mut bytes = json_bytes(&components.items);
    let mut seen: HashSet<String> = if (components.items.len() as u64) < total {
        components.items.iter().map(key).collect()
    } else {
        HashSet::new()
    };
    let mut is_suspect = false;
    while (components.items.len() as u64) < total
        && components.items.len() < limits::COMPONENT_METRICS_MAX
        && bytes < limits::COMPONENT_METRICS_BYTES_MAX / 2
    {
        let before = components.items.len();
        let page = client.component_page(run_id, before as u64).await?;
        if page.total != total {
            return Err(unsteady(run_id, &format!("{total} metrics became {}", page.total)));
        }
        if page.items.is_empty() {
            return Err(unsteady(run_id, &format!("only {before} of {total} metrics were received")));
        }
        let keys: Vec<String> = page.items.iter().map(key).collect();
        is_suspect |= keys.iter().any(|key| seen.contains(key));
        bytes += keys.iter().map(|key| key.len() + 1).sum::<usize>();
        seen.extend(keys);
        components.items.extend(page.items);
    }
    if components.items.len() as u64 > total {
        return Err(unsteady(run_id, &format!("{} metrics were received instead of {total}", components.items.len())));
    }
    keep_within(&mut components);
    Ok((Fetched { components, is_pending }, is_suspect))
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

fn unsteady(run_id: RunId, what: &str) -> CollectError {
    CollectError::UnsteadyMetrics { run: run_id.to_string(), what: what.to_owned() }
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
