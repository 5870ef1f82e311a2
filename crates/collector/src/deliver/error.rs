//! Why a run was not delivered, by what happens next.

use std::time::Duration;

use super::sinks::sink::SendError;

/// The initial pause of a sink that is unavailable, and of one that denies access.
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(5);
pub(super) const PAUSE_DENIED: Duration = Duration::from_secs(60);

/// The result of a delivery.
pub(super) type Result<T, E = DeliveryError> = std::result::Result<T, E>;

/// Why a run was not delivered.
#[derive(Debug)]
pub(super) enum DeliveryError {
    /// The sink is unavailable or denies access.
    Sink { problem: String, pause: Duration },
    /// This run cannot be delivered at present.
    Run(String),
    /// The sink refuses nearly all records of this run.
    Refusing(String),
    /// The sink refuses this run permanently.
    Dead(String),
    /// An error of the archive.
    Archive(runlog_store::Error),
    /// The process is shutting down.
    Stopped,
}

impl From<runlog_store::Error> for DeliveryError {
    fn from(error: runlog_store::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<SendError> for DeliveryError {
    fn from(error: SendError) -> Self {
        let pause = match &error {
            SendError::Away { after, .. } => after.unwrap_or_default().max(PAUSE_FIRST),
            _ => PAUSE_DENIED,
        };
        Self::Sink { problem: error.to_string(), pause }
    }
}
