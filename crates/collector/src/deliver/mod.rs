//! Delivers archived runs to sinks: files, monitoring systems, webhooks.
//!
//! ```text
//! offer ▸ claim ▸ read on from the last step ▸ redact ▸ batch ▸ sink ▸ note the step
//! ```

pub(crate) mod deliverer;
pub(crate) mod mapping;
pub(crate) mod redact;
pub(crate) mod sink;
pub(crate) mod sinks;
pub(crate) mod template;

pub use deliverer::{BatchBounds, Deliverer, DeliveryRound, SinkFilter, SinkSetup};
pub use mapping::{Field, Mapping, Source};
pub use redact::{Redaction, Redactor};
pub use sink::{Answered, Batch, Destination, Doing, Encoded, Item, RunFacts, SendError, Sent, Sink};
pub use sinks::elasticsearch::Elasticsearch;
pub use sinks::files::{FileForm, Files, Packing};
pub use sinks::http::{HttpAccess, HttpSettings};
pub use sinks::loki::Loki;
pub use sinks::otlp::Otlp;
pub use sinks::splunk::{Splunk, SplunkPlace};
pub use sinks::webhook::{Webhook, signature};
pub use template::Template;
