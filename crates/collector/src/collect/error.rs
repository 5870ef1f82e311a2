//! Errors of the collection of an upstream.

use runlog_model::Timestamp;

use crate::fetch::error::FetchError;

/// Why a round of collection failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A request to the service failed; its kind determines the reaction.
    #[error(transparent)]
    Upstream(#[from] runlog_client::Error),
    /// An operation on the archive failed.
    #[error(transparent)]
    Archive(#[from] runlog_store::Error),
    /// A run could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An environment or workspace to collect does not exist, or is not accessible.
    #[error("the upstream has no {what} {wanted:?}; available: {known}")]
    NoSuchPlace {
        /// `environment` or `workspace`.
        what: &'static str,
        /// Name or ID in the settings.
        wanted: String,
        /// Names of the existing ones.
        known: String,
    },
    /// More runs with the same time than the service lists.
    #[error(
        "upstream {upstream} has more runs at {at} than its list can return; name its workspaces or tasks individually"
    )]
    Crowded {
        /// The upstream.
        upstream: String,
        /// The time.
        at: Timestamp,
    },
    /// A list that changed during every attempt to read it.
    #[error(
        "the runs of upstream {upstream} from {from} to {to} changed whenever they were listed; they are listed again in the next round"
    )]
    Unsteady {
        /// The upstream.
        upstream: String,
        /// Start of the window.
        from: Timestamp,
        /// End of the window.
        to: Timestamp,
    },
    /// A run that has just ended does not have a log yet.
    #[error("the service has no log of run {run} yet; it will be requested again")]
    NoLogYet {
        /// Its ID.
        run: String,
    },
    /// A log that the service, another Runlog, has not collected completely itself.
    #[error("the service has not collected the log of run {run} completely yet; it will be requested again")]
    Unsettled {
        /// The run.
        run: String,
    },
    /// Component metrics that are different each time, or missing.
    #[error("the component metrics of run {run} changed whenever they were read: {count} of {total} were received")]
    UnsteadyMetrics {
        /// The run.
        run: String,
        /// How many were received the last time.
        count: usize,
        /// How many there are, as the service counts them.
        total: u64,
    },
    /// A run that the service describes in a way that cannot be processed.
    #[error("run {run} cannot be archived: {what}")]
    BadRun {
        /// The run.
        run: String,
        /// The problem.
        what: String,
    },
}

impl From<tokio::task::JoinError> for CollectError {
    fn from(error: tokio::task::JoinError) -> Self {
        FetchError::from(error).into()
    }
}

/// The result of an operation of the collector.
pub(crate) type Result<T, E = CollectError> = std::result::Result<T, E>;
