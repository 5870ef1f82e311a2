//! What records are sent to: one file for each kind of sink, and what they share.
//!
//! `sink` says what a sink has to do; `http` is for those that speak HTTP; `mapping` and `template` name fields and files.

mod elasticsearch;
pub(super) mod files;
mod http;
mod loki;
mod mapping;
mod otlp;
pub(super) mod sink;
mod splunk;
mod template;
pub(super) mod webhook;

pub use elasticsearch::Elasticsearch;
pub use files::{FileForm, Files, Packing};
pub use http::{HttpAccess, HttpSettings};
pub use loki::Loki;
pub use mapping::{Field, Mapping, Source};
pub use otlp::Otlp;
pub use sink::{Batch, Encoded, Item, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse};
pub use splunk::{Splunk, SplunkPlace};
pub use template::Template;
pub use webhook::Webhook;
