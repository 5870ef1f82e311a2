//! The labels of streams, and which workspaces, tasks, runs and severities a selector asks for.
//!
//! A selector is evaluated on the workspaces and tasks that the caller may read, before anything else is read. What it
//! leaves over restricts the query of the catalog where it can, and is checked for each run in any case.

use std::collections::HashMap;
use std::sync::Arc;

use runlog_logql::{Category, LabelSet, Labels, MatchOp, Matcher};
use runlog_model::{RunId, Severity, TaskId, WorkspaceId};
use runlog_store::accounts::Caller;
use runlog_store::query::{ScanRun, StreamFigures};
use runlog_store::workspaces::TaskFilter;

use crate::app::App;
use crate::auth::rights;
use crate::http::error::{ApiError, ApiResult};

/// The labels of a stream.
pub(super) const STREAM_LABELS: [&str; 6] = ["environment", "service_name", "severity", "status", "task", "workspace"];

/// Maximum number of tasks of the workspaces of a query whose names are loaded.
const TASKS_MAX: u64 = 50_000;

/// Maximum length of a name by which tasks are looked up. Unit: bytes.
const NAME_PART_BYTES_MAX: usize = 200;

/// Maximum number of runs that a selector names for a query of the catalog by ID; with more, each run is checked.
pub(super) const RUN_IDS_MAX: usize = 500;

/// Maximum number of tasks for a query of the catalog for their runs; with more, each run is checked.
const TASK_IDS_MAX: usize = 500;

/// The names of workspaces and tasks.
#[derive(Debug, Default)]
pub(super) struct TaskNames {
    workspaces: HashMap<String, WorkspaceNames>,
    tasks: HashMap<String, String>,
}

#[derive(Debug)]
struct WorkspaceNames {
    name: String,
    environment: String,
    environment_id: String,
}

/// The runs and records that a selector matches.
#[derive(Debug, Clone)]
pub(super) struct SelectedRuns {
    pub(super) task_names: Arc<TaskNames>,
    matchers: Arc<[Matcher]>,
    pub(super) workspace_ids: Option<Vec<WorkspaceId>>,
    pub(super) task_ids: Option<Vec<TaskId>>,
    pub(super) run_ids: Option<Vec<RunId>>,
    pub(super) severities: Option<Vec<Severity>>,
}

/// The names that a selector can compare although they are not labels of the stream.
const SELECTABLE: [&str; 5] = ["detected_level", "environment_id", "run_id", "task_id", "workspace_id"];

/// The level of a severity, as Grafana shows it.
pub(super) fn level_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Other => "unknown",
        Severity::Trace => "trace",
        Severity::Debug => "debug",
        Severity::Info => "info",
        Severity::Warn => "warn",
        Severity::Error => "error",
        Severity::Fatal => "fatal",
    }
}

impl SelectedRuns {
    /// Evaluates a selector with the rights of a caller.
    pub(super) async fn new(app: &App, caller: &Caller, matchers: &[Matcher]) -> ApiResult<Self> {
        let readable = rights::readable_workspaces(app.store(), caller).await?;
        let mut workspaces = app.store().workspaces().list().await?;
        workspaces.retain(|workspace| readable.as_ref().is_none_or(|readable| readable.contains(&workspace.id)));
        let names = |workspace: &runlog_model::workspaces::Workspace| WorkspaceNames {
            name: workspace.name.clone(),
            environment: workspace.environment.name.clone(),
            environment_id: workspace.environment.id.to_string(),
        };
        let mut task_names = TaskNames {
            workspaces: workspaces.iter().map(|workspace| (workspace.id.to_string(), names(workspace))).collect(),
            tasks: HashMap::new(),
        };
        let of = |labels: &[&str]| matchers.iter().filter(|m| labels.contains(&m.name.as_str())).collect::<Vec<_>>();
        let by_workspace = of(&["environment", "environment_id", "workspace", "workspace_id"]);
        let by_task = of(&["task", "service_name", "task_id"]);
        let is_unknown = |name: &str| !STREAM_LABELS.contains(&name) && !SELECTABLE.contains(&name);
        // A label that no stream has is empty.
        let is_impossible = matchers.iter().any(|matcher| is_unknown(&matcher.name) && !matcher.fits(""));
        let mut workspace_ids = readable;
        if is_impossible {
            workspace_ids = Some(Vec::new());
        } else if !by_workspace.is_empty() {
            workspaces.retain(|workspace| {
                let value = |name: &str| task_names.of_workspace(&workspace.id.to_string(), name);
                by_workspace.iter().all(|matcher| matcher.fits(value(&matcher.name)))
            });
            workspace_ids = Some(workspaces.iter().map(|workspace| workspace.id).collect());
        }
        let name = by_task.iter().find(|matcher| matcher.name != "task_id" && matcher.op == MatchOp::Equal);
        let filter = TaskFilter {
            workspace_ids: workspace_ids.clone(),
            // Those that begin with it: whether they are equal is checked below.
            name: name.map(|matcher| matcher.value.clone()).filter(|name| is_name_part(name)),
            limit: TASKS_MAX,
            ..TaskFilter::default()
        };
        let (tasks, total) = app.store().workspaces().tasks(&filter).await?;
        if total > TASKS_MAX {
            return Err(ApiError::invalid(format!(
                "the query is about workspaces with {total} tasks, more than {TASKS_MAX}; select a workspace, or a task by \
                 its name"
            )));
        }
        task_names.tasks = tasks.iter().map(|task| (task.id.to_string(), task.name.clone())).collect();
        let mut task_ids = None;
        if !by_task.is_empty() {
            let fits = |task: &&runlog_model::workspaces::Task| {
                by_task.iter().all(|matcher| match matcher.name.as_str() {
                    "task_id" => matcher.fits(&task.id.to_string()),
                    _ => matcher.fits(&task.name),
                })
            };
            let ids: Vec<TaskId> = tasks.iter().filter(fits).map(|task| task.id).collect();
            task_ids = (ids.len() <= TASK_IDS_MAX).then_some(ids);
        }
        let run_ids = named_runs(matchers);
        let by_severity = of(&["severity", "detected_level"]);
        let mut severities = None;
        if !by_severity.is_empty() {
            let fits = |severity: &Severity| {
                by_severity.iter().all(|matcher| match matcher.name.as_str() {
                    "severity" => matcher.fits(severity.name()),
                    _ => matcher.fits(level_of(*severity)),
                })
            };
            severities = Some(Severity::ALL.into_iter().filter(fits).collect());
        }
        let matchers = matchers.to_vec().into();
        Ok(Self { task_names: Arc::new(task_names), matchers, workspace_ids, task_ids, run_ids, severities })
    }

    /// False if the selector restricts the IDs of runs without naming them, so that the catalog cannot be queried by
    /// ID.
    pub(super) fn is_of_named_runs(&self) -> bool {
        let is_any = |matcher: &Matcher| {
            let any = (matcher.op, matcher.value.as_str());
            matches!(any, (MatchOp::Matches, ".+" | ".*") | (MatchOp::NotEqual, ""))
        };
        self.run_ids.is_some() || self.matchers.iter().all(|matcher| matcher.name != "run_id" || is_any(matcher))
    }

    /// True for the runs that the selector asks for.
    pub(super) fn wants_run(&self, run: &ScanRun<'_>) -> bool {
        self.matchers.iter().all(|matcher| match matcher.name.as_str() {
            "severity" | "detected_level" => true,
            name => matcher.fits(self.task_names.of_run(run, name)),
        })
    }

    /// The streams of runs of a task that the selector asks for: one for each severity, with its share of the records.
    pub(super) fn streams_of<'f>(
        &'f self,
        figures: &'f StreamFigures,
    ) -> impl Iterator<Item = (Labels, f64)> + use<'f> {
        let (task_id, workspace_id) = (figures.task_id.to_string(), figures.workspace_id.to_string());
        let run = ScanRun { run_id: "", task_id: &task_id, workspace_id: &workspace_id, status: &figures.status };
        let is_wanted = figures.records > 0.0
            && self.matchers.iter().all(|matcher| match matcher.name.as_str() {
                // The query of the catalog has selected these.
                "severity" | "detected_level" | "run_id" => true,
                "task" | "service_name" => matcher.fits(&figures.task_name),
                name => matcher.fits(self.task_names.of_run(&run, name)),
            });
        #[expect(clippy::cast_precision_loss, reason = "a share of the records")]
        let total = figures.severities.total().max(1) as f64;
        let severities = Severity::ALL.into_iter().filter(move |severity| {
            is_wanted
                && figures.severities.of(*severity) > 0
                && self.severities.as_ref().is_none_or(|wanted| wanted.contains(severity))
        });
        let common: Vec<(&'static str, String)> = ["environment", "workspace", "status"]
            .into_iter()
            .map(|name| (name, self.task_names.of_run(&run, name).to_owned()))
            .chain(["task", "service_name"].map(|name| (name, figures.task_name.clone())))
            .collect();
        severities.map(move |severity| {
            let pairs = common.iter().map(|(name, value)| (*name, value.as_str()));
            #[expect(clippy::cast_precision_loss, reason = "a share of the records")]
            let share = figures.severities.of(severity) as f64 / total;
            (Labels::new(pairs.chain([("severity", severity.name())])), share)
        })
    }
}

/// The runs that a selector names; none when it names none, or too many.
fn named_runs(matchers: &[Matcher]) -> Option<Vec<RunId>> {
    let of_run = || matchers.iter().filter(|matcher| matcher.name == "run_id");
    let mut named: Vec<RunId> = of_run().find_map(|matcher| match matcher.op {
        // A text that is not an ID matches no run.
        MatchOp::Equal => Some(matcher.value.parse().into_iter().collect()),
        // As Grafana writes several values of a variable.
        MatchOp::Matches => matcher.value.split('|').map(|id| id.parse().ok()).collect(),
        MatchOp::NotEqual | MatchOp::NotMatches => None,
    })?;
    named.retain(|id| {
        let id = id.to_string();
        of_run().all(|matcher| matcher.fits(&id))
    });
    Some(named).filter(|named| named.len() <= RUN_IDS_MAX)
}

impl TaskNames {
    fn of_workspace(&self, workspace_id: &str, label: &str) -> &str {
        let Some((id, names)) = self.workspaces.get_key_value(workspace_id) else { return "" };
        match label {
            "workspace" => &names.name,
            "workspace_id" => id,
            "environment" => &names.environment,
            "environment_id" => &names.environment_id,
            _ => "",
        }
    }

    /// The value of a label of a run, without those of its records.
    fn of_run<'r>(&'r self, run: &ScanRun<'r>, label: &str) -> &'r str {
        match label {
            "task" | "service_name" => self.tasks.get(run.task_id).map_or("", String::as_str),
            "task_id" => run.task_id,
            "run_id" => run.run_id,
            "status" => run.status,
            _ => self.of_workspace(run.workspace_id, label),
        }
    }

    /// Adds the labels of a stream that are needed.
    pub(super) fn push_stream<'r>(
        &'r self,
        labels: &mut LabelSet<'r>,
        run: &ScanRun<'r>,
        severity: Severity,
        needs: impl Fn(&str) -> bool,
    ) {
        for name in STREAM_LABELS.into_iter().filter(|name| needs(name)) {
            let value = if name == "severity" { severity.name() } else { self.of_run(run, name) };
            labels.push(name, value, Category::Stream);
        }
    }
}

/// True for a text by which the archive finds tasks: it takes none that is long, and databases have no NUL.
fn is_name_part(name: &str) -> bool {
    (1..=NAME_PART_BYTES_MAX).contains(&name.len()) && name.is_ascii() && !name.contains('\0')
}
