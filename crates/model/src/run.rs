//! A run: one execution of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::severity::SeverityCounts;
use crate::word::WordError;
use crate::{RunId, TaskId, Timestamp, WorkspaceId};

/// One execution of a task, as recorded in the archive. Source: CONTRACT of the processing API.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id (execution id).
    pub id: RunId,
    /// The task that ran.
    pub task_id: TaskId,
    /// The version of the task, such as `5.2`.
    pub task_version: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// What started it.
    pub execution_type: ExecutionType,
    /// Status.
    pub status: ExecutionStatus,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When it began; none while it is being deployed.
    pub started_at: Option<Timestamp>,
    /// When it ended; some final runs have none (rejected before they began).
    pub finished_at: Option<Timestamp>,
    /// When the archive learned that the run is final; of a run that is collected, when its log had landed as well.
    /// None as long as its log may still come.
    pub final_since: Option<Timestamp>,
    /// The user or service account that started it.
    pub user_id: String,
    /// Whether that is a person or a service.
    pub user_type: UserType,
    /// The plan that it is part of.
    pub plan: PlanPart,
    /// What it ran.
    pub artifact: ArtifactPart,
    /// The log level of the job, such as `WARN`.
    pub log_level: Option<String>,
    /// Number of attempts to deploy it.
    pub attempts: Option<u64>,
    /// Where it ran.
    pub runtime: Option<Runtime>,
    /// Error message.
    pub error_message: Option<String>,
    /// Kind of failure.
    pub error_type: Option<String>,
    /// Why it did not begin, such as `TASK_IS_PAUSED`.
    pub misfired_reason: Option<String>,
    /// Timeout in minutes.
    pub timeout_minutes: Option<u64>,
    /// Whether the task may run several times concurrently.
    pub parallel_execution_allowed: Option<bool>,
    /// The version of the API through which it was started.
    pub api_version: Option<String>,
    /// The container in which it ran.
    pub container_id: Option<String>,
    /// Number of rows processed by the job.
    pub processed_rows: Option<u64>,
    /// Number of rows rejected by the job.
    pub rejected_rows: Option<u64>,
    /// Records that the archive holds of its log.
    pub records: u64,
    /// Number of these records by severity.
    pub severities: SeverityCounts,
    /// When the newest batch of records was stored.
    pub last_record_stored_at: Option<Timestamp>,
}

impl Run {
    /// Returns the failure message of the service: the reason why the run did not begin, or else the error message.
    pub fn failure_message(&self) -> Option<&str> {
        let reason = self.misfired_reason.as_deref();
        reason.filter(|reason| *reason != "UNKNOWN").or(self.error_message.as_deref()).or(reason)
    }
}

/// The plan execution that a run is part of. Unknown parts are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanPart {
    /// The plan.
    #[serde(default, rename = "planId", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name.
    #[serde(default, rename = "planName", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The execution of the plan.
    #[serde(default, rename = "planExecutionId", skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The step of the plan.
    #[serde(default, rename = "planStepId", skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
}

/// The artifact of a run. Unknown parts are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactPart {
    /// ID.
    #[serde(default, rename = "artifactId", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name.
    #[serde(default, rename = "artifactName", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version.
    #[serde(default, rename = "artifactVersion", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl PlanPart {
    /// This, and what `newer` says where it says something.
    pub fn updated(self, newer: &Self) -> Self {
        Self {
            id: newer.id.clone().or(self.id),
            name: newer.name.clone().or(self.name),
            execution_id: newer.execution_id.clone().or(self.execution_id),
            step_id: newer.step_id.clone().or(self.step_id),
        }
    }
}

impl ArtifactPart {
    /// This, and what `newer` says where it says something.
    pub fn updated(self, newer: &Self) -> Self {
        Self {
            id: newer.id.clone().or(self.id),
            name: newer.name.clone().or(self.name),
            version: newer.version.clone().or(self.version),
        }
    }
}

/// Where a run took place. Unknown parts are omitted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Runtime {
    /// `CLOUD`, `REMOTE_ENGINE`, `REMOTE_ENGINE_CLUSTER` or `CLOUD_EXCLUSIVE`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RuntimeKind>,
    /// ID of the runtime of this `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_id: Option<String>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The run profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_profile_id: Option<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let words = Self::ALL.iter().map(|value| value.as_str());
                let object = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String);
                object.enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(text: &str) -> Result<Self, WordError> {
                const ALLOWED: &str = concat!($($word, ", "),+);
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == text)
                    .ok_or_else(|| WordError::new(text, ALLOWED.trim_end_matches(", ")))
            }
        }
    };
}

words!(
    /// What started a run.
    ExecutionType {
        /// A person.
        Manual = "MANUAL",
        /// A schedule.
        Scheduled = "SCHEDULED",
        /// A web hook.
        Webhook = "WEBHOOK",
        /// A plan.
        Plan = "PLAN",
    }
);

words!(
    /// Who started a run.
    UserType {
        /// A person.
        Human = "HUMAN",
        /// A service account.
        Service = "SERVICE",
    }
);

words!(
    /// The log level with which a run can be requested.
    LogLevel {
        /// Nothing is logged.
        Off = "OFF",
        /// Errors.
        Error = "ERROR",
        /// Also warnings.
        Warn = "WARN",
        /// Also information.
        Info = "INFO",
    }
);

words!(
    /// The kind of place a run takes place in.
    RuntimeKind {
        /// A cloud engine.
        Cloud = "CLOUD",
        /// A remote engine.
        RemoteEngine = "REMOTE_ENGINE",
        /// A cluster of remote engines.
        RemoteEngineCluster = "REMOTE_ENGINE_CLUSTER",
        /// A cloud engine of its own.
        CloudExclusive = "CLOUD_EXCLUSIVE",
    }
);

words!(
    /// The status of a run, one of the nine values by which lists are filtered (`status`).
    RunStatus {
        /// Asked for, not yet begun.
        Dispatching = "dispatching",
        /// Going on.
        Executing = "executing",
        /// Could not be deployed.
        DeployFailed = "deploy_failed",
        /// Successful.
        Successful = "execution_successful",
        /// Successful, with rejected rows.
        Rejected = "execution_rejected",
        /// Failed.
        Failed = "execution_failed",
        /// Terminated by a user.
        Terminated = "terminated",
        /// Ended by its timeout.
        TerminatedTimeout = "terminated_timeout",
        /// Ended by the engine's shutdown.
        TerminatedShutdown = "terminated_shutdown",
    }
);

words!(
    /// The detailed status of a run (`executionStatus`).
    ExecutionStatus {
        /// The request has arrived.
        EventReceived = "EXECUTION_EVENT_RECEIVED",
        /// An engine is being found.
        Dispatching = "DISPATCHING_FLOW",
        /// It is running.
        Starting = "STARTING_FLOW_EXECUTION",
        /// It is being ended.
        Stopping = "STOPPING_FLOW_EXECUTION",
        /// The task could not be deployed.
        DeployFailed = "DEPLOY_FAILED",
        /// Successful.
        Success = "EXECUTION_SUCCESS",
        /// Successful, with rejected rows.
        Rejected = "EXECUTION_REJECTED",
        /// Failed.
        Failed = "EXECUTION_FAILED",
        /// Terminated by a user.
        Terminated = "EXECUTION_TERMINATED",
        /// Ended by its timeout.
        TerminatedTimeout = "EXECUTION_TERMINATED_TIMEOUT",
        /// Ended by the engine's shutdown.
        TerminatedShutdown = "EXECUTION_TERMINATED_SHUTDOWN",
    }
);

impl RunStatus {
    /// True if a run with this status does not change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Dispatching | Self::Executing)
    }

    /// The detailed status that a run of this coarse status has when nothing more is known.
    pub fn detailed(self) -> ExecutionStatus {
        match self {
            Self::Dispatching => ExecutionStatus::Dispatching,
            Self::Executing => ExecutionStatus::Starting,
            Self::DeployFailed => ExecutionStatus::DeployFailed,
            Self::Successful => ExecutionStatus::Success,
            Self::Rejected => ExecutionStatus::Rejected,
            Self::Failed => ExecutionStatus::Failed,
            Self::Terminated => ExecutionStatus::Terminated,
            Self::TerminatedTimeout => ExecutionStatus::TerminatedTimeout,
            Self::TerminatedShutdown => ExecutionStatus::TerminatedShutdown,
        }
    }
}

impl ExecutionStatus {
    /// The coarse word for it. Source: the processing API's table; `STOPPING_FLOW_EXECUTION` is not in it and
    /// counts as executing, because the run still writes its log.
    pub fn coarse(self) -> RunStatus {
        match self {
            Self::EventReceived | Self::Dispatching => RunStatus::Dispatching,
            Self::Starting | Self::Stopping => RunStatus::Executing,
            Self::DeployFailed => RunStatus::DeployFailed,
            Self::Success => RunStatus::Successful,
            Self::Rejected => RunStatus::Rejected,
            Self::Failed => RunStatus::Failed,
            Self::Terminated => RunStatus::Terminated,
            Self::TerminatedTimeout => RunStatus::TerminatedTimeout,
            Self::TerminatedShutdown => RunStatus::TerminatedShutdown,
        }
    }

    /// True if a run with this status does not change any more.
    pub fn is_final(self) -> bool {
        self.coarse().is_final()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_status_and_its_detail_name_each_other() {
        for status in RunStatus::ALL {
            assert_eq!(status.detailed().coarse(), *status);
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for status in ExecutionStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        let error = "RUNNING".parse::<RunStatus>().unwrap_err().to_string();
        assert!(error.contains("dispatching, executing"), "{error}");
    }
}
