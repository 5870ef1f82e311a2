//! Bodies about problems: root causes of failed runs, and what people made of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ProblemState, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};

/// Most characters of a note on a problem.
pub const NOTE_CHARS_MAX: usize = 500;

/// A problem: the root cause that failed runs of a workspace have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    /// ID, which is equal for the same root cause in the same workspace.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "ba7816bf8f01cfea")]
    pub id: String,
    /// The root cause in one line, with values masked.
    pub title: String,
    /// The root cause from the log of the latest run, with its values; absent if no cause is known, or if an earlier
    /// version archived that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// The workspace of its runs.
    pub workspace_id: WorkspaceId,
    /// The name of the workspace.
    pub workspace_name: String,
    /// Whether it needs attention.
    pub state: ProblemState,
    /// When the state was set; absent if it was never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_set_at: Option<Timestamp>,
    /// Who set the state; absent if it was never changed, or if the problem came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_set_by: Option<String>,
    /// What they noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The end of the mute; absent if it is not muted, or has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
    /// End of the run with which the problem came back, after it was resolved or its mute had ended; absent once the
    /// state has been set again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_back_at: Option<Timestamp>,
    /// When the first run ended that failed with it.
    pub first_seen: Timestamp,
    /// When the last run ended that failed with it.
    pub last_seen: Timestamp,
    /// Number of stored runs that failed with it.
    pub runs: u64,
    /// Number of tasks of these runs.
    pub tasks: u64,
}

impl ProblemBody {
    /// The root cause for people: as the latest run says it, or else with values masked.
    pub fn shown_title(&self) -> &str {
        self.headline.as_deref().unwrap_or(&self.title)
    }
}

/// `GET /runlog/v1/problems/{id}`: a problem, the tasks that it hits, and its latest runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetailBody {
    /// The problem.
    pub problem: ProblemBody,
    /// The tasks that it hits, those with the most runs first; at most 100.
    pub tasks: Vec<ProblemTaskBody>,
    /// Its latest runs, newest first; at most 50.
    pub runs: Vec<ProblemRunBody>,
}

/// A task that a problem hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemTaskBody {
    /// The task.
    pub task_id: TaskId,
    /// Its name.
    pub task_name: String,
    /// Number of its runs that failed with the problem.
    pub runs: u64,
}

/// A run that failed with a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemRunBody {
    /// The run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The name of the task.
    pub task_name: String,
    /// Its status.
    pub status: RunStatus,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// `PUT /runlog/v1/problems/{id}/state`: what becomes of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewProblemState {
    /// The state.
    pub state: ProblemState,
    /// With `muted`: when it is open again; in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, up to 500 characters, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub note: Option<String>,
}
