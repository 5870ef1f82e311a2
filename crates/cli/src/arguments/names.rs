//! Runs, tasks, workspaces, environments and users as a person writes them: by ID, by the beginning of an ID, by name, or
//! by the beginning of a name.

use std::fmt::Display;
use std::str::FromStr;

use runlog_client::{Client, ErrorKind, ExecutionFilter, ExecutionScope};
use runlog_model::wire::admin::UserBody;
use runlog_model::wire::workspaces::{EnvironmentBody, TaskItem, WorkspaceBody};
use runlog_model::{EnvironmentId, RunId, RunIdPrefix, TaskId, WorkspaceId};
use runlog_store::Store;
use runlog_store::runs::RunFilter;

use crate::exit::{Exit, Failure, Outcome};

/// Most candidates that an error names.
const CANDIDATES_SHOWN: usize = 10;

/// A run: its ID, or the beginning of one.
#[derive(Debug, Clone)]
pub(crate) enum RunRef {
    /// The whole ID.
    Id(RunId),
    /// At least four digits of it.
    Prefix(RunIdPrefix),
}

/// A run, and a line of its log if one is named: `6c0e5a34#1204`.
#[derive(Debug, Clone)]
pub(crate) struct LineReference {
    pub(crate) run: RunRef,
    /// Counted from 1.
    pub(crate) line: Option<u64>,
}

/// A run or a task: the ID of either, the name of a task, or the beginning of the ID of a run or of the name of a task.
#[derive(Debug, Clone)]
pub(crate) struct RunOrTaskRef(String);

/// A run or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunOrTask {
    Run(RunId),
    Task(TaskId),
}

/// A task: its ID, its name, or its name after that of its workspace, and of its environment: `sales/nightly-orders`.
#[derive(Debug, Clone)]
pub(crate) struct TaskRef(String);

/// A workspace: its ID, its name, or its name after that of its environment: `production/sales`.
#[derive(Debug, Clone)]
pub(crate) struct WorkspaceRef(String);

/// An environment: its ID or its name.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentRef(String);

/// A user: the ID or the name.
#[derive(Debug, Clone)]
pub(crate) struct UserRef(String);

impl RunRef {
    /// The ID; the service is asked only if it is not whole.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<RunId> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Prefix(prefix) => self.find(client).await?.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("no run that you may view has an ID that begins with {prefix}"))
            }),
        }
    }

    /// The ID, or the ID of the only run whose ID begins with this, if there is one.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<Option<RunId>> {
        let prefix = match self {
            Self::Id(id) => return Ok(Some(*id)),
            Self::Prefix(prefix) => prefix,
        };
        let query = [("idPrefix", prefix.to_string()), ("limit", (CANDIDATES_SHOWN + 1).to_string())];
        let found = client.runs(&query).await.map_err(|error| match error.kind() {
            // Another service than a Runlog need not describe the error as the API does.
            ErrorKind::NotFound | ErrorKind::Protocol => {
                Failure::new(Exit::Usage, format!("{prefix}: this service finds runs only by their whole ID (a UUID)"))
            }
            _ => error.into(),
        })?;
        let candidates: Vec<String> = found
            .items
            .iter()
            .map(|it| format!("{} of {}, {}", it.run.run_id, it.task_name, it.run.trigger_timestamp.to_seconds_text()))
            .collect();
        match found.items.as_slice() {
            [run] => Ok(Some(run.run.run_id)),
            [] => Ok(None),
            _ => Err(ambiguous(&format!("{prefix} is the beginning of several IDs"), &candidates)),
        }
    }

    /// The ID in an archive that is open.
    pub(crate) async fn resolve_in(&self, store: &Store) -> Outcome<RunId> {
        let prefix = match self {
            Self::Id(id) => return Ok(*id),
            Self::Prefix(prefix) => prefix,
        };
        let filter = RunFilter {
            id_prefix: Some(prefix.to_string()),
            limit: CANDIDATES_SHOWN as u64 + 1,
            ..RunFilter::default()
        };
        let (runs, _) = store.runs().list(&filter).await?;
        match runs.as_slice() {
            [run] => Ok(run.id),
            [] => {
                let message = format!("no run of this archive has an ID that begins with {prefix}");
                Err(Failure::new(Exit::NotFound, message))
            }
            runs => {
                let candidates: Vec<String> =
                    runs.iter().map(|run| format!("{}, {}", run.id, run.triggered_at.to_seconds_text())).collect();
                Err(ambiguous(&format!("{prefix} is the beginning of several IDs"), &candidates))
            }
        }
    }
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        text.parse()
            .map(Self::Prefix)
            .map_err(|_| format!("{text:?} is neither the ID of a run (a UUID) nor the first 4 or more digits of one"))
    }
}

impl FromStr for LineReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((run, line)) = text.split_once('#') else { return Ok(Self { run: text.parse()?, line: None }) };
        // The colon or hyphen that follows it in the output of `runlog search`, and the letter of a link of the web UI.
        let number = line.trim_end_matches([':', '-']).trim_start_matches('L');
        let number = number.parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| format!("{line:?} is not the number of a line, which is 1 or more"))?;
        Ok(Self { run: run.parse()?, line: Some(number) })
    }
}

impl RunOrTaskRef {
    /// The run or the task. Whole IDs and names take precedence over the beginning of others.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<RunOrTask> {
        if let Ok(run) = self.0.parse() {
            return Ok(RunOrTask::Run(run));
        }
        if let Ok(task) = self.0.parse() {
            return Ok(RunOrTask::Task(task));
        }
        let task = TaskRef(self.0.clone());
        let tasks = task.candidates(client).await?;
        if let Some(task) = task.find_in(&tasks)? {
            return Ok(RunOrTask::Task(task));
        }
        if let Ok(prefix) = self.0.parse()
            && let Some(run) = RunRef::Prefix(prefix).find(client).await?
        {
            return Ok(RunOrTask::Run(run));
        }
        task.find_abbreviated_in(&tasks)?.map(RunOrTask::Task).ok_or_else(|| {
            let message = format!(
                "no task that you may view has a name that begins with {0:?}, and no run has an ID that begins with {0:?}; \
                 `runlog tasks` and `runlog runs` list them",
                self.0
            );
            Failure::new(Exit::NotFound, message)
        })
    }
}

/// The newest run of a task. `NotFound`: it has none.
pub(crate) async fn newest_run(client: &Client, task: TaskId) -> Outcome<RunId> {
    let filter = ExecutionFilter { limit: 1, ..ExecutionFilter::default() };
    let newest = client.executions(ExecutionScope::Task(task), &filter).await?.items.into_iter().next();
    let newest = newest.ok_or_else(|| Failure::new(Exit::NotFound, "this task has no run that you may view"))?;
    let run = newest.id().parse();
    run.map_err(|error| Failure::new(Exit::Refused, format!("the service's list of runs: {error}")))
}

impl TaskRef {
    /// The ID; the service is asked only for a name.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<TaskId> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => {
                self.find(client).await?.ok_or_else(|| self.not_found(", and `runlog admin tasks create` creates one"))
            }
        }
    }

    /// The ID; the beginning of a name will do if it is of only one task. For commands that change nothing.
    pub(crate) async fn resolve_abbreviated(&self, client: &Client) -> Outcome<TaskId> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => self.find_abbreviated(client).await?.ok_or_else(|| self.not_found("")),
        }
    }

    fn not_found(&self, more: &str) -> Failure {
        let name = &self.0;
        let message = format!("no task that you may view is named {name:?}; `runlog tasks` lists them{more}");
        Failure::new(Exit::NotFound, message)
    }

    /// The ID of the task with this name, if there is one.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<Option<TaskId>> {
        self.find_in(&self.candidates(client).await?)
    }

    /// The same, or else the ID of the only task whose name begins with this, if there is one.
    pub(crate) async fn find_abbreviated(&self, client: &Client) -> Outcome<Option<TaskId>> {
        let tasks = self.candidates(client).await?;
        match self.find_in(&tasks)? {
            Some(task) => Ok(Some(task)),
            None => self.find_abbreviated_in(&tasks),
        }
    }

    fn find_abbreviated_in(&self, tasks: &[TaskItem]) -> Outcome<Option<TaskId>> {
        let found = tasks.iter().map(|task| (task.executable, path_of_task(task)));
        let found: Vec<_> = found.filter(|(_, path)| is_abbreviated(&self.0, path)).collect();
        the_only(&format!("tasks whose name begins with {:?}", self.0), &found)
    }

    fn find_in(&self, tasks: &[TaskItem]) -> Outcome<Option<TaskId>> {
        let found = tasks.iter().map(|task| (task.executable, path_of_task(task)));
        the_one("tasks", &self.0, found.filter(|(_, path)| is_named(&self.0, path)).collect())
    }

    /// The tasks whose name begins with this, or with what follows a slash in it, in order of their paths.
    async fn candidates(&self, client: &Client) -> Outcome<Vec<TaskItem>> {
        // Services filter by the beginning of the name, which may contain the separator as well.
        let ends = std::iter::once(0).chain(self.0.match_indices('/').map(|(at, _)| at + 1));
        let mut tasks = Vec::new();
        for name in ends.map(|begin| &self.0[begin..]).filter(|name| !name.is_empty()) {
            tasks.extend(client.tasks(None, Some(name)).await?);
        }
        tasks.sort_by(|a, b| path_of_task(a).cmp(&path_of_task(b)).then_with(|| a.executable.cmp(&b.executable)));
        tasks.dedup_by(|a, b| a.executable == b.executable);
        Ok(tasks)
    }
}

impl WorkspaceRef {
    /// The ID; the service is asked only for a name.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<WorkspaceId> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => self
                .find(client)
                .await?
                .ok_or_else(|| self.not_found(", and `runlog admin workspaces create` creates one")),
        }
    }

    /// The ID; the beginning of a name will do if it is of only one workspace. For commands that change nothing.
    pub(crate) async fn resolve_abbreviated(&self, client: &Client) -> Outcome<WorkspaceId> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => self.find_abbreviated(client).await?.ok_or_else(|| self.not_found("")),
        }
    }

    fn not_found(&self, more: &str) -> Failure {
        let name = &self.0;
        let message = format!("no workspace that you may view is named {name:?}; `runlog workspaces` lists them{more}");
        Failure::new(Exit::NotFound, message)
    }

    /// The ID in an archive that is open.
    pub(crate) async fn resolve_in(&self, store: &Store) -> Outcome<WorkspaceId> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        let mut places = store.workspaces().list().await?;
        places.retain(|place| is_named(&self.0, &[&place.environment.name, &place.name]));
        let found = places.iter().map(|place| (place.id, [place.environment.name.as_str(), place.name.as_str()]));
        the_one("workspaces", &self.0, found.collect())?.ok_or_else(|| {
            let message =
                format!("no workspace of this archive is named {:?}; `runlog archive stats` lists them", self.0);
            Failure::new(Exit::NotFound, message)
        })
    }

    /// The workspace, as the service has it.
    pub(crate) async fn body(&self, client: &Client) -> Outcome<WorkspaceBody> {
        let id = self.resolve(client).await?;
        let found = client.workspaces().await?.into_iter().find(|place| place.id == id);
        found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no workspace {id}")))
    }

    /// The ID of the workspace with this name, if there is one.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<Option<WorkspaceId>> {
        self.find_in(&client.workspaces().await?)
    }

    /// The same, or else the ID of the only workspace whose name begins with this, if there is one.
    pub(crate) async fn find_abbreviated(&self, client: &Client) -> Outcome<Option<WorkspaceId>> {
        let workspaces = client.workspaces().await?;
        if let Some(id) = self.find_in(&workspaces)? {
            return Ok(Some(id));
        }
        let found = workspaces.iter().map(|workspace| (workspace.id, path_of_workspace(workspace)));
        let found: Vec<_> = found.filter(|(_, path)| is_abbreviated(&self.0, path)).collect();
        the_only(&format!("workspaces whose name begins with {:?}", self.0), &found)
    }

    fn find_in(&self, workspaces: &[WorkspaceBody]) -> Outcome<Option<WorkspaceId>> {
        let found = workspaces.iter().map(|workspace| (workspace.id, path_of_workspace(workspace)));
        the_one("workspaces", &self.0, found.filter(|(_, path)| is_named(&self.0, path)).collect())
    }
}

impl EnvironmentRef {
    /// The ID; the service is asked only for a name.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<EnvironmentId> {
        match self.0.parse() {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.find(client).await?.id),
        }
    }

    /// The environment, as the service has it.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<EnvironmentBody> {
        let known = client.environments().await?;
        let id = match self.0.parse() {
            Ok(id) => Some(id),
            Err(_) => {
                let named = known.iter().filter(|it| is_named(&self.0, &[&it.name]));
                the_one("environments", &self.0, named.map(|it| (it.id, [it.name.as_str()])).collect())?
            }
        };
        known.into_iter().find(|it| Some(it.id) == id).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("no environment has the ID or name {:?}; `runlog admin environments list` lists them", self.0),
            )
        })
    }
}

impl UserRef {
    /// The ID; the service is asked only for a name. Only administrators may list users, and each user may give the own
    /// ID.
    pub(crate) async fn resolve(&self, client: &Client) -> Outcome<String> {
        match self.0.parse::<uuid::Uuid>() {
            Ok(_) => Ok(self.0.clone()),
            Err(_) => Ok(self.find(client).await?.id),
        }
    }

    /// The user, as the service has it. An ID takes precedence over a name.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<UserBody> {
        let known = client.users().await?;
        let id = match known.iter().find(|it| it.id == self.0) {
            Some(user) => Some(user.id.as_str()),
            None => {
                let named = known.iter().filter(|it| is_named(&self.0, &[&it.name]));
                the_one("users", &self.0, named.map(|it| (it.id.as_str(), [it.name.as_str()])).collect())?
            }
        };
        known.iter().find(|it| Some(it.id.as_str()) == id).cloned().ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("no user has the ID or name {:?}; `runlog admin users list` lists them", self.0),
            )
        })
    }
}

impl FromStr for EnvironmentRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self)
    }
}

impl FromStr for UserRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self)
    }
}

impl FromStr for RunOrTaskRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self)
    }
}

impl FromStr for TaskRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self)
    }
}

impl FromStr for WorkspaceRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        not_empty(text).map(Self)
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; give an ID or a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Environment, workspace, task.
pub(super) fn path_of_task(task: &TaskItem) -> [&str; 3] {
    [&task.workspace.environment.name, &task.workspace.name, &task.name]
}

/// Environment, workspace.
pub(super) fn path_of_workspace(place: &WorkspaceBody) -> [&str; 2] {
    [&place.environment.name, &place.name]
}

/// The only one of those with a name, or of those with it to the letter, each an ID and a path; none if there are none.
///
/// `Usage`: there are several.
fn the_one<I: Copy + Display, const N: usize>(
    what: &str,
    text: &str,
    mut found: Vec<(I, [&str; N])>,
) -> Outcome<Option<I>> {
    if found.iter().any(|(_, path)| is_named_exactly(text, path)) {
        found.retain(|(_, path)| is_named_exactly(text, path));
    }
    the_only(&format!("{what} named {text:?}"), &found)
}

/// The only one, each an ID and a path; none if there are none.
///
/// `Usage`: there are several.
fn the_only<I: Copy + Display, const N: usize>(description: &str, found: &[(I, [&str; N])]) -> Outcome<Option<I>> {
    match found {
        [] => Ok(None),
        [(id, _)] => Ok(Some(*id)),
        _ => {
            let candidates: Vec<_> = found.iter().map(|(id, path)| format!("{id}  {}", path.join("/"))).collect();
            Err(ambiguous(&format!("there are several {description}"), &candidates))
        }
    }
}

/// True when a text is the last names of a path, in any case, of which the very last may be cut short.
fn is_abbreviated(text: &str, path: &[&str]) -> bool {
    let (text, Some(name)) = (text.to_lowercase(), path.last()) else { return false };
    let name = name.to_lowercase();
    (0..path.len()).any(|first| {
        let whole = path[first..].join("/").to_lowercase();
        let before_name = whole.len() - name.len();
        text.len() > before_name && whole.starts_with(&text)
    })
}

/// True when a text is the last names of a path, in any case.
fn is_named(text: &str, path: &[&str]) -> bool {
    let text = text.to_lowercase();
    (0..path.len()).any(|first| path[first..].join("/").to_lowercase() == text)
}

fn is_named_exactly(text: &str, path: &[&str]) -> bool {
    (0..path.len()).any(|first| path[first..].join("/") == text)
}

/// `Usage`: the candidates, as lines.
fn ambiguous(what: &str, candidates: &[String]) -> Failure {
    let mut message = format!("{what}; use an ID or a full path:");
    for candidate in candidates.iter().take(CANDIDATES_SHOWN) {
        message += &format!("\n  {candidate}");
    }
    if candidates.len() > CANDIDATES_SHOWN {
        message += "\n  …";
    }
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_the_end_of_its_path() {
        let path = ["production", "sales", "nightly/orders"];
        for text in ["nightly/orders", "sales/nightly/orders", "Production/Sales/Nightly/Orders"] {
            assert!(is_named(text, &path), "{text}");
        }
        for text in ["orders", "production/sales", "es/nightly/orders", ""] {
            assert!(!is_named(text, &path), "{text}");
        }
        assert!(is_named_exactly("sales/nightly/orders", &path) && !is_named_exactly("Nightly/orders", &path));
    }

    #[test]
    fn the_name_of_a_task_may_be_cut_short_and_those_before_it_may_not() {
        let path = ["production", "sales", "nightly-orders"];
        for text in ["nightly", "N", "sales/nightly-o", "production/sales/nightly-orders"] {
            assert!(is_abbreviated(text, &path), "{text}");
        }
        for text in ["orders", "sales", "sales/", "sal/nightly", "production/sales", ""] {
            assert!(!is_abbreviated(text, &path), "{text}");
        }
    }

    #[test]
    fn a_run_is_named_by_its_id_or_the_beginning_of_it() {
        assert!(matches!("6c0e5a34-0000-4000-8000-000000000001".parse(), Ok(RunRef::Id(_))));
        for text in ["6c0e", "6C0E5A34", "6c0e5a34-", "6c0e5a34-00", "6c0e5a340000"] {
            assert!(matches!(text.parse(), Ok(RunRef::Prefix(_))), "{text}");
        }
        for text in ["", "6c0", "nightly", "6c0e5a34-0000-4000-8000-0000000000011"] {
            assert!(text.parse::<RunRef>().is_err(), "{text}");
        }
    }
}
