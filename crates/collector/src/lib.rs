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
mod collect;
mod deliver;
mod fetch;
mod glob;
pub mod settings;
mod shutdown;
mod signature;
mod workers;

pub use collect::{
    CollectError, CollectEvent, CollectProgress, CollectSettings, CollectStats, Collector, Discovered, Range,
    Selection, Upstream,
};
pub use deliver::{
    Batch, BatchBounds, Deliverer, DeliveryStats, Destination, Encoded, Item, RecordOutcome, Redaction, Redactor,
    RunContext, SendError, Sink, SinkConfig, SinkFilter, SinkFuture, SinkResponse, SinkSettings, SinkSettingsError,
    UnknownWord,
};
pub use fetch::{
    Completeness, FetchError, FetchEvent, FetchReport, FetchRequest, Form, NoProgress, Output, Progress, Result,
    fetch_run,
};
pub use runlog_client::reconcile::LogOrder;
pub use signature::signature;
