//! The destination of a sink: it receives records in batches, files, or a summary of each run.

use std::sync::Arc;

use super::sinks::files::Files;
use super::sinks::openlineage::OpenLineage;
use super::sinks::sink::{RunSink, SendError, Sink};
use super::sinks::webhook::Webhook;

/// A destination of records or runs.
#[derive(Clone)]
pub struct Destination(pub(super) DestinationKind);

/// The kind of data that a destination receives.
#[derive(Clone)]
pub(super) enum DestinationKind {
    /// Records in batches.
    Records(Arc<dyn Sink>),
    /// Records as files.
    Files(Arc<Files>),
    /// A message about each run.
    Runs(Arc<dyn RunSink>),
}

impl<S: Sink + 'static> From<S> for Destination {
    fn from(sink: S) -> Self {
        Self(DestinationKind::Records(Arc::new(sink)))
    }
}

impl From<Files> for Destination {
    fn from(files: Files) -> Self {
        Self(DestinationKind::Files(Arc::new(files)))
    }
}

impl From<Webhook> for Destination {
    fn from(webhook: Webhook) -> Self {
        Self(DestinationKind::Runs(Arc::new(webhook)))
    }
}

impl From<OpenLineage> for Destination {
    fn from(service: OpenLineage) -> Self {
        Self(DestinationKind::Runs(Arc::new(service)))
    }
}

impl Destination {
    /// Its kind, such as `loki`.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            DestinationKind::Records(sink) => sink.kind(),
            DestinationKind::Files(_) => "files",
            DestinationKind::Runs(sink) => sink.kind(),
        }
    }

    /// Its location, without secrets.
    pub fn location(&self) -> String {
        match &self.0 {
            DestinationKind::Records(sink) => sink.location(),
            DestinationKind::Files(files) => files.location(),
            DestinationKind::Runs(sink) => sink.location(),
        }
    }

    /// Tests whether it is available and grants access.
    pub async fn check(&self) -> Result<(), SendError> {
        match &self.0 {
            DestinationKind::Records(sink) => sink.check().await,
            DestinationKind::Files(files) => files.check().await,
            DestinationKind::Runs(sink) => sink.check().await,
        }
    }
}
