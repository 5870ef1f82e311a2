//! A page stored on disk, and the requested order of the whole log.

use serde::{Deserialize, Serialize};

/// The order of the entries of the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogOrder {
    /// By time, oldest first; entries of one instant in the order of their arrival.
    Time,
    /// Page after page and entry after entry as they were received, which is newest first.
    Received,
}

/// A page stored on disk. Its serialized form is kept across restarts of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledPage {
    /// Names its files; no two pages have the same.
    pub id: u32,
    /// The position of the page in time: pages with a greater age hold older entries. Two pages may have the same age.
    pub age: u32,
    /// Its entries.
    pub entries: u64,
    /// Number of entries without a time, which stay next to their neighbours.
    pub entries_without_time: u64,
    /// Number of entries that were not JSON and are kept as closely as possible.
    #[serde(default)]
    pub entries_mended: u64,
    /// The order of its file, if it can be derived from the times in it.
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
    /// The earliest and the latest time of its entries; none when it is empty.
    pub fn span(&self) -> Option<(i64, i64)> {
        let first = self.chunks.iter().map(|chunk| chunk.first_ms).min()?;
        let last = self.chunks.iter().map(|chunk| chunk.last_ms).max()?;
        Some((first, last))
    }
}
