//! A chunk: entries in a file, each with its time, its rank among entries with the same time, and a checksum, so that
//! bytes that were altered on disk are never used.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::page::{Chunk, SpooledPage};
use crate::error::{Error, ErrorKind, Result};

/// How much of a chunk is read or written at a time. Unit: bytes. A merge has few chunks open at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Checksum of all that follows, time, rank, length.
const HEAD_BYTES: usize = CHECKSUM_BYTES + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;

/// The position of an entry: its time, then its rank in its page among entries with the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryKey {
    pub(super) time_ms: i64,
    pub(super) rank: u64,
}

/// Writes entries to a file, in the order in which they are to be read; over what stood in it.
pub(super) fn write<'a>(
    folder: &Path,
    name: String,
    newest_first: bool,
    entries: impl Iterator<Item = (EntryKey, &'a [u8])>,
) -> Result<Chunk> {
    let path = folder.join(&name);
    let mut chunk = Chunk { file: name, bytes: 0, first_ms: i64::MAX, last_ms: i64::MIN, newest_first };
    let write = || -> std::io::Result<()> {
        // Cut off at its end: a file that is emptied first is written to the disk at once when it is closed.
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        for (position, entry) in entries {
            let head = head(position, entry)?;
            out.write_all(&checksum(&head, entry).to_le_bytes())?;
            out.write_all(&head)?;
            out.write_all(entry)?;
            chunk.bytes += (HEAD_BYTES + entry.len()) as u64;
            chunk.first_ms = chunk.first_ms.min(position.time_ms);
            chunk.last_ms = chunk.last_ms.max(position.time_ms);
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.set_len(chunk.bytes)
    };
    write().map_err(|error| storage("write", &path, error))?;
    Ok(chunk)
}

/// Time, rank and length of an entry.
fn head(position: EntryKey, entry: &[u8]) -> std::io::Result<[u8; HEAD_BYTES - CHECKSUM_BYTES]> {
    // An entry is far shorter than what 32 bits count; see ENTRY_BYTES_MAX.
    let length = u32::try_from(entry.len()).map_err(std::io::Error::other)?;
    let mut head = [0; HEAD_BYTES - CHECKSUM_BYTES];
    head[..8].copy_from_slice(&position.time_ms.to_le_bytes());
    head[8..16].copy_from_slice(&position.rank.to_le_bytes());
    head[16..].copy_from_slice(&length.to_le_bytes());
    Ok(head)
}

fn checksum(head: &[u8], entry: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(head);
    checksum.update(entry);
    checksum.finalize()
}

/// Rewrites a chunk of a file that turned out to have the opposite order. The chunk fits into memory.
pub(super) fn reversed(folder: &Path, chunk: &Chunk) -> Result<Chunk> {
    let mut reader = ChunkReader::open(folder, chunk)?;
    let mut entries = Vec::new();
    while let Some(EntryKey { time_ms, rank }) = reader.position() {
        entries.push((EntryKey { time_ms, rank: u64::MAX - rank }, reader.entry().to_vec()));
        reader.advance()?;
    }
    entries.sort_unstable_by_key(|(position, _)| *position);
    let name = format!("turned-{}", chunk.file);
    write(folder, name, !chunk.newest_first, entries.iter().map(|(position, entry)| (*position, entry.as_slice())))
}

impl SpooledPage {
    /// True when the folder still holds the page as it was laid down; a crash of the machine can leave holes.
    pub fn is_on_disk(&self, folder: &Path) -> bool {
        let entries = self.chunks.iter().map(|chunk| count_whole(folder, chunk));
        entries.sum::<Option<u64>>() == Some(self.entries)
    }
}

/// Counts the entries of a chunk; none when it is not as it was written.
fn count_whole(folder: &Path, chunk: &Chunk) -> Option<u64> {
    let length = std::fs::metadata(folder.join(&chunk.file)).ok()?.len();
    let mut reader = ChunkReader::open(folder, chunk).ok().filter(|_| length == chunk.bytes)?;
    let mut entries = 0;
    while let Some(EntryKey { time_ms, .. }) = reader.position() {
        if !(chunk.first_ms..=chunk.last_ms).contains(&time_ms) {
            return None;
        }
        entries += 1;
        reader.advance().ok()?;
    }
    Some(entries)
}

/// Reads a chunk, entry after entry.
pub(super) struct ChunkReader {
    input: BufReader<File>,
    path: std::path::PathBuf,
    /// The length of the whole chunk.
    bytes: u64,
    entry: Vec<u8>,
    position: Option<EntryKey>,
}

impl ChunkReader {
    /// Opens a chunk, positioned at its first entry.
    pub(super) fn open(folder: &Path, chunk: &Chunk) -> Result<Self> {
        let path = folder.join(&chunk.file);
        let file = File::open(&path).map_err(|error| storage("read", &path, error))?;
        let input = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut reader = Self { input, path, bytes: chunk.bytes, entry: Vec::new(), position: None };
        reader.advance()?;
        Ok(reader)
    }

    /// The position of the current entry; none after the last.
    pub(super) fn position(&self) -> Option<EntryKey> {
        self.position
    }

    /// The entry that the reader is on.
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self) -> Result<()> {
        self.position = self.read().map_err(|error| storage("read", &self.path, error))?;
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<Option<EntryKey>> {
        let mut head = [0; HEAD_BYTES];
        match self.input.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => self.input.read_exact(&mut head[1..])?,
        }
        let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the file is damaged");
        let (kept, head) = head.split_at(CHECKSUM_BYTES);
        let (time, rest) = head.split_at(8);
        let (rank, length) = rest.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let length = number(length) as usize;
        if length as u64 > self.bytes {
            return Err(damaged());
        }
        self.entry.resize(length, 0);
        self.input.read_exact(&mut self.entry)?;
        if number(kept) != u64::from(checksum(head, &self.entry)) {
            return Err(damaged());
        }
        Ok(Some(EntryKey { time_ms: number(time) as i64, rank: number(rank) }))
    }
}

pub(super) fn storage(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Storage, format!("cannot {what} {}", path.display()), error)
}
