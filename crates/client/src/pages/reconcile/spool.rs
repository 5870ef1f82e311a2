//! Lays the entries of a page down on disk as they arrive: gathered up to a bound of memory, sorted, written as a
//! chunk.

use std::borrow::Cow;
use std::path::PathBuf;

use super::chunk::{self, EntryKey};
use super::page::{Chunk, LogOrder, SpooledPage};
use crate::error::Result;
use crate::pages::download::DownloadSink;
use crate::pages::entries::{EntrySplitter, time_of};
use crate::transport::mend::{mended, repaired};

/// The settings of spools: where and how pages are stored.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// The folder of the chunks.
    pub folder: PathBuf,
    /// The order of the whole log.
    pub order: LogOrder,
    /// Entries of a page that are gathered in memory. Unit: bytes.
    pub memory_bytes: usize,
}

/// Takes the bytes of one page file.
pub struct PageSpool {
    settings: SpoolSettings,
    splitter: EntrySplitter,
    gathered: BufferedEntries,
    page: SpooledPage,
    /// Steps of time in the file: forwards, backwards.
    steps: (u64, u64),
}

/// Entries in memory, one after another.
#[derive(Default)]
struct BufferedEntries {
    bytes: Vec<u8>,
    entries: Vec<BufferedEntry>,
    /// The entry's place in the file.
    next: u64,
    last_time: Option<i64>,
}

struct BufferedEntry {
    time_ms: i64,
    place: u64,
    end: usize,
}

impl PageSpool {
    /// Creates a spool for a page: `id` is part of the names of its files, `age` is its position in time.
    pub fn new(settings: SpoolSettings, id: u32, age: u32) -> Self {
        let page = SpooledPage {
            id,
            age,
            entries: 0,
            entries_without_time: 0,
            entries_mended: 0,
            newest_first: None,
            chunks: Vec::new(),
        };
        Self { settings, splitter: EntrySplitter::default(), gathered: BufferedEntries::default(), page, steps: (0, 0) }
    }

    /// Ends the page; fails when its file is not whole.
    pub fn finish(mut self) -> Result<SpooledPage> {
        self.page.entries_mended += self.splitter.cut_short();
        let (gathered, page, steps) = (&mut self.gathered, &mut self.page, &mut self.steps);
        std::mem::take(&mut self.splitter).finish(|entry| gathered.take(entry, page, steps))?;
        self.write_chunk()?;
        self.page.newest_first = self.direction();
        Ok(self.page)
    }

    /// True if the times of a file decrease in the majority of its steps; none if it has no steps.
    fn direction(&self) -> Option<bool> {
        match self.steps {
            (0, 0) => None,
            (forwards, backwards) => Some(backwards >= forwards),
        }
    }

    fn write_chunk(&mut self) -> Result<()> {
        let mut gathered = std::mem::take(&mut self.gathered.entries);
        if gathered.is_empty() {
            return Ok(());
        }
        let starts = std::iter::once(0).chain(gathered.iter().map(|entry| entry.end)).collect::<Vec<_>>();
        let first_place = gathered[0].place;
        let text =
            |entry: &BufferedEntry| &self.gathered.bytes[starts[(entry.place - first_place) as usize]..entry.end];
        // Later steps may find the opposite; then the merge reverses the chunk.
        let newest_first = self.direction().unwrap_or(true);
        let position = |entry: &BufferedEntry| EntryKey {
            time_ms: entry.time_ms,
            // In a newest-first file, records that arrived later come first.
            rank: if newest_first { u64::MAX - entry.place } else { entry.place },
        };
        if self.settings.order == LogOrder::Time {
            gathered.sort_unstable_by_key(position);
        }
        let name = format!("page-{}-{}.chunk", self.page.id, self.page.chunks.len());
        let written = gathered.iter().map(|entry| (position(entry), text(entry)));
        let chunk = chunk::write(&self.settings.folder, name, newest_first, written)?;
        self.page.chunks.push(chunk);
        self.gathered.bytes.clear();
        gathered.clear();
        self.gathered.entries = gathered;
        Ok(())
    }

    fn remove_chunks(&mut self) {
        for Chunk { file, .. } in self.page.chunks.drain(..) {
            // A file that could not be removed is overwritten, or removed with its folder.
            let _ = std::fs::remove_file(self.settings.folder.join(file));
        }
    }
}

impl BufferedEntries {
    fn take(&mut self, entry: &[u8], page: &mut SpooledPage, steps: &mut (u64, u64)) -> Result<()> {
        page.entries += 1;
        let mut entry = mended(entry);
        let time = match time_of(&entry) {
            Ok(time) => time,
            Err(_) => {
                entry = Cow::Owned(repaired(&entry).into_owned());
                time_of(&entry).unwrap_or_default()
            }
        };
        let entry = match &entry {
            Cow::Borrowed(entry) => entry,
            Cow::Owned(mended) => {
                page.entries_mended += 1;
                mended.as_slice()
            }
        };
        match (time, self.last_time) {
            (Some(time), Some(last)) if time > last => steps.0 += 1,
            (Some(time), Some(last)) if time < last => steps.1 += 1,
            (Some(time), None) => self.entries.iter_mut().for_each(|before| before.time_ms = time),
            _ => {}
        }
        if time.is_none() {
            page.entries_without_time += 1;
        }
        self.last_time = time.or(self.last_time);
        self.bytes.extend_from_slice(entry);
        let entry = BufferedEntry { time_ms: self.last_time.unwrap_or(0), place: self.next, end: self.bytes.len() };
        self.next += 1;
        self.entries.push(entry);
        Ok(())
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * 2 * size_of::<BufferedEntry>()
    }
}

impl DownloadSink for PageSpool {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (gathered, page, steps) = (&mut self.gathered, &mut self.page, &mut self.steps);
        self.splitter.feed(bytes, |entry| gathered.take(entry, page, steps))?;
        // Pieces are short, so that the bound is passed by little.
        if self.gathered.memory() >= self.settings.memory_bytes {
            self.write_chunk()?;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.remove_chunks();
        let (id, age) = (self.page.id, self.page.age);
        *self = Self::new(self.settings.clone(), id, age);
        Ok(())
    }
}
