//! Delivers archived runs to sinks: files, monitoring systems, webhooks.
//!
//! ```text
//! enqueue ▸ claim ▸ read on from the last step ▸ redact ▸ batch ▸ sink ▸ record the step
//! ```

mod audit_logs;
mod batch;
mod bounds;
mod config;
mod deliverer;
mod delivery;
mod destination;
mod enclosed;
mod error;
mod health;
mod pending;
mod preparation;
mod redact;
mod send;
mod settings;
mod sinks;
mod stats;
mod target;

pub use bounds::BatchBounds;
pub use config::{SinkConfig, SinkFilter};
pub use deliverer::Deliverer;
pub use destination::Destination;
pub use redact::{Redaction, Redactor};
pub use settings::SinkSettings;
pub(crate) use sinks::http;
pub use sinks::{
    Batch, Encoded, Item, Origin, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse, TenantContext,
};
pub use stats::DeliveryStats;
