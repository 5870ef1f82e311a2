//! What shells complete: names and IDs, which the service is asked for, and the words that some options take.

use std::ffi::OsStr;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use runlog_client::{Client, Result};
use runlog_model::wire::overview::ListedRunBody;
use runlog_model::{RunIdPrefix, RunStatus, Severity};
use serde_json::Value;

use super::connect::ConnectArgs;
use super::names::{path_of_task, path_of_workspace};
use super::status::status_word;
use crate::system::environment;

/// The variable with which a shell asks for candidates; its value is the name of the shell.
pub(crate) const VARIABLE: &str = "RUNLOG_COMPLETE";

/// The shell that asks. The library removes the variable.
static SHELL: OnceLock<String> = OnceLock::new();

/// How long a shell waits for the service.
const WAIT_MAX: Duration = Duration::from_millis(1_500);

/// Most candidates.
const CANDIDATES_MAX: usize = 100;

/// If a shell asks for candidates, answers it and ends the program.
pub(crate) fn answer(command: impl Fn() -> Command) {
    if let Some(shell) = environment(VARIABLE) {
        let _ = SHELL.set(shell);
    }
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Tasks whose name, or whose name after that of the workspace, begins with a text.
pub(crate) fn tasks(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    shown(found(async |client| tasks_named(&client, &text).await))
}

/// Workspaces whose name, or whose name after that of the environment, begins with a text.
pub(crate) fn workspaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    shown(found(async |client| workspaces_named(&client, &text).await))
}

/// Runs whose ID begins with a text: the newest if there is none.
pub(crate) fn runs(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    shown(found(async |client| runs_beginning(&client, &text).await))
}

/// Tasks by name, and runs whose ID begins with a text.
pub(crate) fn runs_and_tasks(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    shown(found(async |client| {
        let tasks = tasks_named(&client, &text).await?;
        Ok([tasks, runs_if_digits(&client, &text).await?].concat())
    }))
}

/// The same, and workspaces by name.
pub(crate) fn runs_tasks_and_workspaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    shown(found(async |client| {
        let tasks = tasks_named(&client, &text).await?;
        let workspaces = workspaces_named(&client, &text).await?;
        Ok([tasks, workspaces, runs_if_digits(&client, &text).await?].concat())
    }))
}

/// Environments whose name begins with a text.
pub(crate) fn environments(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| {
        Ok(client.environments().await?.into_iter().map(|it| (it.name, it.id.to_string())).collect())
    })
}

/// Users whose name begins with a text. Only administrators may list them.
pub(crate) fn users(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| Ok(client.users().await?.into_iter().map(|it| (it.name, it.id)).collect()))
}

/// Service accounts whose name begins with a text.
pub(crate) fn service_accounts(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| Ok(client.service_accounts().await?.into_iter().map(|it| (it.name, it.id)).collect()))
}

/// Service accounts whose ID begins with a text. Only administrators may list them.
pub(crate) fn service_account_ids(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| Ok(client.service_accounts().await?.into_iter().map(|it| (it.id, it.name)).collect()))
}

/// Alert rules whose name begins with a text. Only administrators may list them.
pub(crate) fn alert_rules(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| {
        Ok(client.alert_rules().await?.into_iter().map(|it| (it.name, String::new())).collect())
    })
}

/// Problems whose ID begins with a text, whatever their state.
pub(crate) fn problems(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| {
        let query = [("limit", CANDIDATES_MAX.to_string())];
        Ok(client.problems(&query).await?.items.into_iter().map(|it| (it.id, it.title)).collect())
    })
}

/// Executions of plans whose ID begins with a text: the newest.
pub(crate) fn plan_executions(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| {
        let found = client.plan_lines(&[("limit", CANDIDATES_MAX.to_string())]).await?;
        Ok(found.items.into_iter().map(|it| (it.execution_id, it.plan_name.unwrap_or_default())).collect())
    })
}

/// Sinks whose name begins with a text. Only administrators may list them.
pub(crate) fn sinks(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| named_in(&client.read(&["runlog", "v1", "sinks"], &[]).await?, ""))
}

/// Upstreams whose name begins with a text. Only administrators may list them.
pub(crate) fn upstreams(current: &OsStr) -> Vec<CompletionCandidate> {
    names(current, async |client| named_in(&client.read(&["runlog", "v1", "collection"], &[]).await?, "/upstreams"))
}

/// The statuses of runs.
pub(crate) fn statuses() -> Vec<CompletionCandidate> {
    RunStatus::ALL.iter().map(|status| CompletionCandidate::new(status_word(*status))).collect()
}

/// The severities of records.
pub(crate) fn severities() -> Vec<CompletionCandidate> {
    Severity::ALL.iter().map(|severity| CompletionCandidate::new(severity.name().to_lowercase())).collect()
}

async fn tasks_named(client: &Client, text: &str) -> Result<Vec<(String, String)>> {
    let mut candidates: Vec<(String, String)> = Vec::new();
    for task in client.tasks(None, None).await? {
        let [environment, workspace, name] = path_of_task(&task);
        let whole = format!("{workspace}/{name}");
        let help = format!("{environment}, {}", task.executable);
        match name.to_lowercase().starts_with(text) {
            true => candidates.push((name.to_owned(), format!("{workspace}, {help}"))),
            false if whole.to_lowercase().starts_with(text) => candidates.push((whole, help)),
            false => {}
        }
    }
    Ok(candidates)
}

async fn workspaces_named(client: &Client, text: &str) -> Result<Vec<(String, String)>> {
    let mut candidates = Vec::new();
    for workspace in client.workspaces().await? {
        let [environment, name] = path_of_workspace(&workspace);
        let whole = format!("{environment}/{name}");
        match name.to_lowercase().starts_with(text) {
            true => candidates.push((name.to_owned(), format!("{environment}, {}", workspace.id))),
            false if whole.to_lowercase().starts_with(text) => candidates.push((whole, workspace.id.to_string())),
            false => {}
        }
    }
    Ok(candidates)
}

async fn runs_beginning(client: &Client, text: &str) -> Result<Vec<(String, String)>> {
    let mut query = vec![("limit", CANDIDATES_MAX.to_string())];
    query.extend(text.parse::<RunIdPrefix>().ok().map(|prefix| ("idPrefix", prefix.to_string())));
    let found = client.runs(&query).await?.items.into_iter();
    let help = |it: &ListedRunBody| {
        format!("{}, {}, {}", it.task_name, status_word(it.run.status), it.run.trigger_timestamp.to_seconds_text())
    };
    let fitting = found.filter(|it| it.run.run_id.to_string().starts_with(text));
    Ok(fitting.map(|it| (it.run.run_id.to_string(), help(&it))).collect())
}

/// The runs whose ID begins with a text, which are not requested if it cannot be the beginning of an ID.
async fn runs_if_digits(client: &Client, text: &str) -> Result<Vec<(String, String)>> {
    let is_digits = !text.is_empty() && text.chars().all(|one| one.is_ascii_hexdigit() || one == '-');
    if is_digits { runs_beginning(client, text).await } else { Ok(Vec::new()) }
}

/// The names of the items of a list in JSON, at this JSON pointer.
fn named_in(json: &[u8], list: &str) -> Result<Vec<(String, String)>> {
    let answer: Value = serde_json::from_slice(json).unwrap_or_default();
    let items = answer.pointer(list).and_then(Value::as_array);
    let names = items.into_iter().flatten().filter_map(|item| item["name"].as_str());
    Ok(names.map(|name| (name.to_owned(), String::new())).collect())
}

/// The names that begin with a text, each with its help.
fn names<F>(current: &OsStr, ask: impl FnOnce(Client) -> F) -> Vec<CompletionCandidate>
where
    F: Future<Output = Result<Vec<(String, String)>>>,
{
    let text = typed(current);
    let mut found = found(ask);
    found.retain(|(name, _)| name.to_lowercase().starts_with(&text));
    shown(found)
}

/// What the service says, with the connection that the environment describes; nothing if it does not say it soon.
fn found<F>(ask: impl FnOnce(Client) -> F) -> Vec<(String, String)>
where
    F: Future<Output = Result<Vec<(String, String)>>>,
{
    let command = ConnectArgs::augment_args(Command::new("runlog"));
    let connect = command
        .try_get_matches_from(["runlog"])
        .ok()
        .and_then(|matches| <ConnectArgs as clap::FromArgMatches>::from_arg_matches(&matches).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(Ok(client)), Ok(runtime)) = (connect.map(|connect| connect.client()), runtime) else { return Vec::new() };
    let answer = runtime.block_on(async { tokio::time::timeout(WAIT_MAX, ask(client)).await });
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

/// Candidates as a shell takes them. A name may contain anything, and must neither control the terminal nor be more than a
/// word of the command line.
fn shown(mut found: Vec<(String, String)>) -> Vec<CompletionCandidate> {
    found.retain(|(value, _)| !value.chars().any(char::is_control));
    found.sort();
    found.truncate(CANDIDATES_MAX);
    let printable = |text: &str| runlog_model::printable::printable_line(text).into_owned();
    let is_bash = SHELL.get().map(String::as_str) == Some("bash");
    let word = |value: String| if is_bash { quoted(&value) } else { value };
    found
        .into_iter()
        .map(|(value, help)| CompletionCandidate::new(word(value)).help(Some(printable(&help).into())))
        .collect()
}

/// A word of bash, which takes candidates as they are; other shells quote them.
fn quoted(value: &str) -> String {
    let needs_none = |c: &char| c.is_alphanumeric() || "_./@%+=,-".contains(*c);
    value.chars().flat_map(|c| [(!needs_none(&c)).then_some('\\'), Some(c)]).flatten().collect()
}

/// What has been typed, in lower case and without the quoting of bash.
fn typed(current: &OsStr) -> String {
    current.to_string_lossy().replace(['\\', '\'', '"'], "").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_one_word_of_bash() {
        assert_eq!(quoted("sales/nightly-orders"), "sales/nightly-orders");
        assert_eq!(quoted("a b$(rm)'größe`;"), "a\\ b\\$\\(rm\\)\\'größe\\`\\;");
        assert_eq!(typed(OsStr::new("Data\\ Eng")), "data eng");
    }
}
