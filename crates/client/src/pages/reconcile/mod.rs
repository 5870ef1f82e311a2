//! Joins the pages of a log into one: on disk, in bounded memory, none lost and none twice.
//!
//! ```text
//! bytes of a page ▸ PageSpool ▸ chunks on disk, sorted by time        (one spool a page, several at once)
//! all SpooledPages ▸ merge ▸ entries of the whole log, one after another
//! ```
//!
//! Pages need not be disjoint, and a cut may fall inside an instant. For each instant the log has the union of what
//! its pages have: of equal entries as many as the page that holds most of them. Equal entries of one page are never
//! merged, so that a line that was logged five times stands there five times.

mod chunk;
mod merge;
mod page;
mod shared;
mod spool;

pub use merge::{Merged, merge, merge_interval};
pub use page::{Chunk, LogOrder, SpooledPage};
pub use spool::{PageSpool, SpoolSettings};
