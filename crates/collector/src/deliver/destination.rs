//! Where a sink delivers to: records in batches, files, or a summary of each run.

use std::sync::Arc;

use super::sinks::files::Files;
use super::sinks::sink::{SendError, Sink};
use super::sinks::webhook::Webhook;

/// Where records or runs are delivered to.
#[derive(Clone)]
pub enum Destination {
    /// Takes records in batches.
    Records(Arc<dyn Sink>),
    /// Takes records as files.
    Files(Arc<Files>),
    /// Takes a summary of each run.
    Runs(Arc<Webhook>),
}

impl Destination {
    /// What it is, such as `loki`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Records(sink) => sink.kind(),
            Self::Files(_) => "files",
            Self::Runs(_) => "webhook",
        }
    }

    /// Where it is, without secrets.
    pub fn place(&self) -> String {
        match self {
            Self::Records(sink) => sink.place(),
            Self::Files(files) => files.place(),
            Self::Runs(webhook) => webhook.place(),
        }
    }

    /// Tries whether it is there and lets the caller in.
    pub async fn check(&self) -> Result<(), SendError> {
        match self {
            Self::Records(sink) => sink.check().await,
            Self::Files(files) => files.check().await,
            Self::Runs(webhook) => webhook.check().await,
        }
    }
}
