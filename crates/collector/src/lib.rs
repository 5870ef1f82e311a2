//! Brings runs from an upstream to where they are wanted, whole, and survives being interrupted.
//!
//! ```text
//! wait until final and settled ▸ ask for pages ▸ lay them down ▸ merge ▸ compare the count ▸ put the result in place
//! ```
//!
//! And delivers archived runs to sinks: files, monitoring systems, webhooks.
//!
//! ```text
//! offer runs that have ended ▸ claim ▸ read on from the last step ▸ redact ▸ send a batch ▸ note the step ▸ done
//! ```
//!
//! What is absent here: how a page is asked for and downloaded, and how pages become one log, which is the client's.

pub mod alerts;
mod blocks;
mod checkpoint;
mod collect;
mod collect_error;
mod count;
mod deliver;
mod discover;
mod divide;
mod error;
mod fetch;
mod gather;
mod land;
mod mapping;
mod progress;
mod ready;
mod redact;
mod render;
mod request;
mod sink;
mod sinks;
mod stretch;
mod template;
mod upstream;
mod workers;

pub use collect::{CollectEvent, CollectProgress, Collector, Round, Unheard};
pub use collect_error::CollectError;
pub use deliver::{BatchBounds, Deliverer, DeliveryRound, SinkFilter, SinkSetup};
pub use discover::{Discovered, Range};
pub use error::{FetchError, Result};
pub use fetch::fetch_run;
pub use mapping::{Field, Mapping, Source};
pub use progress::{FetchEvent, NoProgress, Progress};
pub use redact::{Redaction, Redactor};
pub use request::{Completeness, FetchReport, FetchRequest, Form, Output};
pub use runlog_client::reconcile::LogOrder;
pub use sink::{Answered, Batch, Destination, Doing, Encoded, Item, RunFacts, SendError, Sent, Sink};
pub use sinks::elasticsearch::Elasticsearch;
pub use sinks::files::{FileForm, Files, Packing};
pub use sinks::http::{HttpAccess, HttpSettings};
pub use sinks::loki::Loki;
pub use sinks::otlp::Otlp;
pub use sinks::splunk::{Splunk, SplunkPlace};
pub use sinks::webhook::{Webhook, signature};
pub use template::Template;
pub use upstream::{CollectSettings, Selection, Upstream};
