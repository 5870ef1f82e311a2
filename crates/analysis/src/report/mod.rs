//! Reports on a run, a task and a workspace, and comparisons of two runs.
//!
//! A report uses the summaries computed when logs were sealed; it reads a log only if there is no summary yet and the
//! log is short. Access control is up to the caller.

mod advice;
mod brief;
mod components;
mod diff;
mod load;
mod reasons;
mod run;
mod schedule;
mod task;
mod workspace;

pub use brief::{BRIEF_BYTES_MAX, brief_of};
pub use components::{
    ComponentChange, ComponentFigures, ComponentFinding, ComponentPoint, ComponentRow, ComponentsAgainst,
    ComponentsPart, TaskComponent,
};
pub use diff::{RunDiff, Side, run_diff};
pub use load::{LogPart, LogState, ON_THE_SPOT_RECORDS_MAX, ReportSources, RunHead, RunPoint};
pub use reasons::{
    FLIPS_MIN, RECENT_RUNS_MAX, Reason, SLOW_TIMES_MIN, Usual, is_bad, is_good, reasons_of, usual_duration,
};
pub use run::{Against, ChangeCounts, Figures, RunPatterns, RunReport, run_patterns, run_report};
pub use schedule::{MissingStart, STARTS_LOOK_BACK_MS, STARTS_MAX, missing_start};
pub use task::{Durations, Outcome, TaskErrorGroup, TaskReport, Trend, task_report};
pub use workspace::{NewErrorGroup, TaskAttention, WorkspaceReport, workspace_report};
