//! Finds the runs of upstreams and brings their logs into the archive, again and again.
//!
//! ```text
//! discover ▸ claim ▸ fetch ▸ interval (what is there whole) ▸ record_blocks ▸ land (what the archive lacks)
//! ```

pub(crate) mod collector;
pub(crate) mod discover;
pub(crate) mod error;
pub(crate) mod interval;
pub(crate) mod land;
pub(crate) mod record_blocks;
pub(crate) mod upstream;

pub use collector::{CollectEvent, CollectProgress, Collector, Round, Unheard};
pub use discover::{Discovered, Range};
pub use error::CollectError;
pub use upstream::{CollectSettings, Selection, Upstream};
