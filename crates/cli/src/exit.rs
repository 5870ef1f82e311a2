//! Exit codes: one for each way in which a script would react.

use std::fmt;
use std::process::ExitCode;

use runlog_collector::CollectError;

/// The reason for an unsuccessful exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A failure that no other code covers.
    Failed = 1,
    /// The command line or the settings are invalid. The argument parser uses the same code.
    Usage = 2,
    /// The credentials are missing or invalid, or lack a right.
    Denied = 3,
    /// The run, task or workspace does not exist.
    NotFound = 4,
    /// The service is unavailable, busy or throttles requests: try again later.
    Unavailable = 5,
    /// The log is incomplete: the difference is reported, and the log does not count as complete.
    Incomplete = 6,
    /// The service violated its contract, or a download was refused.
    Refused = 7,
    /// Stopped by Ctrl-C or a signal; what was done so far is kept.
    Interrupted = 130,
}

/// The text at the end of the help of the program.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes: 0 success, 1 failure, 2 wrong usage, 3 invalid credentials or missing rights, 4 not found, \
5 service unavailable (try again later), 6 log incomplete, 7 service violated its contract or download refused, \
130 interrupted";

/// A failure with its exit code; its causes follow the message.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code of the program.
    pub(crate) exit: Exit,
    /// What happened, with its causes.
    pub(crate) error: anyhow::Error,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Returns a failure with this code and message.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}") }
    }

    /// Returns true if the output was closed, for example by `| head` or by leaving the pager.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let of_pipe = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        };
        self.error.chain().any(of_pipe)
    }

    /// Appends text to the message of this failure.
    pub(crate) fn with_text_after(self, text: &str) -> Self {
        let message = format!("{}{text}", self.error);
        match text.is_empty() {
            true => self,
            // The causes are kept; text that the new message repeats is not printed twice.
            false => Self { exit: self.exit, error: self.error.context(message) },
        }
    }

    /// Prepends a description of the operation that failed.
    pub(crate) fn while_doing(self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        Self { exit: self.exit, error: self.error.context(doing) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failed, error }
    }
}

impl From<runlog_client::Error> for Failure {
    fn from(error: runlog_client::Error) -> Self {
        Self { exit: exit_of(error.kind()), error: error.into() }
    }
}

impl From<runlog_store::Error> for Failure {
    fn from(error: runlog_store::Error) -> Self {
        let exit = match error.kind() {
            runlog_store::ErrorKind::Unavailable | runlog_store::ErrorKind::Busy => Exit::Unavailable,
            runlog_store::ErrorKind::NotFound | runlog_store::ErrorKind::Expired => Exit::NotFound,
            runlog_store::ErrorKind::Invalid => Exit::Usage,
            runlog_store::ErrorKind::Conflict | runlog_store::ErrorKind::Corrupt => Exit::Failed,
        };
        Self { exit, error: error.into() }
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        let exit = match &error {
            CollectError::Upstream(error) => exit_of(error.kind()),
            CollectError::Archive(_)
            | CollectError::Unsteady { .. }
            | CollectError::NoLogYet { .. }
            | CollectError::Unsettled { .. }
            | CollectError::UnsteadyMetrics { .. } => Exit::Unavailable,
            CollectError::NoSuchPlace { .. } => Exit::NotFound,
            CollectError::Fetch(_) | CollectError::Crowded { .. } | CollectError::BadRun { .. } => Exit::Failed,
        };
        Self { exit, error: error.into() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

/// Returns the exit code for a kind of failure of the client.
pub(crate) fn exit_of(kind: runlog_client::ErrorKind) -> Exit {
    use runlog_client::ErrorKind;
    match kind {
        ErrorKind::Invalid => Exit::Usage,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Exit::Denied,
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Limited | ErrorKind::Unavailable => Exit::Unavailable,
        ErrorKind::Protocol | ErrorKind::Refused => Exit::Refused,
        ErrorKind::Damaged | ErrorKind::Storage => Exit::Failed,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
