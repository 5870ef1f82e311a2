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
mod shared;
mod spool;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use merge::{Merged, merge, merge_stretch};
pub use spool::{PageSpool, SpoolSettings};

/// The order of the entries of the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogOrder {
    /// By time, oldest first; entries of one instant in the order of their arrival.
    Time,
    /// Page after page and entry after entry as they were received, which is newest first.
    Received,
}

/// What the disk holds of a page. Written down, it outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledPage {
    /// Names its files; no two pages have the same.
    pub id: u32,
    /// How far back it reaches: pages with a greater age hold what is older. Two pages may have the same.
    pub age: u32,
    /// Its entries.
    pub entries: u64,
    /// Those of them that have no time, and stand beside their neighbours.
    pub entries_without_time: u64,
    /// Those of them that were not JSON, and are as near to it as could be told.
    #[serde(default)]
    pub entries_mended: u64,
    /// The direction of its file, where the times in it tell.
    pub newest_first: Option<bool>,
    /// Its parts on disk.
    pub chunks: Vec<Chunk>,
}

/// A part of a page on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The name of its file in the folder.
    pub file: String,
    /// Its length. Unit: bytes.
    pub bytes: u64,
    /// The earliest time in it, in milliseconds since 1970.
    pub first_ms: i64,
    /// The latest.
    pub last_ms: i64,
    /// The direction that its file was taken to have when this was written.
    pub newest_first: bool,
}

impl SpooledPage {
    /// True when the folder still holds the page as it was laid down; a crash of the machine can leave holes.
    pub fn is_on_disk(&self, folder: &Path) -> bool {
        let entries = self.chunks.iter().map(|chunk| chunk::count_whole(folder, chunk));
        entries.sum::<Option<u64>>() == Some(self.entries)
    }

    /// The earliest and the latest time of its entries; none when it is empty.
    pub fn span(&self) -> Option<(i64, i64)> {
        let first = self.chunks.iter().map(|chunk| chunk.first_ms).min()?;
        let last = self.chunks.iter().map(|chunk| chunk.last_ms).max()?;
        Some((first, last))
    }
}
