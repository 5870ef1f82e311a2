//! The conditions, items and CSV format of the history search.

use std::ops::RangeInclusive;

use runlog_model::Timestamp;
use runlog_model::wire::history::{FieldFilter, HistoryExcludeWord, HistoryItem};
use runlog_store::runs::{HistoryCondition, HistoryEntry, HistoryExclude, HistoryField};
use serde_json::{Number, Value};

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::limits;

/// A whole number of a body, also written as `50.0`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 1e15")]
pub(crate) fn whole(name: &str, number: Option<&Number>, allowed: RangeInclusive<u64>) -> ApiResult<Option<u64>> {
    let Some(number) = number else { return Ok(None) };
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=1e15).contains(float));
    let whole = number.as_u64().or(float.map(|float| float as u64));
    match whole.filter(|whole| allowed.contains(whole)) {
        Some(whole) => Ok(Some(whole)),
        None => {
            let (first, last) = allowed.into_inner();
            Err(ApiError::invalid(format!("{name}: {number} is not a whole number from {first} to {last}")))
        }
    }
}

/// The executions that a word excludes.
pub(crate) fn exclude(word: HistoryExcludeWord) -> HistoryExclude {
    match word {
        HistoryExcludeWord::PlanExecutions => HistoryExclude::Plans,
        HistoryExcludeWord::TaskExecutionsTriggeredByPlan => HistoryExclude::RunsOfPlans,
    }
}

/// Parses the conditions of a body. 400 with the position of the wrong one, such as `filters[2]`, or if they have too
/// many values in total.
pub(crate) fn read_conditions(filters: &[FieldFilter], at: &str) -> ApiResult<Vec<HistoryCondition>> {
    let conditions = read_filters(filters, at)?;
    let count = count_values(&conditions);
    if count > limits::HISTORY_VALUES_SUM_MAX {
        return Err(ApiError::invalid(format!(
            "{at}: {count} values are more than {} in one search; split the request",
            limits::HISTORY_VALUES_SUM_MAX
        )));
    }
    Ok(conditions)
}

fn count_values(conditions: &[HistoryCondition]) -> usize {
    let count = |condition: &HistoryCondition| match condition {
        HistoryCondition::OneOf { values, .. } => values.len(),
        HistoryCondition::Tagged { tags, .. } => tags.len(),
        HistoryCondition::Any(parts) | HistoryCondition::All(parts) => count_values(parts),
        _ => 1,
    };
    conditions.iter().map(count).sum()
}

fn read_filters(filters: &[FieldFilter], at: &str) -> ApiResult<Vec<HistoryCondition>> {
    if filters.len() > limits::HISTORY_FILTERS_MAX {
        return Err(ApiError::invalid(format!("{at}: more than {} conditions", limits::HISTORY_FILTERS_MAX)));
    }
    filters.iter().enumerate().map(|(index, filter)| read_filter(filter, &format!("{at}[{index}]"))).collect()
}

fn read_filter(filter: &FieldFilter, at: &str) -> ApiResult<HistoryCondition> {
    let wrong = |what: &str| ApiError::invalid(format!("{at}: {what}"));
    let operator = filter.operator.as_str();
    let with = |operators: &str| wrong(&format!("the field {} requires {operators}", filter.field));
    match filter.field.as_str() {
        "name" => match operator {
            "match" | "not_match" => {
                let part = filter.value.as_str().filter(|part| part.chars().count() >= 3);
                let part = part.ok_or_else(|| wrong("the value is not a text of at least 3 characters"))?;
                Ok(HistoryCondition::NameHolds { part: part.to_owned(), negated: operator == "not_match" })
            }
            _ => Err(with("match and not_match")),
        },
        "tags" => match operator {
            "in" | "not_in" => {
                Ok(HistoryCondition::Tagged { tags: values(filter, at)?, negated: operator == "not_in" })
            }
            _ => Err(with("in and not_in")),
        },
        "executeDurationMs" => {
            let ms = filter.value.as_i64().ok_or_else(|| wrong("the value is not a number of milliseconds"))?;
            match operator {
                "greater_than" => Ok(HistoryCondition::LongerThan(ms)),
                "less_than" => Ok(HistoryCondition::ShorterThan(ms)),
                _ => Err(with("greater_than and less_than")),
            }
        }
        "period" => match (operator, filter.value.as_array().map(Vec::as_slice)) {
            ("between", Some([from, to])) => Ok(HistoryCondition::Between(time(from, at)?, time(to, at)?)),
            ("between", _) => Err(wrong("the value is not an array of two dates")),
            _ => Err(with("between")),
        },
        "runtime" => {
            let parts: Vec<FieldFilter> = serde_json::from_value(filter.value.clone())
                .map_err(|_| wrong("the value is not an array of conditions"))?;
            let inside = |part: &&FieldFilter| !["engineId", "clusterId", "destination"].contains(&part.field.as_str());
            if let Some(part) = parts.iter().find(inside) {
                return Err(wrong(&format!("{:?} is not engineId, clusterId or destination", part.field)));
            }
            let parts = read_filters(&parts, &format!("{at}.value"))?;
            match operator {
                "or" => Ok(HistoryCondition::Any(parts)),
                "and" => Ok(HistoryCondition::All(parts)),
                _ => Err(with("or and and")),
            }
        }
        "apiVersion" if operator == "is_empty" => {
            let is_empty = filter.value.as_bool().ok_or_else(|| wrong("the value is not true or false"))?;
            Ok(HistoryCondition::ApiVersionIsEmpty(is_empty))
        }
        name => {
            let field = field(name).ok_or_else(|| wrong(&format!("there is no field {:?}", shortened(name))))?;
            match operator {
                "in" | "not_in" => {
                    let (values, negated) = (values(filter, at)?, operator == "not_in");
                    Ok(HistoryCondition::OneOf { field, values, negated })
                }
                _ => Err(with("in and not_in")),
            }
        }
    }
}

fn field(name: &str) -> Option<HistoryField> {
    Some(match name {
        "status" => HistoryField::Status,
        "workspaceId" => HistoryField::Workspace,
        "taskId" => HistoryField::Task,
        "planId" => HistoryField::Plan,
        "artifactId" => HistoryField::Artifact,
        "artifactVersion" => HistoryField::ArtifactVersion,
        "operator" => HistoryField::Operator,
        "author" => HistoryField::Author,
        "version" => HistoryField::Version,
        "logLevel" => HistoryField::LogLevel,
        "id" => HistoryField::Id,
        "runProfileId" => HistoryField::RunProfile,
        "apiVersion" => HistoryField::ApiVersion,
        "engineId" => HistoryField::Engine,
        "clusterId" => HistoryField::Cluster,
        "destination" => HistoryField::Destination,
        _ => return None,
    })
}

fn values(filter: &FieldFilter, at: &str) -> ApiResult<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let values = filter.value.as_array().filter(|values| (1..=limits::HISTORY_VALUES_MAX).contains(&values.len()));
    let values: Option<Vec<String>> = values.and_then(|values| values.iter().map(text).collect());
    values.ok_or_else(|| {
        ApiError::invalid(format!("{at}: the value is not an array of 1 to {} values", limits::HISTORY_VALUES_MAX))
    })
}

fn time(value: &Value, at: &str) -> ApiResult<Timestamp> {
    let text = value.as_str().ok_or_else(|| ApiError::invalid(format!("{at}: a date must be an ISO 8601 string")))?;
    text.parse().map_err(|error| ApiError::invalid(format!("{at}: {error}")))
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// An entry as an item of the response.
pub(crate) fn item(entry: &HistoryEntry) -> HistoryItem {
    let runtime = &entry.runtime;
    // A plan execution is triggered when it starts. Source: the vendor's description of `triggerTime`.
    let triggered_at = entry.started_at.filter(|_| entry.is_plan).unwrap_or(entry.triggered_at);
    HistoryItem {
        id: entry.id.clone(),
        name: entry.name.clone(),
        status: entry.status.clone(),
        kind: if entry.is_plan { "PLAN" } else { "STANDARD" }.to_owned(),
        version: entry.version.clone().unwrap_or_default(),
        trigger_type: entry.execution_type.clone(),
        trigger_time: Some(triggered_at.as_millis()),
        run_start_time: entry.started_at.map(Timestamp::as_millis),
        run_end_time: entry.finished_at.map(Timestamp::as_millis),
        execute_duration_ms: entry.duration_ms,
        operator: entry.operator.clone(),
        operator_name: entry.operator.clone(),
        operator_type: entry.operator_type.clone(),
        author: entry.author.clone(),
        author_name: entry.author.clone(),
        author_type: "HUMAN".to_owned(),
        attempts: entry.attempts,
        environment_id: entry.environment_id.to_string(),
        workspace_id: entry.workspace_id.to_string(),
        task_id: entry.task_id.map(|id| id.to_string()),
        plan_execution_id: entry.plan_execution_id.clone(),
        plan_name: entry.plan_name.clone(),
        artifact_id: entry.artifact_id.clone(),
        artifact_name: entry.artifact_name.clone(),
        artifact_version: entry.artifact_version.clone(),
        destination: runtime.kind.map(|kind| kind.as_str().to_owned()),
        cluster_id: runtime.cluster_id.clone(),
        engine_id: runtime.engine_id.clone(),
        run_profile_id: runtime.run_profile_id.clone(),
        error_message: entry.error_message.clone(),
        misfired_reason: entry.misfired_reason.clone(),
        log_level: entry.log_level.clone(),
        tags: entry.tags.clone(),
        number_of_rejected_rows: entry.rejected_rows,
        plan_id: entry.plan_id.clone(),
        api_version: entry.api_version.clone(),
    }
}

/// A cell of the CSV.
type Cell = fn(&App, &HistoryItem) -> String;

/// The columns of the CSV, in the vendor's order. Unknown values are empty.
pub(crate) const COLUMNS: &[(&str, Cell)] = &[
    ("id", |_, it| it.id.clone()),
    ("name", |_, it| free(&it.name)),
    ("status", |_, it| it.status.clone()),
    ("subStatus", nothing),
    ("type", |_, it| it.kind.clone()),
    ("version", |_, it| it.version.clone()),
    ("triggerType", |_, it| it.trigger_type.clone()),
    ("triggerTime", |_, it| instant(it.trigger_time)),
    ("runStartTime", |_, it| instant(it.run_start_time)),
    ("runEndTime", |_, it| instant(it.run_end_time)),
    ("operator", |_, it| free(&it.operator)),
    ("operatorType", |_, it| it.operator_type.clone()),
    ("author", |_, it| free(&it.author)),
    ("authorType", |_, it| it.author_type.clone()),
    ("attempts", |_, it| number(it.attempts)),
    ("accountId", |app, _| app.settings().account_id.clone()),
    ("environmentId", |_, it| it.environment_id.clone()),
    ("workspaceId", |_, it| it.workspace_id.clone()),
    ("taskId", |_, it| it.task_id.clone().unwrap_or_default()),
    ("planExecutionId", |_, it| it.plan_execution_id.clone().unwrap_or_default()),
    ("planName", |_, it| text(it.plan_name.as_ref())),
    ("artifactId", |_, it| text(it.artifact_id.as_ref())),
    ("artifactName", |_, it| text(it.artifact_name.as_ref())),
    ("artifactVersion", |_, it| text(it.artifact_version.as_ref())),
    ("artifactWorkspaceId", nothing),
    ("destination", |_, it| it.destination.clone().unwrap_or_default()),
    ("clusterId", |_, it| text(it.cluster_id.as_ref())),
    ("clusterName", nothing),
    ("engineId", |_, it| text(it.engine_id.as_ref())),
    ("engineName", nothing),
    ("runProfileId", |_, it| text(it.run_profile_id.as_ref())),
    ("runProfileName", nothing),
    ("errorMessage", |_, it| text(it.error_message.as_ref())),
    ("misfiredReason", |_, it| text(it.misfired_reason.as_ref())),
    ("logLevel", |_, it| text(it.log_level.as_ref())),
    ("tags", |_, it| free(&it.tags.join(","))),
    ("numberOfRejectedRows", |_, it| number(it.number_of_rejected_rows)),
    ("deploymentStrategy", nothing),
    ("planId", |_, it| text(it.plan_id.as_ref())),
    ("failedStepName", nothing),
    ("rerunPlanExecutionId", nothing),
    ("parentPlanExecutionId", nothing),
    ("executeDurationMs", |_, it| number(it.execute_duration_ms)),
    ("engineVersion", nothing),
    ("javaVersion", nothing),
    ("javaVendor", nothing),
    ("jvmName", nothing),
];

fn nothing(_: &App, _: &HistoryItem) -> String {
    String::new()
}

fn number(number: Option<i64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn instant(epoch_ms: Option<i64>) -> String {
    epoch_ms.map(|ms| Timestamp::clamped(ms).to_string()).unwrap_or_default()
}

fn text(text: Option<&String>) -> String {
    text.map(|text| free(text)).unwrap_or_default()
}

/// A text from a user. Spreadsheets interpret some first characters as a formula, which an apostrophe prevents.
fn free(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}
