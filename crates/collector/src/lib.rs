//! Brings runs from an upstream to where they are wanted, whole, and survives being interrupted.
//!
//! ```text
//! wait until final and settled ▸ ask for pages ▸ lay them down ▸ merge ▸ compare the count ▸ put the result in place
//! ```
//!
//! What is absent here: how a page is asked for and downloaded, and how pages become one log, which is the client's.

mod checkpoint;
mod collect;
mod collect_error;
mod count;
mod discover;
mod divide;
mod error;
mod fetch;
mod gather;
mod land;
mod progress;
mod ready;
mod render;
mod request;
mod upstream;

pub use collect::{CollectEvent, CollectProgress, Collector, Round, Unheard};
pub use collect_error::CollectError;
pub use discover::{Discovered, Range};
pub use error::{FetchError, Result};
pub use fetch::fetch_run;
pub use progress::{FetchEvent, NoProgress, Progress};
pub use request::{Completeness, FetchReport, FetchRequest, Form, Output};
pub use runlog_client::reconcile::LogOrder;
pub use upstream::{CollectSettings, Selection, Upstream};
