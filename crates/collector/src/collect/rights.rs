//! Tests whether an account has the rights that collecting needs, one by one.

use std::collections::HashSet;

use runlog_client::{
    AuditLogWindow, Client, ErrorKind, Execution, ExecutionFilter, ExecutionScope, HistoryLookup, LiveQuery,
};
use runlog_model::wire::history::HistoryCategory;
use runlog_model::{EnvironmentId, RecordOrder, RunId, TimeRange};

use super::history::is_to_be_completed;
use super::range::Range;

/// Maximum number of scopes, and of tasks in each, with a run whose log is read: rights are granted by workspace.
const SCOPES_MAX: usize = 20;
const TASKS_MAX: usize = 5;

const PLANS: &str = "list plan executions";

const AUDIT_LOGS: &str = "read the audit logs of the tenant";

const HISTORY: &str = "search the history of runs";

const NOT_LISTED: &str = "no runs could be listed";

/// A right that an account needs, and the outcome of its test.
#[derive(Debug)]
pub struct RightTest {
    /// The tested action, such as `list workspaces`.
    pub what: &'static str,
    /// The outcome of the test.
    pub outcome: RightOutcome,
}

/// The outcome of the test of a right.
#[derive(Debug)]
pub enum RightOutcome {
    /// The account has the right; a description of the result.
    Granted(String),
    /// The account has the right, but the result is empty; advice for the user.
    Doubtful(String),
    /// The request failed; if it was refused, the message names the right to grant.
    Failed(runlog_client::Error),
    /// The request failed, but logs can be collected without the right.
    Dispensable {
        /// If the request was refused, the message names the right to grant.
        error: runlog_client::Error,
        /// What is missing in the archive without it.
        missing: &'static str,
    },
    /// There was nothing to try it with.
    Untested(&'static str),
}

/// Tests each right with one request or a few. The runs whose logs are read are those of the range.
pub(super) async fn test_rights(
    client: &Client,
    scopes: &[ExecutionScope],
    tags: &[String],
    range: Range,
    has_components: bool,
) -> Vec<RightTest> {
    let visible = client.workspaces().await;
    let environment = visible.as_ref().ok().and_then(|found| found.first()).map(|first| first.environment.id);
    let places = match visible {
        Ok(found) if found.is_empty() => RightOutcome::Doubtful(
            "none: the account sees no workspace, so nothing would be collected; grant it the rights Author, Viewer and \
             Executor in the workspaces whose logs are to be collected"
                .to_owned(),
        ),
        Ok(found) => RightOutcome::Granted(counted(found.len() as u64, "workspace")),
        // Every further request would fail for the same reason.
        Err(error) if concerns_all_requests(error.kind()) => {
            return vec![RightTest { what: "list workspaces", outcome: RightOutcome::Failed(error) }];
        }
        Err(error) => RightOutcome::Failed(error),
    };
    let ListedRuns { runs, needs_history, outcome: listed } = listed(client, scopes, tags, range).await;
    let is_listed = matches!(listed, RightOutcome::Granted(_));
    let mut tests =
        vec![RightTest { what: "list workspaces", outcome: places }, RightTest { what: "list runs", outcome: listed }];
    let logs = async |run| {
        let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Desc, start_index: 0, count: 1 };
        client.live_page(run, &query).await.map(drop)
    };
    let outcome = if is_listed { of_each(&runs, logs).await } else { RightOutcome::Untested(NOT_LISTED) };
    tests.push(RightTest { what: "read logs", outcome });
    if has_components {
        let components = async |run| client.component_page(run, 0).await.map(drop);
        // Talend Cloud grants it for all workspaces.
        let first = runs.get(..1).unwrap_or_default();
        let outcome = if is_listed { of_each(first, components).await } else { RightOutcome::Untested(NOT_LISTED) };
        tests.push(RightTest { what: "read component metrics", outcome });
    }
    if let (Some(environment), true, [run, ..]) = (environment, needs_history, &runs[..]) {
        tests.push(test_history_right(client, environment, *run, range).await);
    }
    tests
}

/// Tests the right to search the history of the runs of an environment, for a run that may be one of another.
async fn test_history_right(client: &Client, environment_id: EnvironmentId, run: RunId, range: Range) -> RightTest {
    let period = Some((range.from, range.to));
    let lookup = HistoryLookup { environment_id, category: HistoryCategory::Etl, runs: &[run], period };
    let outcome = match client.history(lookup).await {
        Ok(_) => RightOutcome::Granted("it is answered".to_owned()),
        Err(error) => RightOutcome::Dispensable { error, missing: "artifacts, log levels, attempts and plans of runs" },
    };
    RightTest { what: HISTORY, outcome }
}

/// True if a failure does not concern a single right: the service is unavailable, is not the expected one, or rejects
/// the account.
pub(super) fn concerns_all_requests(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::NotFound | ErrorKind::Protocol)
}

/// Tests the right to list plan executions and to read the steps of one.
pub(super) async fn test_plan_rights(client: &Client, scopes: &[ExecutionScope], range: Range) -> RightTest {
    let mut total = 0;
    let mut read = None;
    for scope in scopes.iter().take(SCOPES_MAX) {
        let filter =
            ExecutionFilter { from: Some(range.from), to: Some(range.to), limit: 1, ..ExecutionFilter::default() };
        let page = match client.plan_executions(*scope, &filter).await {
            Ok(page) => page,
            Err(error) => return RightTest { what: PLANS, outcome: RightOutcome::Failed(error) },
        };
        total += page.total.unwrap_or(0).max(page.items.len() as u64);
        read = read.or_else(|| page.items.first().map(|plan| plan.id().to_owned()));
    }
    if let Some(id) = read {
        match client.plan_steps(&id).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return RightTest { what: PLANS, outcome: RightOutcome::Failed(error) },
        }
    }
    RightTest { what: PLANS, outcome: RightOutcome::Granted(counted(total, "plan execution")) }
}

/// Tests the right to read the audit logs of the tenant.
pub(super) async fn test_audit_rights(client: &Client, range: Range) -> RightTest {
    let window = AuditLogWindow { from: range.from, to: range.to, page: 1, size: 1 };
    let outcome = match client.audit_log_page(window).await {
        Ok(page) => match page.total.unwrap_or(page.entries.len() as u64) {
            1 => RightOutcome::Granted("1 entry".to_owned()),
            total => RightOutcome::Granted(format!("{total} entries")),
        },
        Err(error) => RightOutcome::Failed(error),
    };
    RightTest { what: AUDIT_LOGS, outcome }
}

/// What the lists of runs have.
struct ListedRuns {
    /// Ended runs, at most [`TASKS_MAX`] of each scope, each of another task.
    runs: Vec<RunId>,
    /// True if the lists do not have everything of a run.
    needs_history: bool,
    outcome: RightOutcome,
}

async fn listed(client: &Client, scopes: &[ExecutionScope], tags: &[String], range: Range) -> ListedRuns {
    let (mut runs, mut needs_history, mut total) = (Vec::new(), false, 0);
    for scope in scopes.iter().take(SCOPES_MAX) {
        let (from, to) = (Some(range.from), Some(range.to));
        let filter = ExecutionFilter { from, to, tags: tags.to_vec(), limit: 100, ..ExecutionFilter::default() };
        let page = match client.executions(*scope, &filter).await {
            Ok(page) => page,
            Err(error) => return ListedRuns { runs, needs_history, outcome: RightOutcome::Failed(error) },
        };
        total += page.total.unwrap_or(0).max(page.items.len() as u64);
        needs_history |= page.items.iter().any(is_to_be_completed);
        let mut tasks = HashSet::new();
        let ended = page.items.iter().filter(|run| run.is_final());
        let of_tasks = ended.filter(|run| tasks.insert(run.text("taskId").unwrap_or_default().to_owned()));
        runs.extend(of_tasks.take(TASKS_MAX).filter_map(|run: &Execution| run.id().parse::<RunId>().ok()));
    }
    let among = if scopes.len() > SCOPES_MAX {
        format!(" in the first {SCOPES_MAX} selected workspaces or tasks")
    } else {
        String::new()
    };
    ListedRuns { runs, needs_history, outcome: RightOutcome::Granted(counted(total, "run") + &among) }
}

/// Reads something of each run.
async fn of_each(runs: &[RunId], read: impl AsyncFn(RunId) -> runlog_client::Result<()>) -> RightOutcome {
    for run in runs {
        match read(*run).await {
            Ok(()) => {}
            // It has none.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return RightOutcome::Failed(error),
        }
    }
    match runs.len() {
        0 => RightOutcome::Untested("no run has ended recently"),
        count => RightOutcome::Granted(format!("those of {}", counted(count as u64, "run"))),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
