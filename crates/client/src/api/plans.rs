//! Plans and plan executions as the processing and orchestration APIs show them. These requests have the lowest
//! priority.

use http::Method;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::plans::PlanLine;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::executions::{Execution, ExecutionFilter, ExecutionList, ExecutionScope};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;
use crate::transport::lenient;

type Fields = Map<String, Value>;

impl Client {
    /// Plan executions, newest first: `GET /processing/executables/plans/executions`. Of the filter, the period,
    /// `limit` and `offset` are used. A task has no plan executions: its scope is that of all.
    pub async fn plan_executions(&self, scope: ExecutionScope, filter: &ExecutionFilter) -> Result<ExecutionList> {
        let mut query = vec![("limit", filter.limit.to_string()), ("offset", filter.offset.to_string())];
        query.extend(filter.from.map(|from| ("from", from.as_millis().to_string())));
        query.extend(filter.to.map(|to| ("to", to.as_millis().to_string())));
        match scope {
            ExecutionScope::Workspace(id) => query.push(("workspaceId", id.to_string())),
            ExecutionScope::Environment(id) => query.push(("environmentId", id.to_string())),
            ExecutionScope::Task(_) | ExecutionScope::All => {}
        }
        let mut list: Value = self.read_plans(&["processing", "executables", "plans", "executions"], &query).await?;
        let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else {
            return Err(Error::new(ErrorKind::Protocol, "the service's list of plan executions has no items"));
        };
        let total = list.get("total").and_then(lenient::count);
        Ok(ExecutionList { items: items.into_iter().map(Execution::read).collect(), total })
    }

    /// One plan execution, with the runs that have ended: `GET /processing/executions/plans/{id}`.
    pub async fn plan_execution(&self, id: &str) -> Result<Fields> {
        let request = self.request(Method::GET, &["processing", "executions", "plans", id], &[]);
        self.send(request.with_runlog_details().in_background()).await?.json().map(with_times)
    }

    /// The steps of a plan execution, in the order in which they were designed:
    /// `GET /processing/executions/plans/{id}/steps`.
    pub async fn plan_steps(&self, id: &str) -> Result<Vec<Fields>> {
        let steps: Vec<Fields> = self.read_plans(&["processing", "executions", "plans", id, "steps"], &[]).await?;
        Ok(steps.into_iter().map(with_times).collect())
    }

    /// A step of a plan execution with its runs, by the ID of its execution:
    /// `GET /processing/executions/plans/{id}/steps/{step}`.
    pub async fn plan_step(&self, id: &str, step: &str) -> Result<Fields> {
        self.read_plans(&["processing", "executions", "plans", id, "steps", step], &[]).await.map(with_times)
    }

    /// The error handler of a step, by the ID of the step's execution: `GET …/steps/{step}/error-handler`; `None` if
    /// there is none.
    pub async fn plan_error_handler(&self, id: &str, step: &str) -> Result<Option<Fields>> {
        let path = ["processing", "executions", "plans", id, "steps", step, "error-handler"];
        Ok(known(self.read_plans(&path, &[]).await)?.map(with_times))
    }

    /// The definition of a plan: `GET /orchestration/executables/plans/{id}`; `None` if there is no such plan.
    pub async fn plan(&self, id: &str) -> Result<Option<Fields>> {
        known(self.read_plans(&["orchestration", "executables", "plans", id], &[]).await)
    }

    /// Plan executions of a Runlog, newest first: `GET /runlog/v1/plan-executions`, with these parameters of its query.
    pub async fn plan_lines(&self, query: &[(&str, String)]) -> Result<ListPage<PlanLine>> {
        self.get_json(&["runlog", "v1", "plan-executions"], query).await
    }

    /// `GET /runlog/v1/plan-executions/{id}`.
    pub async fn plan_view<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.get_json(&["runlog", "v1", "plan-executions", id], &[]).await
    }

    async fn read_plans<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        self.send(self.request(Method::GET, path, query).in_background()).await?.json()
    }
}

/// Turns the error for an object that does not exist into `None`.
fn known<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Converts the times of the plan execution and its runs to RFC 3339 from any form that services use. Invalid times are
/// removed.
fn with_times(mut fields: Fields) -> Fields {
    for name in ["triggerTimestamp", "startTimestamp", "finishTimestamp"] {
        let Some(value) = fields.get(name) else { continue };
        match lenient::time(value) {
            Some(_) if value.as_str().is_some_and(|text| text.parse::<runlog_model::Timestamp>().is_ok()) => {}
            Some(time) => {
                fields.insert(name.to_owned(), Value::from(time.to_string()));
            }
            None => {
                fields.remove(name);
            }
        }
    }
    for name in ["doneExecutableDetails", "doneTaskExecutableDetails", "donePlanExecutableDetails"] {
        if let Some(Value::Array(items)) = fields.get_mut(name) {
            let read = std::mem::take(items).into_iter().filter_map(|item| match item {
                Value::Object(item) => Some(Value::Object(with_times(item))),
                _ => None,
            });
            *items = read.collect();
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_of_any_form_become_times() {
        let odd = json!({"startTimestamp": 1_614_696_623_123_u64, "finishTimestamp": "soon", "other": null,
            "doneExecutableDetails": [{"finishTimestamp": "2026-11-01T00:00:00Z"}, 7]});
        let read = Value::Object(with_times(odd.as_object().unwrap().clone()));
        let expected = json!({"startTimestamp": "2021-03-02T14:50:23.123Z", "other": null,
            "doneExecutableDetails": [{"finishTimestamp": "2026-11-01T00:00:00Z"}]});
        assert_eq!(read, expected);
    }
}
