//! The history of runs, which has more of each than their lists. Source: the vendor's file
//! `execution-history-search/2021-03`.

use http::Method;
use runlog_model::wire::history::{FieldFilter, HistoryCategory, HistoryExcludeWord, HistorySearch};
use runlog_model::{EnvironmentId, RunId, Timestamp};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;

/// Most runs of one search. Source: the vendor's file.
pub const HISTORY_RUNS_MAX: usize = 200;

/// Which runs to look up in the history.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLookup<'a> {
    /// The environment of the runs.
    pub environment_id: EnvironmentId,
    /// The category of their tasks.
    pub category: HistoryCategory,
    /// At most [`HISTORY_RUNS_MAX`] runs.
    pub runs: &'a [RunId],
    /// The period in which they took place; the last month when absent.
    pub period: Option<(Timestamp, Timestamp)>,
}

impl Client {
    /// Returns the entries of the history for the given runs: `POST /monitoring/observability/executions/search`. Runs
    /// that are not in the history are omitted.
    pub async fn history(&self, lookup: HistoryLookup<'_>) -> Result<Vec<Map<String, Value>>> {
        let HistoryLookup { environment_id, category, runs, period } = lookup;
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let filter = |field: &str, operator: &str, value: Value| FieldFilter {
            field: field.to_owned(),
            operator: operator.to_owned(),
            value,
        };
        let mut filters = vec![filter("id", "in", json!(ids))];
        filters.extend(period.map(|(from, to)| filter("period", "between", json!([from, to]))));
        let search = HistorySearch {
            environment_id: Some(environment_id.to_string()),
            category,
            filters: Some(filters),
            limit: Some(HISTORY_RUNS_MAX.into()),
            offset: None,
            // Without it, the runs of plans are excluded.
            exclude: Some(HistoryExcludeWord::PlanExecutions),
            last_id: None,
            trigger_time_from: None,
            trigger_time_to: None,
        };
        let path = ["monitoring", "observability", "executions", "search"];
        // It only reads.
        let request = self.request(Method::POST, &path, &[]).with_json(&search)?.repeatable();
        let mut page: Value = self.send(request).await?.json()?;
        let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
            return Err(Error::new(ErrorKind::Protocol, "the service's history of runs has no items"));
        };
        let fields = |item| if let Value::Object(item) = item { Some(item) } else { None };
        Ok(items.into_iter().filter_map(fields).collect())
    }
}
