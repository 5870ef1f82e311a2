//! Converts a run of the service to that of the archive.

use runlog_client::Execution;
use runlog_model::RunStatus;
use runlog_model::run::PlanPart;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_store::collection::ClaimedRun;
use serde::Deserialize;

use super::error::{CollectError, Result};

/// The run as listed by the service.
pub(super) fn execution_of(claimed: &ClaimedRun) -> Result<Execution> {
    let bad = |error: serde_json::Error| CollectError::BadRun {
        run: claimed.run_id().map(|id| id.to_string()).unwrap_or_default(),
        what: error.to_string(),
    };
    serde_json::from_str(&claimed.body).map(Execution::read).map_err(bad)
}

/// A field of the listed run, if it is present and valid.
fn field<T: for<'de> Deserialize<'de>>(run: &Execution, name: &str) -> Option<T> {
    run.raw.get(name).cloned().and_then(|value| serde_json::from_value(value).ok())
}

/// The request that starts the run in the archive.
pub(super) fn start_of(run: &Execution, task_id: runlog_model::TaskId) -> StartRun {
    let text = |name: &str| run.text(name).map(str::to_owned);
    StartRun {
        task_version: text("taskVersion").or_else(|| text("jobVersion")),
        execution_type: field(run, "executionType"),
        // It has ended, which is recorded when its log has landed.
        status: Some(RunStatus::Executing),
        trigger_timestamp: run.triggered_at,
        start_timestamp: run.started_at.or(run.triggered_at),
        user_id: text("userId"),
        user_type: field(run, "userType"),
        plan: PlanPart { id: text("planId"), ..PlanPart::default() },
        runtime: field(run, "runtime"),
        timeout: field(run, "timeout"),
        parallel_execution_allowed: field(run, "parallelExecutionAllowed"),
        api_version: text("apiVersion"),
        container_id: text("containerId"),
        ..StartRun::of_task(task_id)
    }
}

/// The longest word of a status that is kept. Unit: characters.
const STATUS_CHARS_MAX: usize = 200;

/// The request that ends the run in the archive; none if it goes on.
///
/// The archive has the statuses of the API only. If the upstream uses another word, it is kept as the kind of error, and in
/// the error message, unless the upstream gives them.
pub(super) fn finish_of(run: &Execution) -> Option<FinishRun> {
    let text = |name: &str| run.text(name).map(str::to_owned);
    let status = run.final_status()?;
    let word = run.own_word().map(|word| word.chars().take(STATUS_CHARS_MAX).collect::<String>());
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
