//! What can go wrong with a fetch, by what the user does next.

use std::path::{Path, PathBuf};

/// A fetch that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The service did not play its part; its kind says what to do.
    #[error(transparent)]
    Upstream(#[from] runlog_client::Error),
    /// The service counts other records than came. The pages stay on disk, so that another try is cheap.
    #[error("the log is incomplete: the service reports {expected} records, but {got} were received")]
    Incomplete {
        /// What the service counts.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The service does not count its records.
    #[error(
        "cannot verify that the log is complete: {got} records were received, and the service does not report a number"
    )]
    Uncounted {
        /// What came.
        got: u64,
        /// Why there is no count.
        source: runlog_client::Error,
    },
    /// A file or folder of ours.
    #[error("cannot {doing} {}", path.display())]
    Storage {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The folder beside the output holds something else.
    #[error("{} contains the pages of another fetch ({what}); {next} or choose another output", path.display())]
    OtherFetch {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What to do about it.
        next: &'static str,
    },
    /// A task of ours broke.
    #[error("the task of a page failed")]
    Broken(#[from] tokio::task::JoinError),
}

/// The result of a fetch.
pub type Result<T, E = FetchError> = std::result::Result<T, E>;

/// Makes the failure of something done to a path.
pub(crate) fn storage(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Storage { doing, path, source }
}
