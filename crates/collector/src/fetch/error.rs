//! Errors of a fetch, by what the user can do.

use std::path::{Path, PathBuf};

/// Why a fetch has no result.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A request to the service failed; its kind determines the reaction.
    #[error(transparent)]
    Upstream(#[from] runlog_client::Error),
    /// The service reports a different number of records than were received. The pages are kept on disk, so that
    /// another attempt is cheap.
    #[error("the log is incomplete: the service reports {expected} records, but {got} were received")]
    Incomplete {
        /// Number of records according to the service.
        expected: u64,
        /// Number of records received.
        got: u64,
    },
    /// The service has neither pages nor a number of records of the run, which does not mean that the run logged
    /// nothing.
    #[error(
        "the service has no log of the run (404): it logged nothing, its log was not transferred yet, or it was deleted"
    )]
    NoLog,
    /// The service had the log when its first pages were requested, and no longer has it.
    #[error(
        "the service no longer has the log (404), of which {got} records were received: the log, or the run, was deleted"
    )]
    Gone {
        /// Number of records received.
        got: u64,
    },
    /// The service does not report the number of records.
    #[error(
        "cannot verify that the log is complete: {got} records were received, and the service does not report a number"
    )]
    Uncounted {
        /// Number of records received.
        got: u64,
        /// Why the number is unknown.
        source: runlog_client::Error,
    },
    /// An operation on a local file or folder failed.
    #[error("cannot {doing} {}", path.display())]
    Storage {
        /// The operation.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder beside the output belongs to another fetch.
    #[error("{} contains the pages of another fetch ({what}); {next} or choose another output", path.display())]
    OtherFetch {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What to do about it.
        next: &'static str,
    },
    /// A task of this process panicked.
    #[error("the task of a page failed")]
    Broken(#[from] tokio::task::JoinError),
}

/// The result of a fetch.
pub type Result<T, E = FetchError> = std::result::Result<T, E>;

/// Creates the error of an operation on a path.
pub(crate) fn storage(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Storage { doing, path, source }
}
