//! The destination of a sink: it receives records in batches, files, or a summary of each run.

use std::sync::Arc;

use super::sinks::files::Files;
use super::sinks::openlineage::OpenLineage;
use super::sinks::sink::{RunSink, SendError, Sink};
use super::sinks::webhook::Webhook;

/// A destination of records or runs.
#[derive(Clone)]
pub struct Destination(pub(super) Takes);

/// What a destination receives.
#[derive(Clone)]
pub(super) enum Takes {
    /// Records in batches.
    Records(Arc<dyn Sink>),
    /// Records as files.
    Files(Arc<Files>),
    /// A message about each run.
    Runs(Arc<dyn RunSink>),
}

impl<S: Sink + 'static> From<S> for Destination {
    fn from(sink: S) -> Self {
        Self(Takes::Records(Arc::new(sink)))
    }
}

impl From<Files> for Destination {
    fn from(files: Files) -> Self {
        Self(Takes::Files(Arc::new(files)))
    }
}

impl From<Webhook> for Destination {
    fn from(webhook: Webhook) -> Self {
        Self(Takes::Runs(Arc::new(webhook)))
    }
}

impl From<OpenLineage> for Destination {
    fn from(service: OpenLineage) -> Self {
        Self(Takes::Runs(Arc::new(service)))
    }
}

impl Destination {
    /// Its kind, such as `loki`.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Takes::Records(sink) => sink.kind(),
            Takes::Files(_) => "files",
            Takes::Runs(sink) => sink.kind(),
        }
    }

    /// Its location, without secrets.
    pub fn place(&self) -> String {
        match &self.0 {
            Takes::Records(sink) => sink.place(),
            Takes::Files(files) => files.place(),
            Takes::Runs(sink) => sink.place(),
        }
    }

    /// Tests whether it is available and grants access.
    pub async fn check(&self) -> Result<(), SendError> {
        match &self.0 {
            Takes::Records(sink) => sink.check().await,
            Takes::Files(files) => files.check().await,
            Takes::Runs(sink) => sink.check().await,
        }
    }
}
