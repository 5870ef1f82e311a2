//! How the program ends: one code for each thing a script would do next.

use std::fmt;
use std::process::ExitCode;

use runlog_collector::CollectError;

/// Why the program ends with something other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed that no other code names.
    Failed = 1,
    /// The command line or the settings are wrong. The same code as the parser of arguments uses.
    Usage = 2,
    /// The credentials are missing, not accepted, or lack a right.
    Denied = 3,
    /// No such run, task or workspace.
    NotFound = 4,
    /// The service is away, busy or limits requests: try again later.
    Unavailable = 5,
    /// The log is not complete: what was found is told, and nothing is taken for whole.
    Incomplete = 6,
    /// The service broke its contract, or a download was refused.
    Refused = 7,
    /// Stopped by Ctrl-C or a signal; what was done so far is kept.
    Interrupted = 130,
}

/// The text that every command's help ends with.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 credentials or rights, 4 no such thing, 5 service away (try later), \
6 log incomplete, 7 service broke its contract or download refused, 130 interrupted";

/// A failure with its exit code; its causes follow the message.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code the program ends with.
    pub(crate) exit: Exit,
    /// What happened, with its causes.
    pub(crate) error: anyhow::Error,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with a message of its own.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}") }
    }

    /// This failure, with more text after its message.
    pub(crate) fn with_text_after(self, text: &str) -> Self {
        let message = format!("{}{text}", self.error);
        match text.is_empty() {
            true => self,
            // The causes below it stay; what the new message repeats is not told twice.
            false => Self { exit: self.exit, error: self.error.context(message) },
        }
    }

    /// This failure, after what was being done when it happened.
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
            CollectError::Archive(_) | CollectError::Unsteady { .. } | CollectError::NoLogYet { .. } => {
                Exit::Unavailable
            }
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

/// The code for each kind of failure of the client.
pub(crate) fn exit_of(kind: runlog_client::ErrorKind) -> Exit {
    use runlog_client::ErrorKind;
    match kind {
        ErrorKind::Invalid => Exit::Usage,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Exit::Denied,
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Limited | ErrorKind::Unavailable => Exit::Unavailable,
        ErrorKind::Protocol | ErrorKind::Refused => Exit::Refused,
        ErrorKind::Storage => Exit::Failed,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
