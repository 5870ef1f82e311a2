//! Runs as the processing API shows them, and live pages of their logs.

use http::Method;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::overview::{ListedRunBody, LogBody, RunWithLog};
use runlog_model::{
    EnvironmentId, ExecutionStatus, Fields, Record, RecordOrder, RunId, RunStatus, TaskId, TimeRange, Timestamp,
    WorkspaceId, read_object,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;
use crate::transport::lenient;
use crate::transport::mend::mended;

/// A run; fields that could not be read are absent.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The status; none if the service uses an unknown status.
    pub status: Option<RunStatus>,
    /// The status as sent by the service.
    pub status_text: String,
    /// When it was triggered.
    pub triggered_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// All fields that the service sent.
    pub raw: Value,
}

/// Whose runs are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionScope {
    /// All that the caller may view.
    All,
    /// The runs of an environment.
    Environment(EnvironmentId),
    /// The runs of a workspace.
    Workspace(WorkspaceId),
    /// The runs of a task.
    Task(TaskId),
}

/// Which runs are wanted. Source: the query of the list of executions.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Runs that were active at or after this time.
    pub from: Option<Timestamp>,
    /// Runs that were active at or before this time.
    pub to: Option<Timestamp>,
    /// Runs of so many days up to now; wins over the two above.
    pub last_days: Option<u32>,
    /// Only this status.
    pub status: Option<RunStatus>,
    /// Only runs of tasks that have all these tags; not for the runs of a single task.
    pub tags: Vec<String>,
    /// Most runs in the answer, 1 to 100.
    pub limit: u64,
    /// Runs to leave out first.
    pub offset: u64,
}

/// One page of a list of runs.
#[derive(Debug, Clone)]
pub struct ExecutionList {
    /// The runs, newest first.
    pub items: Vec<Execution>,
    /// Number of runs in the whole list; none if the service does not report it.
    pub total: Option<u64>,
}

/// Which records of a live page to request.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuery {
    /// The range of time.
    pub range: TimeRange,
    /// The order.
    pub order: RecordOrder,
    /// Records to leave out first.
    pub start_index: u64,
    /// Most records in the answer, up to 200.
    pub count: u64,
}

/// Records of a run, without a file.
#[derive(Debug, Clone)]
pub struct LivePage {
    /// The records.
    pub records: Vec<Record>,
    /// Records of the run.
    pub total: u64,
    /// Number of records of the run in the requested range, if the service reports it.
    pub filtered: Option<u64>,
}

impl Execution {
    /// Reads a run as sent by a service. Any field may be missing.
    pub fn read(raw: Value) -> Self {
        let word = |name: &str| raw.get(name).and_then(Value::as_str);
        let time = |name: &str| raw.get(name).and_then(lenient::time);
        let (detailed, coarse) = (word("executionStatus"), word("status"));
        let status = detailed.and_then(status_of).or_else(|| coarse.and_then(status_of));
        let status_text = detailed.or(coarse).unwrap_or("unknown").to_owned();
        let [triggered_at, started_at, finished_at] =
            ["triggerTimestamp", "startTimestamp", "finishTimestamp"].map(time);
        Self { status, status_text, triggered_at, started_at, finished_at, raw }
    }

    /// True if the run does not change any more. A run with an unknown status counts as running, unless it has ended.
    pub fn is_final(&self) -> bool {
        self.final_status().is_some()
    }

    /// The final status of the run; none if it has not ended. A run that has ended with an unknown status has failed,
    /// or was not started if the service returns a reason for that.
    pub fn final_status(&self) -> Option<RunStatus> {
        let unknown = || match self.text("misfiredExecutionReason") {
            Some(_) => RunStatus::DeployFailed,
            None => RunStatus::Failed,
        };
        self.status.or_else(|| self.finished_at.map(|_| unknown())).filter(|status| status.is_final())
    }

    /// Returns the status as sent by the service, if it is not a status of a run that the API defines.
    pub fn vendor_status(&self) -> Option<&str> {
        let is_own = status_of(&self.status_text).is_none() || is_misfired(&self.status_text);
        Some(self.status_text.as_str()).filter(|_| is_own)
    }

    /// The id of the run, as the service gives it.
    pub fn id(&self) -> &str {
        self.raw.get("executionId").and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of the run, such as `errorMessage`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw.get(name).and_then(Value::as_str)
    }
}

/// Both vocabularies are used in both fields, in either case.
fn status_of(word: &str) -> Option<RunStatus> {
    let detailed = word.to_ascii_uppercase().parse::<ExecutionStatus>().ok().map(ExecutionStatus::coarse);
    let misfired = || is_misfired(word).then_some(RunStatus::DeployFailed);
    detailed.or_else(|| word.to_ascii_lowercase().parse().ok()).or_else(misfired)
}

/// True for a status that only the history uses: the run was not started. Source: the execution-history API.
fn is_misfired(word: &str) -> bool {
    word.eq_ignore_ascii_case("EXECUTION_MISFIRED")
}

impl Client {
    /// The state of the log of a run in a Runlog: `GET /runlog/v1/runs/{id}/summary`. None if the service is not
    /// Runlog, or does not return the state.
    pub async fn log_state(&self, run: RunId) -> Result<Option<LogBody>> {
        let path = ["runlog", "v1", "runs", &run.to_string(), "summary"];
        match self.get_json::<RunWithLog>(&path, &[]).await {
            Ok(run) => Ok(Some(run.log)),
            Err(error) => match error.kind() {
                ErrorKind::Invalid | ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Protocol => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// One run: `GET /processing/executions/{id}`.
    pub async fn execution(&self, run: RunId) -> Result<Execution> {
        let id = run.to_string();
        let request = self.request(Method::GET, &["processing", "executions", &id], &[]).with_runlog_details();
        self.send(request).await?.json().map(Execution::read)
    }

    /// Like [`execution`](Self::execution), with the lowest priority, for details that no caller waits for.
    pub async fn execution_details(&self, run: RunId) -> Result<Execution> {
        let id = run.to_string();
        let request = self.request(Method::GET, &["processing", "executions", &id], &[]).with_runlog_details();
        self.send(request.in_background()).await?.json().map(Execution::read)
    }

    /// Runs of a Runlog, newest first: `GET /runlog/v1/runs`, with these parameters of its query.
    pub async fn runs(&self, query: &[(&str, String)]) -> Result<ListPage<ListedRunBody>> {
        self.get_json(&["runlog", "v1", "runs"], query).await
    }

    /// Runs, newest first: `GET /processing/executables/tasks/{id}/executions` for a task, without the ID for several
    /// tasks, and `POST` of the same if tags are given.
    pub async fn executions(&self, scope: ExecutionScope, filter: &ExecutionFilter) -> Result<ExecutionList> {
        let mut query = vec![("limit", json!(filter.limit)), ("offset", json!(filter.offset))];
        match filter.last_days {
            Some(days) => query.push(("lastDays", json!(days))),
            None => {
                query.extend(filter.from.map(|from| ("from", json!(from.as_millis()))));
                query.extend(filter.to.map(|to| ("to", json!(to.as_millis()))));
            }
        }
        query.extend(filter.status.map(|status| ("status", json!(status.to_string()))));
        match scope {
            ExecutionScope::Workspace(id) => query.push(("workspaceId", json!(id.to_string()))),
            ExecutionScope::Environment(id) => query.push(("environmentId", json!(id.to_string()))),
            ExecutionScope::Task(_) | ExecutionScope::All => {}
        }
        let mut path = vec!["processing", "executables", "tasks", "executions"];
        let task = if let ExecutionScope::Task(task) = scope { Some(task.to_string()) } else { None };
        if let Some(task) = &task {
            path.insert(3, task);
        }
        let mut list: Value = if task.is_some() || filter.tags.is_empty() {
            let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let query: Vec<_> = query.into_iter().map(|(name, value)| (name, text(value))).collect();
            self.send(self.request(Method::GET, &path, &query).with_runlog_details()).await?.json()?
        } else {
            query.push(("tags", json!(filter.tags)));
            let body: Map<String, Value> = query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            // It only reads.
            let request = self.request(Method::POST, &path, &[]).with_json(&body)?.with_runlog_details();
            self.send(request.repeatable()).await?.json()?
        };
        let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else {
            return Err(Error::new(ErrorKind::Protocol, "the service's list of runs has no items"));
        };
        let total = list.get("total").and_then(lenient::count);
        Ok(ExecutionList { items: items.into_iter().map(Execution::read).collect(), total })
    }

    /// A live page: `GET /monitoring/executions/{id}/logs`.
    ///
    /// A malformed entry is returned as a record; an entry without a time gets the time of its neighbour. `Protocol`:
    /// the service reports no number of records, or the page is not JSON.
    pub async fn live_page(&self, run: RunId, query: &LiveQuery) -> Result<LivePage> {
        let order = match query.order {
            RecordOrder::Asc => "ASC",
            RecordOrder::Desc => "DESC",
        };
        let mut pairs = vec![
            ("count", query.count.to_string()),
            ("startIndex", query.start_index.to_string()),
            ("order", order.to_owned()),
        ];
        pairs.extend(query.range.start.map(|time| ("startTime", time.to_api_text())));
        pairs.extend(query.range.end.map(|time| ("endTime", time.to_api_text())));
        let id = run.to_string();
        let answer = self.send(self.request(Method::GET, &["monitoring", "executions", &id, "logs"], &pairs)).await?;
        read_live_page(&answer.body, query.range)
    }
}

fn read_live_page(body: &[u8], range: TimeRange) -> Result<LivePage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        data: Option<Box<RawValue>>,
        total_size: Option<Value>,
        total_size_filtered: Option<Value>,
    }
    let body: Body = serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&mended(body))).map_err(
        // Neither the body nor the message of the parser is shown: both contain texts of the log.
        |error| {
            let (line, column) = (error.line(), error.column());
            let message = format!("a live page of the log cannot be parsed (line {line}, column {column})");
            Error::new(ErrorKind::Protocol, message)
        },
    )?;
    let filtered = body.total_size_filtered.as_ref().and_then(lenient::count);
    let total = body.total_size.as_ref().and_then(lenient::count).or(filtered);
    let total = total.ok_or_else(|| Error::new(ErrorKind::Protocol, "a live page has no totalSize"))?;
    let entries: Vec<Box<RawValue>> =
        body.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    Ok(LivePage { records: records_of(&entries, range), total, filtered })
}

/// The entries of a live page as records, however odd. An entry without a time has that of the entry before it, or of
/// the next one that has a time, or the bound of the range.
fn records_of(entries: &[Box<RawValue>], range: TimeRange) -> Vec<Record> {
    let read: Vec<Option<Fields>> =
        entries.iter().map(|entry| Some(read_object(&mended(entry.get().as_bytes())).ok()?.0)).collect();
    let time_of = |fields: &Fields| fields.get("logTimestamp").and_then(lenient::time);
    let first = read.iter().flatten().find_map(time_of);
    let mut last = first.or(range.start).or(range.end).unwrap_or(Timestamp::clamped(0));
    let mut records = Vec::with_capacity(read.len());
    for (fields, entry) in read.into_iter().zip(entries) {
        last = fields.as_ref().and_then(time_of).unwrap_or(last);
        records.push(match fields {
            Some(fields) => Record::from_fields(last, fields).0,
            None => Record { message: Some(entry.get().to_owned()), ..Record::at(last) },
        });
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_vocabularies_are_read() {
        let status = |word: &str| Execution::read(json!({ "status": word })).status;
        assert_eq!(status("execution_failed"), Some(RunStatus::Failed));
        assert_eq!(status("EXECUTION_FAILED"), Some(RunStatus::Failed));
        assert_eq!(status("STARTING_FLOW_EXECUTION"), Some(RunStatus::Executing));
        assert_eq!(status("PONDERING"), None);
    }

    #[test]
    fn an_unknown_status_is_running_until_the_run_has_an_end() {
        let mut raw = json!({ "status": "PONDERING" });
        assert!(!Execution::read(raw.clone()).is_final());
        raw["finishTimestamp"] = json!("2026-11-01T00:00:00Z");
        let ended = Execution::read(raw.clone());
        assert_eq!((ended.final_status(), ended.vendor_status()), (Some(RunStatus::Failed), Some("PONDERING")));
        raw["misfiredExecutionReason"] = json!("TASK_IS_PAUSED");
        assert_eq!(Execution::read(raw).final_status(), Some(RunStatus::DeployFailed));
    }

    #[test]
    fn a_run_that_was_not_started_has_ended() {
        let misfired =
            Execution::read(json!({"status": "execution_misfired", "executionStatus": "EXECUTION_MISFIRED"}));
        assert_eq!(misfired.final_status(), Some(RunStatus::DeployFailed));
        assert_eq!(misfired.vendor_status(), Some("EXECUTION_MISFIRED"));
        assert_eq!(Execution::read(json!({"status": "terminated"})).vendor_status(), None);
        // A sub-status that is not known here.
        let raw = json!({"status": "terminated", "executionStatus": "EXECUTION_TERMINATED_BY_POLICY"});
        let terminated = Execution::read(raw);
        assert_eq!(terminated.status, Some(RunStatus::Terminated));
        assert_eq!(terminated.vendor_status(), Some("EXECUTION_TERMINATED_BY_POLICY"));
    }

    #[track_caller]
    fn check_live(data: &str, expected: &[(i64, &str)]) {
        let body = format!(r#"{{"size":1,"totalSize":"7","totalSizeFiltered":3.0,"data":{data}}}"#);
        let range = TimeRange { start: None, end: Some(Timestamp::clamped(9)) };
        let page = read_live_page(body.as_bytes(), range).unwrap();
        assert_eq!((page.total, page.filtered), (7, Some(3)), "{data}");
        let read: Vec<_> =
            page.records.iter().map(|it| (it.time.as_millis(), it.message.as_deref().unwrap_or("-"))).collect();
        assert_eq!(read, expected, "{data}");
    }

    #[test]
    fn an_odd_entry_of_a_live_page_hides_neither_the_count_nor_the_others() {
        for data in ["null", "7", "{}", "\"x\"", "[]"] {
            check_live(data, &[]);
        }
        check_live(r#"[{"logMessage":"a"},{"logTimestamp":5,"logMessage":"b"},{}]"#, &[(5, "a"), (5, "b"), (5, "-")]);
        check_live(r#"[{"logTimestamp":"1970-01-01T00:00:00.004Z","severity":3}]"#, &[(4, "-")]);
        check_live(r#"[{"logMessage":["a",1]}]"#, &[(9, r#"["a",1]"#)]);
        check_live(r#"[7,{"logTimestamp":3,"logMessage":"half \ud83d"}]"#, &[(3, "7"), (3, "half \u{fffd}")]);
        check_live("[{\"logTimestamp\":3,\"logMessage\":\"tab\there\"}]", &[(3, "tab\there")]);
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        check_live(
            &format!(r#"[{{"logTimestamp":3,"x":{deep}}}]"#),
            &[(9, &format!(r#"{{"logTimestamp":3,"x":{deep}}}"#))],
        );
    }

    #[test]
    fn what_a_live_page_says_is_not_repeated_in_an_error() {
        for body in [r#"{"data":[{"logMessage":"hush"}]}"#, r#""hush""#, r#"["hush"]"#, r#"{"data":["hush"#] {
            let error = read_live_page(body.as_bytes(), TimeRange::ALL).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
}
