//! Fetches the logs of runs from upstreams completely, and resumes after interruptions.
//!
//! ```text
//! wait until final and settled ▸ request pages ▸ store them on disk ▸ merge ▸ compare the count ▸ move the result into place
//! ```
//!
//! Also delivers archived runs to sinks: files, monitoring systems, webhooks.
//!
//! ```text
//! enqueue ended runs ▸ claim ▸ read on from the last step ▸ redact ▸ send a batch ▸ record the step ▸ done
//! ```
//!
//! How a page is requested and downloaded, and how pages are joined, is in the client.

pub mod alerts;
mod collect;
mod deliver;
mod fetch;
mod glob;
pub mod settings;
mod shutdown;
mod signature;
mod sync;
mod workers;

pub use collect::{
    AuditLogRound, CollectError, CollectEvent, CollectProgress, CollectSettings, CollectStats, Collector, Discovered,
    Range, RightOutcome, RightTest, Selection, Upstream,
};
pub use deliver::{
    Batch, BatchBounds, Deliverer, DeliveryStats, Destination, Encoded, Item, Origin, RecordOutcome, Redaction,
    Redactor, RunContext, SendError, Sink, SinkConfig, SinkFilter, SinkFuture, SinkResponse, SinkSettings,
    TenantContext,
};
pub use fetch::{
    Completeness, FetchError, FetchEvent, FetchReport, FetchRequest, NoProgress, Output, OutputFormat, Progress,
    Result, fetch_run,
};
pub use runlog_client::reconcile::LogOrder;
pub use signature::signature;
