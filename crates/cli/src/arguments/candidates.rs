//! What shells complete: names of tasks and workspaces and IDs of runs, which the service is asked for.

use std::ffi::OsStr;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use runlog_client::{Client, Result};

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
    let found = asked(async |client: Client| {
        let mut candidates: Vec<(String, String)> = Vec::new();
        for task in client.tasks(None, None).await? {
            let [environment, workspace, name] = path_of_task(&task);
            let whole = format!("{workspace}/{name}");
            let help = format!("{environment}, {}", task.executable);
            match name.to_lowercase().starts_with(&text) {
                true => candidates.push((name.to_owned(), format!("{workspace}, {help}"))),
                false if whole.to_lowercase().starts_with(&text) => candidates.push((whole, help)),
                false => {}
            }
        }
        Ok(candidates)
    });
    shown(found)
}

/// Workspaces whose name, or whose name after that of the environment, begins with a text.
pub(crate) fn workspaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    let found = asked(async |client: Client| {
        let mut candidates = Vec::new();
        for place in client.workspaces().await? {
            let [environment, name] = path_of_workspace(&place);
            let whole = format!("{environment}/{name}");
            match name.to_lowercase().starts_with(&text) {
                true => candidates.push((name.to_owned(), format!("{environment}, {}", place.id))),
                false if whole.to_lowercase().starts_with(&text) => candidates.push((whole, place.id.to_string())),
                false => {}
            }
        }
        Ok(candidates)
    });
    shown(found)
}

/// Runs whose ID begins with a text: those of the last time if there is none.
pub(crate) fn runs(current: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed(current);
    let found = asked(async |client: Client| {
        let mut query = vec![("limit", CANDIDATES_MAX.to_string())];
        query.extend(text.parse::<runlog_model::RunIdPrefix>().ok().map(|prefix| ("idPrefix", prefix.to_string())));
        let found = client.runs(&query).await?.items.into_iter();
        let fitting = found.filter(|it| it.run.run_id.to_string().starts_with(&text));
        let help = |it: &runlog_model::wire::overview::ListedRunBody| {
            format!("{}, {}, {}", it.task_name, status_word(it.run.status), it.run.trigger_timestamp.to_seconds_text())
        };
        Ok(fitting.map(|it| (it.run.run_id.to_string(), help(&it))).collect())
    });
    shown(found)
}

/// What the service says, with the connection that the environment describes; nothing if it does not say it soon.
fn asked<F>(ask: impl FnOnce(Client) -> F) -> Vec<(String, String)>
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
