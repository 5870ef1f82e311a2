//! What can go wrong while an upstream is collected.

use runlog_model::Timestamp;

use crate::fetch::error::FetchError;

/// Why a round of collecting did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The service did not play its part; its kind says what to do.
    #[error(transparent)]
    Upstream(#[from] runlog_client::Error),
    /// The archive did not.
    #[error(transparent)]
    Archive(#[from] runlog_store::Error),
    /// A run was not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A place that is to be collected is not there, or may not be seen.
    #[error("the upstream has no {what} {wanted:?}; available: {known}")]
    NoSuchPlace {
        /// `environment` or `workspace`.
        what: &'static str,
        /// What was asked for.
        wanted: String,
        /// Names of those that there are.
        known: String,
    },
    /// More runs at one instant than the service lists.
    #[error(
        "upstream {upstream} has more runs at {at} than its list can return; name its workspaces or tasks individually"
    )]
    Crowded {
        /// The upstream.
        upstream: String,
        /// The instant.
        at: Timestamp,
    },
    /// A list that did not stand still.
    #[error(
        "the runs of upstream {upstream} from {from} to {to} changed whenever they were listed; they are listed again in the next round"
    )]
    Unsteady {
        /// The upstream.
        upstream: String,
        /// The first instant of the list.
        from: Timestamp,
        /// The last instant.
        to: Timestamp,
    },
    /// A run that has just ended has no log yet.
    #[error("the service has no log of run {run} yet; it will be requested again")]
    NoLogYet {
        /// Its id.
        run: String,
    },
    /// What the service says of a run cannot be understood.
    #[error("run {run} cannot be archived: {what}")]
    BadRun {
        /// The run.
        run: String,
        /// What is wrong with it.
        what: String,
    },
}

impl From<tokio::task::JoinError> for CollectError {
    fn from(error: tokio::task::JoinError) -> Self {
        FetchError::from(error).into()
    }
}

/// The result of collecting.
pub(crate) type Result<T, E = CollectError> = std::result::Result<T, E>;
