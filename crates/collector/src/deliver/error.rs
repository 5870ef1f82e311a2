//! Why a run was not delivered, by what is done next.

use std::time::Duration;

use super::sinks::sink::SendError;

/// How long a sink is left alone at first that is away, and one that does not let us in.
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(5);
pub(super) const PAUSE_DENIED: Duration = Duration::from_secs(60);

/// The result of delivering a run.
pub(super) type Result<T, E = DeliveryError> = std::result::Result<T, E>;

/// Why a run was not delivered.
#[derive(Debug)]
pub(super) enum DeliveryError {
    /// The sink is away or does not let us in.
    Sink { problem: String, pause: Duration },
    /// This run cannot be delivered now.
    Run(String),
    /// The sink refuses what it is sent of this run, nearly all of it.
    Refusing(String),
    /// The sink refuses this run for good.
    Dead(String),
    /// The archive.
    Archive(runlog_store::Error),
    /// It was told to stop.
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
            SendError::Away { after, .. } => after.unwrap_or(PAUSE_FIRST),
            _ => PAUSE_DENIED,
        };
        Self::Sink { problem: error.to_string(), pause }
    }
}
