//! Joins the pages of a log into one: on disk, in bounded memory, none lost and none twice.
//!
//! ```text
//! bytes of a page ▸ PageSpool ▸ chunks on disk, sorted by time        (one spool a page, several at once)
//! all SpooledPages ▸ merge ▸ entries of the whole log, one after another
//! ```
//!
//! Pages need not be disjoint, and a cut can be within an instant. For each instant, the log contains the union of its
//! pages: of equal entries, as many as the page with the most of them. Equal entries within a page are never merged, so
//! that a line that was logged five times appears five times.

mod chunk;
mod merge;
mod page;
mod shared;
mod spool;

pub use merge::{Merged, merge, merge_interval};
pub use page::{Chunk, LogOrder, SpooledPage};
pub use spool::{PageSpool, SpoolSettings};
