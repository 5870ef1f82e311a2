//! The tasks of an upstream, with their workspaces and environments.

use std::collections::{HashMap, HashSet};

use runlog_client::{ErrorKind, Execution, TaskDescription};
use runlog_model::wire::workspaces::TaskItem;
use runlog_model::workspaces::{Environment, Task, Workspace};
use runlog_model::{EnvironmentId, Random, TaskId, Timestamp, WorkspaceId};
use runlog_store::workspaces::Workspaces;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tracing::{debug, warn};

use super::error::{CollectError, Result};
use super::upstream::Upstream;
use crate::glob;

/// Minimum time between two attempts to find an unknown task in the list of tasks. Unit: milliseconds.
const MISSED_MS: i64 = 300_000;
/// How long the description of a task is used before it is requested again. Unit: milliseconds.
const DESCRIPTION_FRESH_MS: i64 = 3_600_000;

/// The known tasks of an upstream.
#[derive(Default)]
pub(super) struct KnownTasks(Mutex<Tasks>);

/// The tasks of an upstream that it has listed.
#[derive(Default)]
struct Tasks {
    /// All tasks that were ever listed: the last runs of a deleted task may land after its deletion.
    shown: HashMap<TaskId, TaskItem>,
    /// Tasks that no longer exist in the upstream.
    gone: HashSet<TaskId>,
    /// When the description of a task was requested last.
    described: HashMap<TaskId, Timestamp>,
    /// When tasks were last searched for without success.
    missed: HashMap<TaskId, Timestamp>,
    /// When the list could not be read.
    refused_at: Option<Timestamp>,
}

/// The ID of the task of a run, as the upstream gives it.
pub(super) fn task_text(run: &Execution) -> &str {
    run.text("taskId").or_else(|| run.text("jobId")).unwrap_or_default()
}

impl KnownTasks {
    /// The tasks whose names match one of the patterns, from a new list and from earlier ones; with each, whether it
    /// still exists in the upstream.
    pub(super) async fn named(&self, patterns: &[String], listed: Vec<TaskItem>) -> Vec<(TaskId, bool)> {
        let mut known = self.0.lock().await;
        known.learn(listed);
        let matches = |task: &&TaskItem| patterns.iter().any(|pattern| glob::matches(&task.name, pattern));
        let tasks = known.shown.values().filter(matches).map(|task| task.executable);
        tasks.map(|task| (task, !known.gone.contains(&task))).collect()
    }

    /// Stops listing the runs of a task that was selected by its name, until the upstream lists the task again.
    pub(super) async fn stop_listing_task(&self, task: TaskId) {
        match self.0.lock().await.gone.insert(task) {
            true => warn!(task.id = %task, "the upstream no longer knows a task and its runs"),
            false => debug!(task.id = %task, "the upstream still does not know a task"),
        }
    }

    /// Creates or updates the task of a run in the archive, with its workspace and environment. A task that the
    /// upstream does not list is not changed; if it is new, its ID becomes its name, in a workspace with the name of
    /// the upstream.
    pub(super) async fn upsert_task_of_run(
        &self,
        workspaces: &Workspaces,
        upstream: &Upstream,
        run: &Execution,
    ) -> Result<TaskId> {
        let text = task_text(run);
        let id: TaskId = text.parse().map_err(|_| CollectError::BadRun {
            run: run.id().to_owned(),
            what: format!("its task ID {text:?} is not 24 hexadecimal digits"),
        })?;
        match self.shown(upstream, id).await {
            Some(item) => workspaces.upsert_task(&task(item, run)).await?,
            None => {
                let is_new = workspaces.task(id).await?.is_none();
                if is_new {
                    workspaces.upsert_task(&nameless(upstream, id)).await?;
                }
            }
        }
        Ok(id)
    }

    /// Records what the upstream returns only for a single task: its description, version and tags. It is requested
    /// once an hour; without it, the task stays as it is.
    ///
    /// An error is one of the upstream.
    pub(super) async fn describe_task(
        &self,
        workspaces: &Workspaces,
        upstream: &Upstream,
        run: &Execution,
    ) -> runlog_client::Result<()> {
        let (Ok(id), now) = (task_text(run).parse::<TaskId>(), upstream.client.clock().now()) else { return Ok(()) };
        if !self.0.lock().await.is_to_be_described(id, now) {
            return Ok(());
        }
        let description = match upstream.client.task_description(id).await {
            Ok(description) => description,
            // The task was deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Err(error) = self.record_description(workspaces, upstream, run, &description).await {
            let error: &dyn std::error::Error = &error;
            warn!(upstream = upstream.name, task.id = %id, error, "the description of a task cannot be stored");
        }
        Ok(())
    }

    async fn record_description(
        &self,
        workspaces: &Workspaces,
        upstream: &Upstream,
        run: &Execution,
        description: &TaskDescription,
    ) -> Result<()> {
        let id = self.upsert_task_of_run(workspaces, upstream, run).await?;
        let TaskDescription { version, description, tags } = description;
        Ok(workspaces.describe_task(id, version.as_deref(), description.as_deref(), tags).await?)
    }

    /// The environment of a task, if the upstream lists the task.
    pub(super) async fn environment_of(&self, upstream: &Upstream, id: TaskId) -> Option<EnvironmentId> {
        self.shown(upstream, id).await.map(|item| item.workspace.environment.id)
    }

    /// A task as listed by the upstream.
    async fn shown(&self, upstream: &Upstream, id: TaskId) -> Option<TaskItem> {
        let now = upstream.client.clock().now();
        let may_be_listed_now = self.0.lock().await.may_be_listed_now(id, now);
        if may_be_listed_now {
            let listed = upstream.client.tasks(None, None).await;
            let mut tasks = self.0.lock().await;
            match listed {
                Ok(listed) => {
                    tasks.learn(listed);
                    tasks.miss(id, now);
                }
                Err(error) => {
                    // A missing name is no reason to lose a log.
                    warn!(
                        upstream = upstream.name,
                        error = &error as &dyn std::error::Error,
                        "the upstream does not list its tasks: the names of new tasks are unknown"
                    );
                    tasks.refused_at = Some(now);
                }
            }
        }
        self.0.lock().await.shown.get(&id).cloned()
    }
}

impl Tasks {
    fn learn(&mut self, listed: Vec<TaskItem>) {
        self.refused_at = None;
        for item in listed {
            self.gone.remove(&item.executable);
            self.shown.insert(item.executable, item);
        }
    }

    /// Records that a task was searched for without success.
    fn miss(&mut self, id: TaskId, now: Timestamp) {
        self.missed.retain(|_, at| is_recent(*at, now, MISSED_MS));
        if !self.shown.contains_key(&id) {
            self.missed.insert(id, now);
        }
    }

    /// True if the description of the task is to be requested now, which is recorded.
    fn is_to_be_described(&mut self, id: TaskId, now: Timestamp) -> bool {
        if self.described.get(&id).is_some_and(|at| is_recent(*at, now, DESCRIPTION_FRESH_MS)) {
            return false;
        }
        self.described.insert(id, now);
        true
    }

    /// True if the task may appear in the list when it is read now.
    fn may_be_listed_now(&self, id: TaskId, now: Timestamp) -> bool {
        let was_missed = self.missed.get(&id).is_some_and(|at| is_recent(*at, now, MISSED_MS));
        let was_refused = self.refused_at.is_some_and(|at| is_recent(at, now, MISSED_MS));
        !self.shown.contains_key(&id) && !was_missed && !was_refused
    }
}

fn is_recent(at: Timestamp, now: Timestamp, within_ms: i64) -> bool {
    (0..within_ms).contains(&now.millis_since(at))
}

/// A listed task, in the form of the archive.
fn task(item: TaskItem, run: &Execution) -> Task {
    let TaskItem { executable, name, workspace } = item;
    let environment = workspace.environment;
    let environment = Environment {
        id: environment.id,
        name: environment.name,
        description: environment.description,
        is_default: environment.default,
    };
    Task {
        id: executable,
        name,
        version: run.text("taskVersion").or_else(|| run.text("jobVersion")).unwrap_or("1.0").to_owned(),
        description: None,
        tags: Vec::new(),
        workspace: Workspace {
            id: workspace.id,
            name: workspace.name,
            description: workspace.description,
            owner: workspace.owner,
            environment,
        },
    }
}

/// The workspace for tasks that the upstream does not list.
fn nameless(upstream: &Upstream, id: TaskId) -> Task {
    let environment = Environment {
        id: EnvironmentId::random(&DeterministicRandom(&upstream.name)),
        name: upstream.name.clone(),
        description: None,
        is_default: false,
    };
    let workspace = Workspace {
        id: WorkspaceId::random(&DeterministicRandom(&upstream.name)),
        environment,
        name: upstream.name.clone(),
        description: Some("tasks that the upstream does not show".to_owned()),
        owner: upstream.name.clone(),
    };
    Task { id, workspace, name: id.to_string(), version: "1.0".to_owned(), description: None, tags: Vec::new() }
}

/// Derives IDs that are unique and stable.
struct DeterministicRandom<'a>(&'a str);

impl Random for DeterministicRandom<'_> {
    fn fill(&self, bytes: &mut [u8]) {
        let digest = Sha256::digest(self.0);
        bytes.iter_mut().zip(digest.iter().cycle()).for_each(|(byte, made)| *byte = *made);
    }
}
