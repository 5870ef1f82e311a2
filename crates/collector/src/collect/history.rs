//! Adds to the runs of a list what only the history of the service has of them: artifact, log level, attempts, plan,
//! and the kind of task.
//!
//! Runs are looked up when a list first shows that they have ended, many with one request. Runs are also collected
//! without a history, or without the right to read it.

use std::collections::{BTreeMap, HashMap, HashSet};

use runlog_client::{Execution, HISTORY_RUNS_MAX, HistoryLookup};
use runlog_model::wire::executions::DETAILS_FIELD;
use runlog_model::wire::history::HistoryCategory;
use runlog_model::{EnvironmentId, RunId, Timestamp};
use serde_json::{Map, Value};

use super::context::CollectContext;
use super::detail_problems::Detail;
use super::error::{CollectError, Result};
use super::pause::Pause;
use super::tasks::task_text;
use super::upstream_run::KIND_FIELD;

/// Fields of the history, and what a run calls them.
const FIELDS: [(&str, &str); 12] = [
    ("artifactId", "artifactId"),
    ("artifactName", "artifactName"),
    ("artifactVersion", "artifactVersion"),
    ("logLevel", "logLevel"),
    ("attempts", "attempts"),
    ("planName", "planName"),
    ("planExecutionId", "planExecutionId"),
    ("errorMessage", "errorMessage"),
    ("misfiredReason", "misfiredExecutionReason"),
    ("numberOfRejectedRows", "numberOfRejectedRows"),
    ("apiVersion", "apiVersion"),
    ("type", KIND_FIELD),
];

/// Runs that are triggered earlier are looked up with a period: without one, services search the last month. Unit:
/// milliseconds.
const RECENT_MS: i64 = 25 * 86_400_000;
/// How much longer than the runs the period is, on both sides. Unit: milliseconds.
const PERIOD_MARGIN_MS: i64 = 86_400_000;

/// Looks up runs in the history of a service.
#[derive(Debug, Default)]
pub(super) struct History {
    /// After the service has refused it.
    pause: Pause,
}

impl History {
    /// Completes those of the runs that have ended and were not known to have.
    pub(super) async fn complete(&self, context: &CollectContext, runs: &mut [&mut Execution]) -> Result<()> {
        let CollectContext { archive, upstream, tasks, .. } = context;
        let now = upstream.client.clock().now();
        let ids: Vec<RunId> = runs.iter().filter(|run| is_to_be_completed(run)).filter_map(|run| id_of(run)).collect();
        if ids.is_empty() || self.pause.is_on(now) {
            return Ok(());
        }
        let ended = archive.collection.ended_among(&upstream.name, &ids).await?;
        let new: HashSet<RunId> = ids.into_iter().filter(|id| !ended.contains(id)).collect();
        let mut by_environment: BTreeMap<EnvironmentId, Vec<&mut Execution>> = BTreeMap::new();
        for run in runs.iter_mut().filter(|run| is_to_be_completed(run)) {
            let task = task_text(run).parse().ok();
            let (Some(task), true) = (task, id_of(run).is_some_and(|id| new.contains(&id))) else { continue };
            if let Some(environment) = tasks.environment_of(upstream, task).await {
                by_environment.entry(environment).or_default().push(&mut **run);
            }
        }
        for (environment, mut runs) in by_environment {
            for some in runs.chunks_mut(HISTORY_RUNS_MAX) {
                if let Err(error) = look_up(context, environment, some, now).await {
                    self.pause.begin_after_any(&error, now);
                    context.record_detail_failure(Detail::History, &error).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// True for a run that has ended, of an upstream whose lists do not have everything.
pub(super) fn is_to_be_completed(run: &Execution) -> bool {
    run.is_final() && run.raw.get(DETAILS_FIELD).is_none()
}

fn id_of(run: &Execution) -> Option<RunId> {
    run.id().parse().ok()
}

/// Looks up runs of an environment: jobs first, and those that are none among Routes and Data Services.
async fn look_up(
    context: &CollectContext,
    environment_id: EnvironmentId,
    runs: &mut [&mut Execution],
    now: Timestamp,
) -> Result<()> {
    let client = &context.upstream.client;
    let mut missing: Vec<RunId> = runs.iter().filter_map(|run| id_of(run)).collect();
    let period = period_of(runs, now);
    for category in [HistoryCategory::Etl, HistoryCategory::Esb] {
        if missing.is_empty() {
            break;
        }
        let lookup = HistoryLookup { environment_id, category, runs: &missing, period };
        let found = client.history(lookup).await.map_err(CollectError::from)?;
        let id_of_item = |item: &Map<String, Value>| item.get("id")?.as_str()?.parse::<RunId>().ok();
        let mut by_id: HashMap<RunId, Vec<&Map<String, Value>>> = HashMap::new();
        for item in &found {
            if let Some(id) = id_of_item(item) {
                by_id.entry(id).or_default().push(item);
            }
        }
        missing.retain(|id| !by_id.contains_key(id));
        for run in runs.iter_mut() {
            let items = id_of(run).and_then(|id| by_id.get(&id));
            items.into_iter().flatten().for_each(|item| add(run, item));
        }
    }
    Ok(())
}

/// The period in which runs took place; none if they are recent.
fn period_of(runs: &[&mut Execution], now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let triggered = || runs.iter().filter_map(|run| run.triggered_at.or(run.started_at));
    let oldest = triggered().min().filter(|oldest| now.millis_since(*oldest) > RECENT_MS)?;
    let ends = runs.iter().filter_map(|run| run.finished_at).chain(triggered());
    let newest = ends.max().unwrap_or(oldest);
    Some((oldest.plus_millis(-PERIOD_MARGIN_MS), newest.plus_millis(PERIOD_MARGIN_MS)))
}

/// Adds the fields of a run in the history to those of the list.
fn add(run: &mut Execution, item: &Map<String, Value>) {
    let Some(fields) = run.raw.as_object_mut() else { return };
    for (name, known_as) in FIELDS {
        let value = item.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""));
        if let Some(value) = value {
            fields.entry(known_as).or_insert_with(|| value.clone());
        }
    }
}
