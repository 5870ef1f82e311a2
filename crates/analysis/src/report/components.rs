//! The components of a run: what each read and wrote, compared with the last successful run, and their throughput in
//! the last runs of a task.

use std::collections::{BTreeMap, HashMap};

use runlog_model::wire::components::{ComponentMetric, RunComponents};
use runlog_model::{Run, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_store::Result;
use runlog_store::components::Components;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Maximum number of components of a report.
const COMPONENTS_SHOWN_MAX: usize = 200;

/// Maximum number of findings of a report.
const FINDINGS_SHOWN_MAX: usize = 20;

/// Number of runs of which the report on a task shows the throughput.
const TASK_RUNS_MAX: u64 = 30;

/// Maximum number of components in the report on a task, those that took longest.
const TASK_COMPONENTS_MAX: usize = 30;

/// A number of rows counts as different if one is this many times the other …
const ROWS_TIMES_MIN: u64 = 2;

/// … and they differ by at least this number.
const ROWS_DIFFERENCE_MIN: u64 = 100;

/// Maximum length of the text of an error. Unit: characters.
const ERROR_CHARS_MAX: usize = 500;

/// Metrics of the components of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentsPart {
    /// Number of rejected rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_rejected: Option<u64>,
    /// The run with which the components are compared: the last successful run, or else the previous one; absent if no
    /// earlier run has component metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<ComponentsAgainst>,
    /// What is conspicuous, most important first.
    pub findings: Vec<ComponentFinding>,
    /// The components: those that failed or rejected rows first, then those with a different number of rows, then the
    /// slowest; at most 200.
    pub components: Vec<ComponentRow>,
    /// Number of components.
    pub total: u64,
}

/// The run with which components are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentsAgainst {
    /// The run.
    pub run_id: RunId,
    /// True if it was successful.
    pub is_good: bool,
    /// When it was triggered.
    pub triggered_at: Timestamp,
}

/// Something conspicuous about a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentFinding {
    /// The component.
    pub connector_id: String,
    /// What is conspicuous.
    pub change: ComponentChange,
    /// The same as a sentence.
    pub text: String,
}

/// How a component differs from the same one in the other run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ComponentChange {
    /// It failed.
    Failed,
    /// It has no rows, and had some.
    NoRows,
    /// It has far fewer rows.
    FewerRows,
    /// It has far more rows.
    MoreRows,
    /// It rejected rows.
    Rejected,
    /// Only the other run has it.
    Gone,
    /// Only this run has it.
    New,
    /// About the same.
    Same,
}

/// A component of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRow {
    /// The name of its job; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Its ID in the job, such as `tDBOutput_2`.
    pub connector_id: String,
    /// The name that the job shows for it.
    pub connector_label: String,
    /// Its type, such as `tDBOutput`.
    pub connector_type: String,
    /// How it differs from the other run.
    pub change: ComponentChange,
    /// What it did; absent if only the other run has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<ComponentFigures>,
    /// What it did in the other run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<ComponentFigures>,
    /// Its error: the first line of its stack trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a component did in a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentFigures {
    /// Rows that it received; absent if no component passed rows to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_in: Option<u64>,
    /// Rows that it passed on; absent if it passed rows to no component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<u64>,
    /// Rows that it passed to a connection for rejected rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_rejected: Option<u64>,
    /// The duration of its slowest connection. Unit: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Its rows divided by this duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<f64>,
}

/// The throughput of a component in the last runs of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskComponent {
    /// The name of its job; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
    /// Its ID in the job.
    pub connector_id: String,
    /// The name that the job shows for it.
    pub connector_label: String,
    /// Its type.
    pub connector_type: String,
    /// What it did in each of the last 30 runs with component metrics that have it, newest first.
    pub points: Vec<ComponentPoint>,
    /// The median of its rows per second; absent if no run has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_rows_per_second: Option<f64>,
}

/// What a component did in a run of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentPoint {
    /// The run.
    pub run_id: RunId,
    /// Its status.
    pub status: RunStatus,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// The rows of the component: those it received, or those it read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// How long they took. Unit: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Rows per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<f64>,
}

/// Identifies a component in every run of a task.
type Key = (Option<String>, String);

/// The metrics of one component in a run.
#[derive(Debug, Clone, Default)]
struct Measured {
    label: String,
    kind: String,
    figures: ComponentFigures,
    duration_in: Option<u64>,
    error: Option<String>,
}

/// Returns the components of a run compared with the last successful run with component metrics, or else the previous
/// one; none if the run has no component metrics.
pub(super) async fn components_of(components: &Components, run: &Run) -> Result<Option<ComponentsPart>> {
    let Some(of_run) = components.all(run.id).await? else { return Ok(None) };
    let good = components.previous_run(run, true).await?;
    let is_good = good.is_some();
    let earlier = if is_good { good } else { components.previous_run(run, false).await? };
    let other = match &earlier {
        Some(earlier) => components.all(earlier.id).await?,
        None => None,
    };
    let against = earlier.filter(|_| other.is_some()).map(|earlier| ComponentsAgainst {
        run_id: earlier.id,
        is_good,
        triggered_at: earlier.triggered_at,
    });
    let name = if is_good { "in the last good run" } else { "in the previous run" };
    Ok(Some(compare(&of_run, other.as_ref(), against, name)))
}

/// Returns the components of two runs, which may belong to different tasks; none if neither has component metrics.
pub(super) async fn components_of_both(
    components: &Components,
    before: &Run,
    after: &Run,
) -> Result<Option<ComponentsPart>> {
    let (earlier, later) = (components.all(before.id).await?, components.all(after.id).await?);
    if earlier.is_none() && later.is_none() {
        return Ok(None);
    }
    let against = earlier.as_ref().map(|_| ComponentsAgainst {
        run_id: before.id,
        is_good: before.status.coarse() == RunStatus::Successful,
        triggered_at: before.triggered_at,
    });
    Ok(Some(compare(&later.unwrap_or_default(), earlier.as_ref(), against, "before")))
}

/// Returns the throughput of the components of a task in its last runs, the slowest components first.
pub(super) async fn components_of_task(
    components: &Components,
    task: TaskId,
    workspace: WorkspaceId,
    since: Timestamp,
) -> Result<Vec<TaskComponent>> {
    let mut found: HashMap<Key, (TaskComponent, u64)> = HashMap::new();
    for run in components.recent_runs_of_task(task, workspace, since, TASK_RUNS_MAX).await? {
        let Some(of_run) = components.all(run.id).await? else { continue };
        for ((job_name, connector_id), measured) in by_component(&of_run) {
            let Some(rows) = rows_of(&measured.figures) else { continue };
            let ComponentFigures { duration_ms, rows_per_second, .. } = measured.figures;
            let entry = found.entry((job_name.clone(), connector_id.clone()));
            let (component, took) = entry.or_insert_with(|| {
                let component = TaskComponent {
                    job_name,
                    connector_id,
                    connector_label: measured.label.clone(),
                    connector_type: measured.kind.clone(),
                    points: Vec::new(),
                    median_rows_per_second: None,
                };
                (component, 0)
            });
            *took = took.saturating_add(duration_ms.unwrap_or(0));
            component.points.push(ComponentPoint {
                run_id: run.id,
                status: run.status.coarse(),
                triggered_at: run.triggered_at,
                rows: Some(rows),
                duration_ms,
                rows_per_second,
            });
        }
    }
    let mut found: Vec<(TaskComponent, u64)> = found.into_values().collect();
    found.sort_by(|(one, took), (other, other_took)| {
        other_took
            .cmp(took)
            .then_with(|| (&one.job_name, &one.connector_id).cmp(&(&other.job_name, &other.connector_id)))
    });
    found.truncate(TASK_COMPONENTS_MAX);
    let with_median = |(mut component, _): (TaskComponent, u64)| {
        let mut speeds: Vec<f64> = component.points.iter().filter_map(|point| point.rows_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        component.median_rows_per_second = speeds.get(speeds.len().saturating_sub(1) / 2).copied();
        component
    };
    Ok(found.into_iter().map(with_median).collect())
}

fn compare(
    of_run: &RunComponents,
    other: Option<&RunComponents>,
    against: Option<ComponentsAgainst>,
    name: &str,
) -> ComponentsPart {
    let later = by_component(of_run);
    let mut earlier = other.map(by_component).unwrap_or_default();
    let is_compared = other.is_some();
    let mut rows: Vec<ComponentRow> = later
        .into_iter()
        .map(|(key, measured)| {
            let before = earlier.remove(&key);
            row_of(key, Some(measured), before, is_compared)
        })
        .collect();
    rows.extend(earlier.into_iter().map(|(key, measured)| row_of(key, None, Some(measured), true)));
    rows.sort_by(|one, other| {
        let time = |row: &ComponentRow| row.figures.and_then(|figures| figures.duration_ms).unwrap_or(0);
        let place = |row: &ComponentRow| row.change.place();
        // Of components that have no rows any more, the one that had the most rows is first.
        let lost = |row: &ComponentRow| match (row.change, row.earlier) {
            (ComponentChange::NoRows, Some(earlier)) => rows_of(&earlier).unwrap_or(0),
            _ => 0,
        };
        place(one).cmp(&place(other)).then(lost(other).cmp(&lost(one))).then(time(other).cmp(&time(one)))
    });
    let findings = rows.iter().filter_map(|row| finding(row, name)).take(FINDINGS_SHOWN_MAX).collect();
    let total = rows.len() as u64;
    rows.truncate(COMPONENTS_SHOWN_MAX);
    let rows_rejected = of_run.run.rows_rejected.as_ref().and_then(|rows| rows.as_u64());
    ComponentsPart { rows_rejected, against, findings, components: rows, total }
}

fn row_of(key: Key, now: Option<Measured>, before: Option<Measured>, is_compared: bool) -> ComponentRow {
    let (job_name, connector_id) = key;
    let change = change(now.as_ref(), before.as_ref(), is_compared);
    let (figures, earlier) = (now.as_ref().map(|it| it.figures), before.as_ref().map(|it| it.figures));
    let Measured { label, kind, error, .. } = now.or(before).unwrap_or_default();
    let error = error.filter(|_| change == ComponentChange::Failed);
    ComponentRow {
        job_name,
        connector_id,
        connector_label: label,
        connector_type: kind,
        change,
        figures,
        earlier,
        error,
    }
}

fn change(now: Option<&Measured>, before: Option<&Measured>, is_compared: bool) -> ComponentChange {
    let Some(now) = now else { return ComponentChange::Gone };
    let rejects = now.figures.rows_rejected.unwrap_or(0) > 0;
    if now.error.is_some() {
        return ComponentChange::Failed;
    }
    let rows = |measured: &Measured| rows_of(&measured.figures).unwrap_or(0);
    match before.map(|before| (rows(before), rows(now))) {
        Some((1.., 0)) => ComponentChange::NoRows,
        Some((before, now)) if before > now && is_far(before, now) => ComponentChange::FewerRows,
        Some((before, now)) if now > before && is_far(now, before) => ComponentChange::MoreRows,
        _ if rejects => ComponentChange::Rejected,
        Some(_) => ComponentChange::Same,
        None if is_compared => ComponentChange::New,
        None => ComponentChange::Same,
    }
}

fn is_far(more: u64, fewer: u64) -> bool {
    more - fewer >= ROWS_DIFFERENCE_MIN && more / ROWS_TIMES_MIN >= fewer
}

/// Returns the finding about a component as a sentence, such as "tDBOutput_2 wrote 0 rows, 48,112 in the last good
/// run".
fn finding(row: &ComponentRow, name: &str) -> Option<ComponentFinding> {
    let id = match row.connector_label.as_str() {
        label if label.is_empty() || label == row.connector_id => row.connector_id.clone(),
        label => format!("{} ({label})", row.connector_id),
    };
    let figures = row.figures.unwrap_or_default();
    let rows = |figures: &ComponentFigures| rows_of(figures).unwrap_or(0);
    let text = match row.change {
        ComponentChange::Failed => format!("{id} failed: {}", row.error.as_deref().unwrap_or_default()),
        ComponentChange::Rejected => format!("{id} rejected {}", counted(figures.rows_rejected.unwrap_or(0))),
        ComponentChange::NoRows | ComponentChange::FewerRows | ComponentChange::MoreRows => {
            let earlier = row.earlier.unwrap_or_default();
            // Whether a component reads or writes is determined from the run in which it had rows.
            let did = match (earlier.rows_in, earlier.rows_out) {
                (Some(_), None) => "wrote",
                (None, Some(_)) => "read",
                _ => "processed",
            };
            format!("{id} {did} {}, {} {name}", counted(rows(&figures)), grouped(rows(&earlier)))
        }
        ComponentChange::Gone | ComponentChange::New | ComponentChange::Same => return None,
    };
    Some(ComponentFinding { connector_id: row.connector_id.clone(), change: row.change, text })
}

fn counted(rows: u64) -> String {
    format!("{} {}", grouped(rows), if rows == 1 { "row" } else { "rows" })
}

/// Formats a number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the number of rows that a component received or, if it reads them itself, passed on.
fn rows_of(figures: &ComponentFigures) -> Option<u64> {
    figures.rows_in.or(figures.rows_out)
}

fn by_component(components: &RunComponents) -> BTreeMap<Key, Measured> {
    let processes = components.processes_by_pid();
    let key = |pid: &str, id: &str| {
        let job = processes.get(pid).map(|process| process.job_name.clone()).filter(|job| !job.is_empty());
        (job, id.to_owned())
    };
    let mut found: BTreeMap<Key, Measured> = BTreeMap::new();
    for item in &components.items {
        let measured = found.entry(key(&item.pid, &item.connector_id)).or_default();
        measured.label.clone_from(&item.connector_label);
        measured.kind.clone_from(&item.connector_type);
        if let Some(trace) = item.stacktrace.as_deref().filter(|trace| !trace.trim().is_empty()) {
            let line = trace.trim().lines().next().unwrap_or_default();
            measured.error.get_or_insert_with(|| line.chars().take(ERROR_CHARS_MAX).collect());
        }
        add(&mut measured.figures.rows_out, item.rows());
        if is_reject(item) {
            add(&mut measured.figures.rows_rejected, item.rows());
        }
        measured.figures.duration_ms = measured.figures.duration_ms.max(item.duration_ms());
        let Some(target) = item.target_id.as_deref().filter(|target| !target.is_empty()) else { continue };
        let received = found.entry(key(&item.pid, target)).or_default();
        if received.label.is_empty() {
            received.label = item.target_label.clone().unwrap_or_default();
            received.kind = item.target_connector_type.clone().unwrap_or_default();
        }
        add(&mut received.figures.rows_in, item.rows());
        received.duration_in = received.duration_in.max(item.duration_ms());
    }
    for measured in found.values_mut() {
        let figures = &mut measured.figures;
        figures.duration_ms = figures.duration_ms.or(measured.duration_in);
        let speed = rows_of(figures).zip(figures.duration_ms.filter(|ms| *ms > 0));
        figures.rows_per_second = speed.map(|(rows, ms)| rows as f64 * 1_000.0 / ms as f64);
    }
    found
}

fn add(sum: &mut Option<u64>, rows: Option<u64>) {
    if let Some(rows) = rows {
        *sum = Some(sum.unwrap_or(0).saturating_add(rows));
    }
}

/// True for a connection of rejected rows, by its type or name.
fn is_reject(item: &ComponentMetric) -> bool {
    let names = [&item.connection_type, &item.connection_name];
    names.into_iter().flatten().any(|name| name.to_ascii_lowercase().contains("reject"))
}

impl ComponentChange {
    /// Returns the position of a change in the order of components: errors and rejected rows first, then different
    /// numbers of rows.
    fn place(self) -> u8 {
        match self {
            Self::Failed => 0,
            Self::NoRows => 1,
            Self::Rejected => 2,
            Self::FewerRows | Self::MoreRows => 3,
            Self::New | Self::Same => 4,
            Self::Gone => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow(id: &str, target: &str, rows: u64, ms: u64) -> serde_json::Value {
        json!({"pid": "p", "connector_type": "t", "connector_label": id, "connector_id": id, "target_id": target,
            "target_label": target, "target_connector_type": "t", "component_start_time_seconds": 1,
            "component_connection_rows_total": rows, "component_execution_duration_milliseconds": ms})
    }

    fn run(items: serde_json::Value) -> RunComponents {
        RunComponents { items: serde_json::from_value(items).unwrap(), ..RunComponents::default() }
    }

    fn compared(now: serde_json::Value, before: serde_json::Value) -> ComponentsPart {
        compare(&run(now), Some(&run(before)), None, "in the last good run")
    }

    #[test]
    fn a_component_that_wrote_nothing_is_found() {
        let before = json!([flow("tDBInput_1", "tMap_1", 48_112, 1_000), flow("tMap_1", "tDBOutput_2", 48_112, 2_000)]);
        let now = json!([flow("tDBInput_1", "tMap_1", 48_000, 900), flow("tMap_1", "tDBOutput_2", 0, 900)]);
        let part = compared(now, before);
        let texts: Vec<&str> = part.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["tDBOutput_2 wrote 0 rows, 48,112 in the last good run"]);
        let first = &part.components[0];
        assert_eq!((first.connector_id.as_str(), first.change), ("tDBOutput_2", ComponentChange::NoRows));
        assert_eq!(first.earlier.unwrap().rows_per_second, Some(24_056.0));
        assert_eq!(part.components[1].figures.unwrap().rows_in, None);
    }

    #[test]
    fn errors_and_rejected_rows_come_first() {
        let mut reject = flow("tMap_1", "tLogRow_1", 3, 5);
        reject["connection_type"] = json!("REJECT");
        let failed = json!({"connector_id": "tDBOutput_9", "connector_label": "orders", "connector_type": "t",
            "stacktrace": "java.sql.SQLException: no\n\tat A.b(A.java:1)"});
        let part = compared(json!([flow("a", "b", 500_000, 90_000), reject, failed]), json!([flow("a", "b", 5, 1)]));
        let texts: Vec<&str> = part.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "tDBOutput_9 (orders) failed: java.sql.SQLException: no",
                "tMap_1 rejected 3 rows",
                "a read 500,000 rows, 5 in the last good run",
                "b wrote 500,000 rows, 5 in the last good run",
            ]
        );
    }

    #[test]
    fn small_differences_and_single_runs_are_not_conspicuous() {
        let part = compared(json!([flow("a", "b", 150, 1)]), json!([flow("a", "b", 80, 1)]));
        assert_eq!((part.findings.len(), part.components[0].change), (0, ComponentChange::Same));
        let alone = compare(&run(json!([flow("a", "b", 1, 1)])), None, None, "");
        assert!(alone.components.iter().all(|row| row.change == ComponentChange::Same));
        let gone = compared(json!([]), json!([flow("a", "b", 1, 1)]));
        assert!(gone.components.iter().all(|row| row.change == ComponentChange::Gone && row.figures.is_none()));
    }
}
