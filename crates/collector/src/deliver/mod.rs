//! Delivers archived runs to sinks: files, monitoring systems, webhooks.
//!
//! ```text
//! offer ▸ claim ▸ read on from the last step ▸ redact ▸ batch ▸ sink ▸ note the step
//! ```

mod batch;
mod config;
mod deliverer;
mod delivery;
mod destination;
mod error;
mod health;
mod pending;
mod redact;
mod send;
mod sinks;
mod stats;
mod target;

pub use config::{BatchBounds, SinkConfig, SinkFilter};
pub use deliverer::Deliverer;
pub use destination::Destination;
pub use redact::{Redaction, Redactor};
pub use sinks::{
    Batch, Elasticsearch, Encoded, Field, FileForm, Files, HttpAccess, HttpSettings, Item, Loki, Mapping, Otlp,
    Packing, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse, Source, Splunk, SplunkPlace,
    Template, Webhook,
};
pub use stats::DeliveryStats;
