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
mod mapping;
mod pending;
mod redact;
mod send;
mod sink;
mod sinks;
mod stats;
mod target;
mod template;

pub use config::{BatchBounds, SinkConfig, SinkFilter};
pub use deliverer::Deliverer;
pub use destination::Destination;
pub use mapping::{Field, Mapping, Source};
pub use redact::{Redaction, Redactor};
pub use sink::{Batch, Encoded, Item, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse};
pub use sinks::elasticsearch::Elasticsearch;
pub use sinks::files::{FileForm, Files, Packing};
pub use sinks::http::{HttpAccess, HttpSettings};
pub use sinks::loki::Loki;
pub use sinks::otlp::Otlp;
pub use sinks::splunk::{Splunk, SplunkPlace};
pub use sinks::webhook::Webhook;
pub use stats::DeliveryStats;
pub use template::Template;
