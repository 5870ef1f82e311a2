//! The run hook, which starts runs that are requested with `POST /processing/executions`.
//!
//! Runlog does not start jobs itself: it creates the run, calls the hook, and waits for what the run pushes.

use std::process::Stdio;

use runlog_model::RunId;
use runlog_model::workspaces::Task;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::limits;

/// How the hook is called.
#[derive(Clone)]
pub enum RunHook {
    /// A shell command: it receives the run as JSON on standard input, its IDs in `RUNLOG_EXECUTION_ID` and
    /// `RUNLOG_TASK_ID`, and accepts the run with exit code 0.
    Command(String),
    /// A URL to which the run is posted as JSON; any 2xx status accepts it, unless it comes with a web page. The URL
    /// may contain a secret.
    Url {
        /// The URL.
        url: reqwest::Url,
        /// The HTTP client.
        http: reqwest::Client,
    },
}

impl std::fmt::Debug for RunHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(_) => f.write_str("Command(..)"),
            Self::Url { url, .. } => write!(f, "Url({})", url.host_str().unwrap_or("?")),
        }
    }
}

/// The input of the hook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestedRun<'a> {
    pub(crate) execution_id: RunId,
    pub(crate) task_id: String,
    pub(crate) task_name: &'a str,
    pub(crate) task_version: &'a str,
    pub(crate) workspace_id: String,
    pub(crate) environment_id: String,
    /// The caller that requests it.
    pub(crate) user: &'a str,
    pub(crate) parameters: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<&'a str>,
    /// Unit: minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<u64>,
}

impl<'a> RequestedRun<'a> {
    pub(crate) fn new(execution_id: RunId, task: &'a Task, user: &'a str, parameters: &'a Map<String, Value>) -> Self {
        Self {
            execution_id,
            task_id: task.id.to_string(),
            task_name: &task.name,
            task_version: &task.version,
            workspace_id: task.workspace.id.to_string(),
            environment_id: task.workspace.environment.id.to_string(),
            user,
            parameters,
            log_level: None,
            timeout: None,
        }
    }
}

/// The reason why a run was not started; shown to the caller, without URLs and output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("the run hook took longer than {} s", limits::RUN_HOOK_TIME_MAX.as_secs())]
    TimedOut,
    #[error("cannot start the command of the run hook")]
    NotStarted(#[source] std::io::Error),
    #[error("the command of the run hook failed with {0}")]
    Ended(std::process::ExitStatus),
    #[error("the URL of the run hook does not respond")]
    NoAnswer(#[source] reqwest::Error),
    #[error("the URL of the run hook returned {0}")]
    Refused(reqwest::StatusCode),
    #[error("the URL of the run hook returned a web page, such as that of a proxy")]
    WebPage,
    #[error("the run has no JSON form")]
    Json(#[from] serde_json::Error),
}

impl RunHook {
    /// A command, or a URL if it starts with `http://` or `https://`.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.starts_with("http://") || text.starts_with("https://") {
            let url = text.parse().map_err(|error| format!("the run hook is not a URL: {error}"))?;
            let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
            let http = http.map_err(|error| format!("the run hook's client cannot be set up: {error}"))?;
            return Ok(Self::Url { url, http });
        }
        match text.trim().is_empty() {
            true => Err("the run hook is empty; set a command or a URL".to_owned()),
            false => Ok(Self::Command(text.to_owned())),
        }
    }

    /// The same hook with this HTTP client. A command needs none.
    #[must_use]
    pub fn with_client(self, client: reqwest::Client) -> Self {
        match self {
            Self::Url { url, .. } => Self::Url { url, http: client },
            Self::Command(command) => Self::Command(command),
        }
    }

    /// Calls the hook with a run, and waits until it has accepted it.
    pub(crate) async fn call(&self, run: &RequestedRun<'_>) -> Result<(), HookError> {
        let body = serde_json::to_vec(run)?;
        let called = match self {
            Self::Command(command) => {
                tokio::time::timeout(limits::RUN_HOOK_TIME_MAX, execute(command, run, &body)).await
            }
            Self::Url { url, http } => tokio::time::timeout(limits::RUN_HOOK_TIME_MAX, post(http, url, body)).await,
        };
        called.unwrap_or(Err(HookError::TimedOut))
    }
}

async fn execute(command: &str, run: &RequestedRun<'_>, body: &[u8]) -> Result<(), HookError> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("RUNLOG_EXECUTION_ID", run.execution_id.to_string())
        .env("RUNLOG_TASK_ID", &run.task_id)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(HookError::NotStarted)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command may ignore its input.
        let _ = stdin.write_all(body).await;
    }
    let status = child.wait().await.map_err(HookError::NotStarted)?;
    if status.success() { Ok(()) } else { Err(HookError::Ended(status)) }
}

async fn post(client: &reqwest::Client, url: &reqwest::Url, body: Vec<u8>) -> Result<(), HookError> {
    let request = client.post(url.clone()).header("content-type", "application/json").body(body);
    let mut response = request.send().await.map_err(|error| HookError::NoAnswer(error.without_url()))?;
    if !response.status().is_success() {
        return Err(HookError::Refused(response.status()));
    }
    // A hook that breaks off after this status has accepted the run.
    let beginning = response.chunk().await.ok().flatten().unwrap_or_default();
    let begin: String = String::from_utf8_lossy(&beginning).trim_start().chars().take(14).collect();
    match begin.to_ascii_lowercase() {
        begin if begin.starts_with("<!doctype html") || begin.starts_with("<html") => Err(HookError::WebPage),
        _ => Ok(()),
    }
}
