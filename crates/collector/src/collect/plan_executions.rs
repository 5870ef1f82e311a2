//! Collects the plan executions of an upstream, with their steps and error handlers.
//!
//! ```text
//! list ▸ upsert ▸ due ▸ claim ▸ execution, steps, error handlers ▸ one transaction: stored, due again until it has ended
//! ```
//!
//! Requests for them have a lower priority than those for runs and logs. An execution is stored as a whole, so that a
//! collector that is killed begins it again; what has changed in a list is due again, even if it had ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_client::{Client, ErrorKind, Execution, ExecutionScope};
use runlog_model::plan_report::{self, Fields, PlanReport, StepOutcome, StepReport};
use runlog_model::wire::executions::DETAILS_FIELD;
use runlog_model::wire::plans::{PlanDetails, PlanStepDetails};
use runlog_model::workspaces::{Environment, Workspace};
use runlog_model::{Timestamp, WorkspaceId, backoff, error_chain, millis};
use runlog_store::collection::{ClaimedPlan, ListedPlan, PlanState};
use runlog_store::failpoint;
use runlog_store::plans::{PlanDefinition, StoredPlan};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::lease::lease_end;
use super::pause::Pause;
use super::range::Range;
use super::run_list::{List, Listed, read_list};
use super::stats::CollectStats;
use crate::shutdown::{until_shutdown, with_shutdown_timeout};
use crate::workers::Pool;

/// How often the steps of a running plan execution are fetched. Unit: milliseconds.
const FOLLOW_EVERY_MS: i64 = 60_000;
/// The delay after the first failed attempt, and the maximum.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The delay after an attempt that did not fail because of the plan execution.
const AGAIN_AFTER_OUTAGE: Duration = Duration::from_secs(300);
/// Number of attempts after which a plan execution is given up if the problem is in its own description: about a day.
const ATTEMPTS_MAX: i64 = 12;
/// How long the definition of a plan is used before it is requested again. Unit: milliseconds.
const DEFINITION_FRESH_MS: i64 = 900_000;
/// Number of failed attempts after which a definition that cannot be read is done without.
const DEFINITION_ATTEMPTS: i64 = 3;
/// Most definitions that are remembered.
const DEFINITIONS_MAX: usize = 10_000;
/// Most steps of a plan that are fetched. Plans have tens of steps.
const STEPS_MAX: usize = 500;

/// Collects the plan executions of an upstream. Cheap to clone; clones share their state.
#[derive(Clone)]
pub(super) struct PlanWorker(Arc<Shared>);

struct Shared {
    context: Arc<CollectContext>,
    pool: Arc<Pool>,
    pause: Pause,
    /// Definitions of plans, and when they were requested.
    definitions: Mutex<HashMap<String, KnownDefinition>>,
}

/// When the definition of a plan was requested, and what it was.
type KnownDefinition = (Timestamp, Option<Arc<PlanDefinition>>);

impl PlanWorker {
    /// Creates a worker; claims nothing yet.
    pub(super) fn new(context: Arc<CollectContext>) -> Self {
        Self(Arc::new(Shared {
            context,
            pool: Arc::new(Pool::new()),
            pause: Pause::default(),
            definitions: Mutex::default(),
        }))
    }

    /// The workers.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// True if plan executions are to be collected. A selection of tasks excludes them: a list of plan executions does
    /// not contain their tasks.
    pub(super) fn is_wanted(&self) -> bool {
        let upstream = &self.0.context.upstream;
        let selection = &upstream.selection;
        upstream.settings.plan_executions
            && selection.tasks.is_empty()
            && selection.task_names.is_empty()
            && selection.tags.is_empty()
    }

    /// Lists the plan executions of a range of time, and those since the last listing. Returns the number of requests.
    /// An error does not keep runs from being collected: it is recorded, and the list is read again in the next round.
    pub(super) async fn list(&self, scopes: &[ExecutionScope], range: Range) -> Result<u64> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        if !self.is_wanted() || self.0.pause.is_on(now) {
            return Ok(0);
        }
        let back = match archive.collection.plans_listed_until(&upstream.name).await? {
            Some(until) => until.min(now).plus_millis(-millis(upstream.settings.look_back)),
            None => now.plus_millis(-millis(upstream.settings.history.max(upstream.settings.look_back))),
        };
        let range = Range { from: range.from.min(upstream.client.in_service_time(back)), to: range.to };
        let mut requests = 0;
        match self.list_all(scopes, range, &mut requests).await {
            Ok(new) => {
                debug!(upstream = upstream.name, new, "plan executions were listed");
                let until = upstream.client.in_own_time(range.to);
                archive.collection.set_plans_listed_until(&upstream.name, until).await?;
            }
            Err(error) => {
                if matches!(error, CollectError::Archive(_)) {
                    return Err(error);
                }
                self.0.pause.begin_after(&error, now);
                let problem = format!("plan executions cannot be listed: {}", error_chain(&error));
                warn!(upstream = upstream.name, problem, "plan executions cannot be listed");
                archive.collection.record_plans_problem(&upstream.name, &problem).await?;
            }
        }
        Ok(requests)
    }

    async fn list_all(&self, scopes: &[ExecutionScope], range: Range, requests: &mut u64) -> Result<u64> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let mut new = 0;
        for scope in scopes {
            let workspace_id = if let ExecutionScope::Workspace(id) = scope { Some(*id) } else { None };
            for window in range.windows(upstream.settings.window_max) {
                let mut windows = vec![window];
                while let Some(window) = windows.pop() {
                    match read_list(&self.0.context, List::Plans, *scope, window, requests).await? {
                        Some(Listed { runs: plans, problem }) => {
                            let listed: Vec<ListedPlan> =
                                plans.iter().filter_map(|plan| self.listed(plan, workspace_id)).collect();
                            new += archive.collection.upsert_plans(&upstream.name, &listed).await?;
                            if let Some(problem) = problem {
                                return Err(problem);
                            }
                        }
                        None => {
                            let Some(halves) = window.halves() else {
                                return Err(CollectError::Crowded { upstream: upstream.name.clone(), at: window.from });
                            };
                            windows.extend(halves);
                        }
                    }
                }
            }
        }
        Ok(new)
    }

    /// The listed plan execution as stored in the archive; none if it has no ID.
    fn listed(&self, plan: &Execution, workspace_id: Option<WorkspaceId>) -> Option<ListedPlan> {
        let upstream = &self.0.context.upstream;
        if plan.id().is_empty() {
            debug!(upstream = upstream.name, "a plan execution has no ID");
            return None;
        }
        let word = |name: &str| plan.raw.get(name).map(Value::to_string).unwrap_or_default();
        let fingerprint = ["status", "executionStatus", "finishTimestamp", "doneExecutableCount"].map(word).join(" ");
        let now = upstream.client.clock().now();
        let settle_ms = millis(upstream.settings.settle);
        let has_ended = plan.raw.as_object().is_some_and(plan_report::is_final);
        let ended = plan.finished_at.or(plan.started_at).filter(|_| has_ended);
        Some(ListedPlan {
            execution_id: plan.id().to_owned(),
            body: plan.raw.to_string(),
            fingerprint,
            workspace_id,
            due_at: ended.map_or(now, |ended| upstream.client.in_own_time(ended).min(now).plus_millis(settle_ms)),
        })
    }

    /// Claims the plan execution that has been due for longest, and stores it; none if none is due.
    pub(super) async fn fetch_one(&self, stop: &CancellationToken) -> Result<Option<CollectStats>> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        if !self.is_wanted() || self.0.pause.is_on(now) {
            return Ok(None);
        }
        let until = lease_end(&self.0.context, now);
        let claimed = tokio::select! {
            claimed = archive.collection.claim_plan(&upstream.name, until) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(None) };
        let outcome = tokio::select! {
            ended = AbortOnDropHandle::new(tokio::spawn(self.clone().fetch_and_store(claimed.clone()))) => {
                ended.map_err(CollectError::from).flatten()
            }
            () = stop.cancelled() => {
                with_shutdown_timeout(archive.collection.release_plan(&upstream.name, &claimed)).await?;
                return Ok(Some(CollectStats::default()));
            }
        };
        match outcome {
            Ok(true) => {
                info!(plan.execution = claimed.execution_id, "a plan execution has landed");
                Ok(Some(CollectStats { plans: 1, ..CollectStats::default() }))
            }
            Ok(false) => Ok(Some(CollectStats::default())),
            Err(error) => {
                let noted = self.set_back(&claimed, &error);
                until_shutdown(noted, stop).await?;
                Ok(Some(CollectStats::default()))
            }
        }
    }

    /// Records a failed attempt, or that the last one has failed because something is wrong with this plan execution.
    async fn set_back(&self, claimed: &ClaimedPlan, error: &CollectError) -> Result<(), runlog_store::Error> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        let has_paused = self.0.pause.begin_after(error, now);
        let problem = error_chain(error);
        if has_paused || matches!(error, CollectError::Archive(_)) {
            // Once the service is back, it is so for all plan executions.
            let retry_at = now.plus_millis(millis(AGAIN_AFTER_OUTAGE));
            info!(plan.execution = claimed.execution_id, problem, %retry_at, "a plan execution was not fetched and will be retried");
            return archive.collection.defer_plan(&upstream.name, claimed, &problem, retry_at).await;
        }
        let retry_at = if claimed.attempts + 1 >= ATTEMPTS_MAX {
            warn!(plan.execution = claimed.execution_id, problem, "a plan execution cannot be fetched any more");
            None
        } else {
            let attempts = u32::try_from(claimed.attempts).unwrap_or_default();
            let retry_at = now.plus_millis(millis(backoff(AGAIN_FIRST, attempts, AGAIN_MAX)));
            info!(plan.execution = claimed.execution_id, problem, %retry_at, "a plan execution was not fetched and will be retried");
            Some(retry_at)
        };
        archive.collection.record_plan_failure(&upstream.name, claimed, &problem, retry_at).await
    }

    /// Fetches a plan execution and stores it. Returns true if it has ended.
    async fn fetch_and_store(self, claimed: ClaimedPlan) -> Result<bool> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let id = claimed.execution_id.as_str();
        let before = archive.plans.get(id).await?.map(|stored| stored.report);
        let found = match upstream.client.plan_execution(id).await {
            Ok(execution) => Some(execution),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let is_missing = found.is_none();
        let listed = || serde_json::from_str::<Fields>(&claimed.body).ok();
        // The latest list is newer than the stored data: the execution may have ended since.
        let known = || {
            let mut execution = before.as_ref().map(|known| known.execution.clone()).unwrap_or_default();
            execution.extend(listed().unwrap_or_default());
            Some(execution)
        };
        let mut execution = found.or_else(known).unwrap_or_default();
        let details = details_of(&mut execution);
        let execution = self.complete(execution, id);
        let definition = match plan_report::text(&execution, "planId") {
            Some(plan) => self.definition(plan, claimed.attempts).await?,
            None => None,
        };
        let steps = match (is_missing, before) {
            (true, before) => before.map(|known| known.steps).unwrap_or_default(),
            (false, before) => {
                let designed = match details.steps.as_slice() {
                    [] => definition.as_ref().map(|plan| step_definitions(&plan.definition)).unwrap_or_default(),
                    steps => steps.iter().map(StepDefinition::from).collect(),
                };
                fetch_steps(&upstream.client, id, before.as_ref(), &designed).await?
            }
        };
        let plan_name = details.plan_name.or_else(|| definition.as_ref().map(|plan| plan.name.clone()));
        let report = PlanReport { execution, plan_name, steps };
        let workspace_id = self.workspace_of(&claimed, &report, definition.as_deref()).await?;
        let now = upstream.client.clock().now();
        let state = match (is_missing, report.is_final()) {
            (true, _) => PlanState::Missing,
            (false, true) => PlanState::Landed,
            (false, false) => PlanState::Running(now.plus_millis(FOLLOW_EVERY_MS)),
        };
        failpoint::reach("plan-fetched");
        let stored = StoredPlan { report, workspace_id };
        archive.collection.land_plan(&upstream.name, &claimed, &stored, state).await?;
        Ok(state != PlanState::Running(now.plus_millis(FOLLOW_EVERY_MS)))
    }

    /// The plan execution with the fields that the API requires.
    fn complete(&self, mut execution: Fields, id: &str) -> Fields {
        let now = self.0.context.upstream.client.clock().now();
        let end = plan_report::text(&execution, "finishTimestamp").map(str::to_owned);
        let status = plan_report::text(&execution, "status").map(str::to_ascii_uppercase);
        for (name, otherwise) in [
            ("planId", String::new()),
            ("executionStatus", status.unwrap_or_else(|| "UNDEFINED".to_owned())),
            ("startTimestamp", end.unwrap_or_else(|| now.to_string())),
            ("userId", String::new()),
            ("userType", "HUMAN".to_owned()),
        ] {
            if !execution.get(name).is_some_and(Value::is_string) {
                execution.insert(name.to_owned(), Value::from(otherwise));
            }
        }
        execution.insert("executionId".to_owned(), Value::from(id));
        execution
    }

    /// The definition of a plan; none if the upstream does not have it any more, or does not show it.
    async fn definition(&self, plan_id: &str, attempts: i64) -> Result<Option<Arc<PlanDefinition>>> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        {
            let known = self.0.definitions.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, definition)) = known.get(plan_id)
                && (0..DEFINITION_FRESH_MS).contains(&now.millis_since(*at))
            {
                return Ok(definition.clone());
            }
        }
        let found = match upstream.client.plan(plan_id).await {
            Ok(found) => found,
            // A plan execution without the names of its steps is better than none.
            Err(error)
                if error.kind() == ErrorKind::Forbidden
                    || attempts >= DEFINITION_ATTEMPTS
                        && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Protocol) =>
            {
                debug!(upstream = upstream.name, plan.id = plan_id, %error, "the definition of a plan cannot be read");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let definition = match found {
            Some(definition) => {
                let workspace = workspace_of_plan(&definition);
                if let Some(workspace) = &workspace {
                    archive.workspaces.upsert_workspace(workspace).await?;
                }
                let name = plan_report::text(&definition, "name").unwrap_or(plan_id).to_owned();
                let workspace_id = workspace.map(|workspace| workspace.id);
                let plan = PlanDefinition { plan_id: plan_id.to_owned(), name, workspace_id, definition };
                archive.plans.upsert_definition(&plan).await?;
                Some(Arc::new(plan))
            }
            None => None,
        };
        let mut known = self.0.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DEFINITIONS_MAX {
            known.clear();
        }
        known.insert(plan_id.to_owned(), (now, definition.clone()));
        Ok(definition)
    }

    /// The workspace of a plan execution, if the archive has it: that of the plan, of a run, or of the list.
    async fn workspace_of(
        &self,
        claimed: &ClaimedPlan,
        report: &PlanReport,
        definition: Option<&PlanDefinition>,
    ) -> Result<Option<WorkspaceId>> {
        if let Some(id) = definition.and_then(|plan| plan.workspace_id) {
            return Ok(Some(id));
        }
        let runs = || report.steps.iter().flat_map(|step| plan_report::runs(&step.step));
        let of_run = |run: &Fields| plan_report::text(run, "workspaceId").and_then(|id| id.parse().ok());
        let of_runs = plan_report::runs(&report.execution).chain(runs()).find_map(of_run);
        let Some(id) = of_runs.or_else(|| claimed.workspace_id()) else { return Ok(None) };
        Ok(self.0.context.archive.workspaces.get(id).await?.map(|workspace| workspace.id))
    }
}

/// The steps of a plan execution, in the order in which they were designed: those that the service lists, and those
/// that only the plan has. Steps that had ended before are not requested again.
async fn fetch_steps(
    client: &Client,
    id: &str,
    before: Option<&PlanReport>,
    designed: &[StepDefinition],
) -> Result<Vec<StepReport>> {
    let listed = match client.plan_steps(id).await {
        Ok(listed) => listed,
        // A plan that did not start has none.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let design_of = |step: &Fields| {
        let id = plan_report::text(step, "id")?;
        designed.iter().find(|design| design.ids.iter().any(|known| known == id))
    };
    let mut steps: Vec<StepReport> = Vec::with_capacity(listed.len());
    for step in listed.into_iter().take(STEPS_MAX) {
        let execution_id = plan_report::text(&step, "executionId").map(str::to_owned);
        let known = before.and_then(|report| {
            let same = |known: &&StepReport| plan_report::text(&known.step, "executionId") == execution_id.as_deref();
            report.steps.iter().filter(|known| known.is_listed).find(same)
        });
        let (name, condition) = match (design_of(&step), known) {
            (Some(design), _) => (design.name.clone(), design.condition.clone()),
            (None, Some(known)) => (known.name.clone(), known.condition.clone()),
            (None, None) => (None, None),
        };
        let (details, error_handler) = match (execution_id, known) {
            (Some(_), Some(known)) if has_not_changed(&step, known) => {
                (known.step.clone(), known.error_handler.clone())
            }
            (Some(execution_id), _) if plan_report::step_outcome(&step) != StepOutcome::NotStarted => {
                fetch_step(client, id, &execution_id, step).await?
            }
            _ => (step, None),
        };
        steps.push(StepReport { name, condition, is_listed: true, step: details, error_handler });
    }
    let is_listed = |design: &StepDefinition| {
        let is_it = |id: &str| design.ids.iter().any(|known| known == id);
        steps.iter().any(|step| plan_report::text(&step.step, "id").is_some_and(is_it))
    };
    // A plan that was changed since may have other steps: they are of this execution only if the rest of it is.
    let has_known_steps = steps.is_empty() || designed.iter().any(is_listed);
    let unlisted: Vec<StepReport> = designed
        .iter()
        .filter(|design| has_known_steps && !is_listed(design))
        .map(|design| StepReport {
            name: design.name.clone(),
            condition: design.condition.clone(),
            is_listed: false,
            step: design.ids.first().map(|id| ("id".to_owned(), Value::from(id.as_str()))).into_iter().collect(),
            error_handler: None,
        })
        .collect();
    steps.extend(unlisted);
    steps.truncate(STEPS_MAX);
    Ok(steps)
}

/// True if a step had ended before, and is listed as it was, and so had its error handler.
fn has_not_changed(listed: &Fields, known: &StepReport) -> bool {
    let is_settled = |fields: &Fields| {
        matches!(plan_report::step_outcome(fields), StepOutcome::Succeeded | StepOutcome::Failed)
            && plan_report::time(fields, "finishTimestamp").is_some()
    };
    let same = |name: &str| listed.get(name) == known.step.get(name);
    let has_handler_ended = match &known.error_handler {
        Some(handler) => is_settled(handler),
        // The error handler of an unsuccessful step may still begin.
        None => plan_report::step_outcome(listed) == StepOutcome::Succeeded,
    };
    is_settled(listed) && has_handler_ended && same("executionStatus") && same("finishTimestamp")
}

/// A step with its runs, and its error handler if it did not end well.
async fn fetch_step(client: &Client, id: &str, execution_id: &str, listed: Fields) -> Result<(Fields, Option<Fields>)> {
    let mut step = listed;
    match client.plan_step(id, execution_id).await {
        // Additional fields of the list are kept.
        Ok(details) => step.extend(details),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let handler = match plan_report::step_outcome(&step) {
        StepOutcome::Failed | StepOutcome::Unknown => client.plan_error_handler(id, execution_id).await?,
        StepOutcome::NotStarted | StepOutcome::Running | StepOutcome::Succeeded => None,
    };
    // Handlers that did not run are not recorded.
    let ran = handler.filter(|handler| plan_report::step_outcome(handler) != StepOutcome::NotStarted);
    Ok((step, ran))
}

/// Removes and returns the details that another Runlog adds to a plan execution; empty for other services.
fn details_of(execution: &mut Fields) -> PlanDetails {
    execution.remove(DETAILS_FIELD).and_then(|details| serde_json::from_value(details).ok()).unwrap_or_default()
}

/// A step of the definition of a plan.
struct StepDefinition {
    /// Its IDs: that of the step, and that of the step of all versions of the plan.
    ids: Vec<String>,
    name: Option<String>,
    condition: Option<String>,
}

impl From<&PlanStepDetails> for StepDefinition {
    fn from(step: &PlanStepDetails) -> Self {
        Self { ids: vec![step.id.clone()], name: step.name.clone(), condition: step.condition.clone() }
    }
}

/// The steps of a plan, in their order. Source: `PlanExecutableDetails` of the orchestration API, in which each step of
/// `chart` has the next one, and `Plan`, which has an array of steps.
fn step_definitions(definition: &Fields) -> Vec<StepDefinition> {
    let design = |step: &Fields| {
        let text = |name: &str| plan_report::text(step, name).map(str::to_owned);
        let condition = text("condition").or_else(|| {
            let word = match plan_report::text(step, "status")? {
                "SUCCESS" => "ALL_SUCCEEDED",
                "PARTIAL_SUCCESS" => "AT_LEAST_ONE_SUCCEEDED",
                "PROCEED" => "ALWAYS_PROCEED_ON",
                other => other,
            };
            Some(word.to_owned())
        });
        StepDefinition {
            ids: ["id", "abstractStepId"].into_iter().filter_map(text).collect(),
            name: text("name"),
            condition,
        }
    };
    if let Some(steps) = definition.get("steps").and_then(Value::as_array).filter(|steps| !steps.is_empty()) {
        return steps.iter().filter_map(Value::as_object).take(STEPS_MAX).map(design).collect();
    }
    let first = definition.get("chart").and_then(Value::as_object);
    let steps = std::iter::successors(first, |step| step.get("nextStep").and_then(Value::as_object));
    steps.take(STEPS_MAX).map(design).filter(|design| !design.ids.is_empty()).collect()
}

/// The workspace of a plan, if its definition has what the archive needs.
fn workspace_of_plan(definition: &Fields) -> Option<Workspace> {
    let workspace = definition.get("workspace")?.as_object()?;
    let environment = workspace.get("environment")?.as_object()?;
    let text = |fields: &Fields, name: &str| plan_report::text(fields, name).map(str::to_owned);
    Some(Workspace {
        id: text(workspace, "id")?.parse().ok()?,
        name: text(workspace, "name")?,
        description: text(workspace, "description"),
        owner: text(workspace, "owner").unwrap_or_default(),
        environment: Environment {
            id: text(environment, "id")?.parse().ok()?,
            name: text(environment, "name")?,
            description: text(environment, "description"),
            is_default: environment.get("default").and_then(Value::as_bool).unwrap_or_default(),
        },
    })
}
