//! Converts a run of the service to that of the archive.

use runlog_client::Execution;
use runlog_model::run::{ArtifactPart, PlanPart, RuntimeKind};
use runlog_model::wire::executions::DETAILS_FIELD;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{ExecutionType, LogAbsence, RunId, RunStatus, Runtime, TaskId, UserType};
use runlog_store::collection::ReportedRun;
use serde::Deserialize;
use serde_json::Value;

use super::error::{CollectError, Result};

/// The field of a run with the kind of its task as named by the history, such as `ROUTE`. The archive reads this field.
pub(super) const KIND_FIELD: &str = "executionKind";

/// The run as listed by the service, from its description as JSON.
pub(super) fn execution_of(run_id: RunId, body: &str) -> Result<Execution> {
    let bad = |error: serde_json::Error| CollectError::BadRun { run: run_id.to_string(), what: error.to_string() };
    serde_json::from_str(body).map(|raw| Execution::read(in_one_form(raw))).map_err(bad)
}

/// A run with the fields of a list, and with those that a Runlog adds for another one: in the form of a single run,
/// `planId` is the ID of the plan execution.
fn in_one_form(mut raw: Value) -> Value {
    let Some(fields) = raw.as_object_mut() else { return raw };
    if fields.contains_key("jobId")
        && let Some(execution) = fields.remove("planId")
    {
        fields.entry("planExecutionId").or_insert(execution);
    }
    if let Some(Value::Object(details)) = fields.get(DETAILS_FIELD).cloned() {
        for (name, value) in details {
            fields.entry(name).or_insert(value);
        }
    }
    raw
}

/// A field of the listed run, if it is present and valid.
fn field<T: for<'de> Deserialize<'de>>(run: &Execution, name: &str) -> Option<T> {
    run.raw.get(name).cloned().and_then(|value| serde_json::from_value(value).ok())
}

/// A run as the archive records it.
pub(super) fn report_of(run: &Execution, run_id: RunId, task_id: TaskId) -> ReportedRun {
    ReportedRun { run_id, start: start_of(run, task_id), end: finish_request(run) }
}

/// Returns the start of a run in the form that the archive records. A run whose start the upstream does not give is
/// dispatching, unless it is executing: then it has started when it was triggered.
fn start_of(run: &Execution, task_id: TaskId) -> StartRun {
    let text = |name: &str| run.text(name).map(str::to_owned);
    let is_executing = run.status == Some(RunStatus::Executing);
    let start = run.started_at.or(run.triggered_at.filter(|_| is_executing));
    StartRun {
        task_version: text("taskVersion").or_else(|| text("jobVersion")),
        execution_type: field(run, "executionType"),
        status: Some(if start.is_some() || is_executing { RunStatus::Executing } else { RunStatus::Dispatching }),
        trigger_timestamp: run.triggered_at,
        start_timestamp: start,
        user_id: text("userId"),
        user_type: field(run, "userType"),
        plan: PlanPart {
            id: text("planId"),
            name: text("planName"),
            execution_id: text("planExecutionId"),
            step_id: text("planStepId"),
        },
        runtime: runtime_of(run),
        artifact: ArtifactPart { id: text("artifactId"), name: text("artifactName"), version: text("artifactVersion") },
        log_level: text("logLevel"),
        attempts: field(run, "attempts"),
        timeout: field(run, "timeout"),
        parallel_execution_allowed: field(run, "parallelExecutionAllowed"),
        api_version: text("apiVersion"),
        container_id: text("containerId"),
        ..StartRun::of_task(task_id)
    }
}

/// Where the run took place. A kind of place that is not known here hides no engine. Source: `runtime` of a list, and
/// the fields of a single run.
fn runtime_of(run: &Execution) -> Option<Runtime> {
    let listed = run.raw.get("runtime");
    let text = |name: &str, of_single: &str| {
        let found = listed.and_then(|runtime| runtime.get(name)).or_else(|| run.raw.get(of_single));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    let (engine_id, cluster_id) = (text("engineId", "remoteEngineId"), text("clusterId", "remoteEngineClusterId"));
    // A service that requires the field may give it of a run on no known engine.
    let says_where = |word: &String| engine_id.is_some() || cluster_id.is_some() || word != "REMOTE_ENGINE";
    let kind = text("type", "executionDestination").filter(|word| listed.is_some() || says_where(word));
    let runtime = Runtime {
        kind: kind.and_then(|word| word.parse().ok()),
        id: listed.and_then(|runtime| runtime.get("id")?.as_str()).map(str::to_owned),
        engine_id,
        cluster_id,
        run_profile_id: text("runProfileId", "runProfileId"),
    };
    (runtime != Runtime::default()).then_some(runtime)
}

/// The words of a run for what the archive has other words for, with the names of their fields.
pub(super) fn unknown_words(run: &Execution) -> Vec<String> {
    let kind = run.text("executionType").filter(|word| word.parse::<ExecutionType>().is_err());
    let user = run.text("userType").filter(|word| word.parse::<UserType>().is_err());
    let unknown = [("executionType", kind), ("userType", user)];
    let unknown = unknown.into_iter().filter_map(|(name, word)| Some((name, word?)));
    let runtime = run.raw.get("runtime").and_then(|runtime| runtime.get("type")?.as_str());
    let runtime = runtime.filter(|word| word.parse::<RuntimeKind>().is_err()).map(|word| ("runtime type", word));
    let status = run.vendor_status().map(|word| ("executionStatus", word));
    unknown.chain(runtime).chain(status).map(|(name, word)| format!("{name} {word:?}")).collect()
}

/// Returns the run with the details that the upstream returns only for a single run, such as its numbers of rows.
pub(super) fn with_details(run: &Execution, details: Execution) -> Execution {
    let mut raw = run.raw.clone();
    let Value::Object(more) = in_one_form(details.raw) else { return run.clone() };
    if let Some(fields) = raw.as_object_mut().filter(|_| details.status == run.status) {
        // Whether that is the plan or its execution is not known.
        for (name, value) in more.into_iter().filter(|(name, _)| name != "planId") {
            fields.entry(name).or_insert(value);
        }
    }
    Execution::read(raw)
}

/// True if the run has the details that the upstream returns only for a single run.
pub(super) fn has_details(run: &Execution) -> bool {
    run.raw.get("executionDestination").is_some() || run.raw.get(DETAILS_FIELD).is_some()
}

/// True if the upstream is a Runlog that has no log of the run because its own upstream has none.
pub(super) fn is_without_log_at_its_source(run: &Execution) -> bool {
    let absence: Option<LogAbsence> = field(run, "logAbsence");
    absence.is_some_and(|absence| {
        matches!(absence, LogAbsence::LongLived | LogAbsence::NotTransferred | LogAbsence::NotAtUpstream)
    })
}

/// The longest word of a status that is kept. Unit: characters.
const STATUS_CHARS_MAX: usize = 200;

/// Returns the request that ends the run in the archive; none if the run has not ended.
///
/// The archive has the statuses of the API only. If the upstream uses another word, it is kept as the kind of error,
/// and in the error message, unless the upstream gives them.
pub(super) fn finish_request(run: &Execution) -> Option<FinishRun> {
    let text = |name: &str| run.text(name).map(str::to_owned);
    let status = run.final_status()?;
    let word = run.vendor_status().map(|word| word.chars().take(STATUS_CHARS_MAX).collect::<String>());
    // A word for how well it went is no error.
    let word = word.filter(|_| status != RunStatus::Successful);
    let told = word.as_ref().map(|word| format!("the upstream reports the status {word}, archived as {status}"));
    Some(FinishRun {
        finish_timestamp: run.finished_at.or(run.started_at).or(run.triggered_at),
        error_message: text("errorMessage").or(told),
        error_type: text("errorType").or(word),
        misfired_execution_reason: text("misfiredExecutionReason"),
        number_of_processed_rows: field(run, "numberOfProcessedRows"),
        number_of_rejected_rows: field(run, "numberOfRejectedRows"),
        ..FinishRun::with_status(status)
    })
}
