//! Reports of a Runlog. The client does not interpret the content of a report, but returns it in the requested form.

use http::Method;
use http::header::CONTENT_TYPE;
use runlog_model::{RunId, TaskId, WorkspaceId};
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;

impl Client {
    /// `GET /runlog/v1/runs/{id}/report`.
    pub async fn run_report<T: DeserializeOwned>(&self, run: RunId) -> Result<T> {
        self.get_json(&["runlog", "v1", "runs", &run.to_string(), "report"], &[]).await
    }

    /// `GET /runlog/v1/runs/{id}/report?brief=true`: the brief, as Markdown.
    pub async fn run_brief(&self, run: RunId) -> Result<String> {
        let path = ["runlog", "v1", "runs", &run.to_string(), "report"];
        let answer = self.send(self.request(Method::GET, &path, &[("brief", "true".to_owned())])).await?;
        let is_markdown =
            answer.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/markdown"));
        match String::from_utf8(answer.body.to_vec()) {
            Ok(text) if is_markdown => Ok(text),
            _ => {
                Err(Error::new(ErrorKind::Protocol, "the service does not make briefs; does it run an older version?"))
            }
        }
    }

    /// `GET /runlog/v1/tasks/{id}/report`, of the last so many days.
    pub async fn task_report<T: DeserializeOwned>(&self, task: TaskId, last_days: Option<u64>) -> Result<T> {
        self.get_json(&["runlog", "v1", "tasks", &task.to_string(), "report"], &days(last_days)).await
    }

    /// `GET /runlog/v1/workspaces/{id}/report`; the last so many days are recent.
    pub async fn workspace_report<T: DeserializeOwned>(
        &self,
        workspace: WorkspaceId,
        last_days: Option<u64>,
    ) -> Result<T> {
        self.get_json(&["runlog", "v1", "workspaces", &workspace.to_string(), "report"], &days(last_days)).await
    }

    /// `GET /runlog/v1/runs/{id}/diff/{otherId}`.
    pub async fn run_diff<T: DeserializeOwned>(&self, before: RunId, after: RunId) -> Result<T> {
        self.get_json(&["runlog", "v1", "runs", &before.to_string(), "diff", &after.to_string()], &[]).await
    }
}

fn days(last_days: Option<u64>) -> Vec<(&'static str, String)> {
    last_days.map(|days| ("lastDays", days.to_string())).into_iter().collect()
}
