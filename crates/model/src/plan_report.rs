//! Plan executions as the service that ran them describes them: its own fields, and what they mean.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;
use crate::plan::PlanStatus;

/// A JSON object of the service, with every field that it sent.
pub type Fields = Map<String, Value>;

/// A plan execution with its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// The plan execution: `PlanExecutionStatus` of the processing API. Its times are in RFC 3339 or absent, and the
    /// fields that the API requires are there.
    pub execution: Fields,
    /// The name of the plan; none if it is not known.
    pub plan_name: Option<String>,
    /// The steps in the order in which they were designed.
    pub steps: Vec<StepReport>,
}

/// A step of a plan execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The name of the step in the plan; none if it is not known.
    pub name: Option<String>,
    /// The condition for the start of the next step, such as `ALL_SUCCEEDED`; none if it is not known.
    pub condition: Option<String>,
    /// True if the service lists the step; false if only the plan has it.
    pub is_listed: bool,
    /// The step: `StepExecutionDetails` of the processing API, with the fields that the service sent.
    pub step: Fields,
    /// The same of the error handler that ran after the step; none if none ran.
    pub error_handler: Option<Fields>,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// The step has not begun.
    NotStarted,
    /// It is running.
    Running,
    /// The step was successful.
    Succeeded,
    /// The step ended without success.
    Failed,
    /// The step ended with an unknown status.
    Unknown,
}

impl StepOutcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A text of an object; none if it is absent, empty or something else.
pub fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A time of an object.
pub fn time(fields: &Fields, name: &str) -> Option<Timestamp> {
    text(fields, name).and_then(|text| text.parse().ok())
}

/// A number of an object.
pub fn number(fields: &Fields, name: &str) -> Option<i64> {
    fields.get(name).and_then(Value::as_i64)
}

/// The status of a plan execution; none for a word that is not known here. Source: `status` and `executionStatus`.
pub fn plan_status(fields: &Fields) -> Option<PlanStatus> {
    let coarse = text(fields, "status").and_then(|word| word.to_ascii_lowercase().parse().ok());
    coarse.or_else(|| {
        let word = text(fields, "executionStatus")?.to_ascii_uppercase();
        match word.as_str() {
            "UNDEFINED" => Some(PlanStatus::Executing),
            word => PlanStatus::ALL.into_iter().find(|status| status.detailed() == word),
        }
    })
}

/// True if a plan execution does not change any more. One with an unknown status counts as running until it has an end.
pub fn is_final(fields: &Fields) -> bool {
    match plan_status(fields) {
        Some(PlanStatus::Executing) => false,
        Some(PlanStatus::Successful | PlanStatus::Failed | PlanStatus::Misfired) => true,
        None => time(fields, "finishTimestamp").is_some(),
    }
}

/// Returns the outcome of a step or an error handler.
pub fn step_outcome(fields: &Fields) -> StepOutcome {
    let word = text(fields, "executionStatus").unwrap_or_default().to_ascii_uppercase();
    let has_begun = time(fields, "startTimestamp").is_some();
    let has_ended = time(fields, "finishTimestamp").is_some();
    match word.as_str() {
        "EXECUTION_SUCCESS" | "EXECUTION_SUCCESSFUL" | "SUCCESS" => StepOutcome::Succeeded,
        "EXECUTION_FAILED" | "FAIL" | "FAILED" | "DEPLOY_FAILED" | "PARTIAL_SUCCESS" => StepOutcome::Failed,
        word if word.starts_with("EXECUTION_TERMINATED") || word == "EXECUTION_MISFIRED" => StepOutcome::Failed,
        _ if has_ended => StepOutcome::Unknown,
        _ if has_begun => StepOutcome::Running,
        _ => StepOutcome::NotStarted,
    }
}

/// The runs that a plan execution, a step or an error handler names as ended: `JobExecutionStatus` of the processing
/// API.
pub fn runs(fields: &Fields) -> impl Iterator<Item = &Fields> {
    let lists = ["doneTaskExecutableDetails", "doneExecutableDetails"];
    lists.into_iter().filter_map(|name| fields.get(name)?.as_array()).flatten().filter_map(Value::as_object)
}

/// The plan executions that an error handler started, as far as they have ended.
pub fn plans(fields: &Fields) -> impl Iterator<Item = &Fields> {
    let plans = fields.get("donePlanExecutableDetails").and_then(Value::as_array);
    plans.into_iter().flatten().filter_map(Value::as_object)
}

impl PlanReport {
    /// The ID of the execution.
    pub fn id(&self) -> &str {
        text(&self.execution, "executionId").unwrap_or_default()
    }

    /// The ID of the plan.
    pub fn plan_id(&self) -> &str {
        text(&self.execution, "planId").unwrap_or_default()
    }

    /// Its status, in the coarse words of the API, or in the word of the service if that is not known here.
    pub fn status(&self) -> String {
        match plan_status(&self.execution) {
            Some(status) => status.as_str().to_owned(),
            None => text(&self.execution, "status")
                .or_else(|| text(&self.execution, "executionStatus"))
                .unwrap_or("unknown")
                .to_ascii_lowercase(),
        }
    }

    /// True if neither the plan execution nor a step of it changes any more.
    pub fn is_final(&self) -> bool {
        let runs_on = |fields: &Fields| step_outcome(fields) == StepOutcome::Running;
        let handler_runs_on = |step: &StepReport| step.error_handler.as_ref().is_some_and(runs_on);
        is_final(&self.execution) && !self.steps.iter().any(|step| runs_on(&step.step) || handler_runs_on(step))
    }

    /// Why a step was not started, in a plan execution that has ended; none if it was, or may still be.
    pub fn why_not_started(&self, position: usize) -> Option<String> {
        let step = self.steps.get(position)?;
        if !is_final(&self.execution) || step_outcome(&step.step) != StepOutcome::NotStarted {
            return None;
        }
        if let Some(reason) = text(&self.execution, "misfiredExecutionReason") {
            return Some(format!("the plan did not start: {reason}"));
        }
        let earlier = self.steps[..position].iter().enumerate().rev();
        let failed = earlier.clone().find(|(_, step)| step_outcome(&step.step) == StepOutcome::Failed);
        Some(match failed {
            Some((at, failed)) => {
                let name = failed.name.clone().unwrap_or_else(|| format!("{}", at + 1));
                let condition = match failed.condition.as_deref() {
                    Some("ALL_SUCCEEDED") => ", and all of its tasks must succeed for the next step to start",
                    Some("AT_LEAST_ONE_SUCCEEDED") => ", and one of its tasks must succeed for the next step to start",
                    _ => "",
                };
                format!("step {name} failed{condition}")
            }
            None => "the plan ended before it".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_unknown_status_is_running_until_there_is_an_end() {
        let mut plan = fields(json!({"executionStatus": "PONDERING"}));
        assert_eq!((plan_status(&plan), is_final(&plan)), (None, false));
        plan.insert("finishTimestamp".to_owned(), json!("2026-11-01T00:00:00Z"));
        assert!(is_final(&plan));
        for (word, ended) in [("EXECUTION_MISFIRED", true), ("STARTED", false), ("UNDEFINED", false)] {
            assert_eq!(is_final(&fields(json!({"executionStatus": word}))), ended, "{word}");
        }
    }

    #[test]
    fn a_step_after_a_failed_one_was_not_started_because_of_it() {
        let step = |name: &str, status: &str| StepReport {
            name: Some(name.to_owned()),
            condition: Some("ALL_SUCCEEDED".to_owned()),
            is_listed: true,
            step: fields(json!({"executionStatus": status})),
            error_handler: None,
        };
        let steps = vec![step("load", "EXECUTION_SUCCESS"), step("sum", "EXECUTION_FAILED"), step("send", "")];
        let execution = fields(json!({"status": "execution_failed"}));
        let mut report = PlanReport { execution, plan_name: None, steps };
        assert_eq!(report.why_not_started(0), None);
        assert!(report.why_not_started(2).unwrap().starts_with("step sum failed, and all of its tasks"));
        report.execution = fields(json!({"status": "executing"}));
        assert_eq!(report.why_not_started(2), None, "it may still start");
        report.execution =
            fields(json!({"status": "execution_misfired", "misfiredExecutionReason": "PLAN_EXECUTIONS_PAUSED"}));
        assert!(report.why_not_started(2).unwrap().contains("PLAN_EXECUTIONS_PAUSED"));
    }
}
