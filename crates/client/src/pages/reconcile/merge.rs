//! Merges the pages of a log: reads their chunks side by side, opening each only when its time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::path::Path;

use super::chunk::{self, ChunkReader, EntryKey};
use super::page::{Chunk, LogOrder, SpooledPage};
use super::shared::Shared;
use crate::error::Result;

/// The result of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// Entries of the whole log.
    pub entries: u64,
    /// Entries that were left out because another page holds them as well.
    pub repeated: u64,
}

impl Merged {
    /// Adds the result of another merge, of another part of the log.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.repeated += other.repeated;
    }
}

/// Gives the entries of the whole log, one after another, each the text of one JSON object.
pub fn merge(
    folder: &Path,
    pages: &[SpooledPage],
    order: LogOrder,
    give: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Merged> {
    match order {
        LogOrder::Time => merge_interval(folder, pages, i64::MIN..=i64::MAX, &mut |_, entry| give(entry)),
        LogOrder::Received => as_received(folder, pages, give),
    }
}

/// Gives the entries of an interval of time, in milliseconds since 1970, each with its time: oldest first, entries of
/// one instant in the order of their arrival. An entry that has no time has that of its neighbour.
pub fn merge_interval(
    folder: &Path,
    pages: &[SpooledPage],
    interval: RangeInclusive<i64>,
    give: &mut dyn FnMut(i64, &[u8]) -> Result<()>,
) -> Result<Merged> {
    ByTime::new(folder, &in_file_order(folder, pages)?, interval).run(give)
}

/// The pages, with every chunk in the order of its file. A file whose order is unknown has that of the others.
fn in_file_order(folder: &Path, pages: &[SpooledPage]) -> Result<Vec<SpooledPage>> {
    let told = pages.iter().filter_map(|page| page.newest_first);
    let (newest, oldest): (Vec<bool>, Vec<bool>) = told.partition(|newest_first| *newest_first);
    let usual = newest.len() >= oldest.len();
    let mut pages = pages.to_vec();
    for page in &mut pages {
        let newest_first = page.newest_first.unwrap_or(usual);
        for chunk in page.chunks.iter_mut().filter(|chunk| chunk.newest_first != newest_first) {
            *chunk = chunk::reversed(folder, chunk)?;
        }
    }
    Ok(pages)
}

/// Where the next entry of an open chunk belongs: by time, then the page that reaches further back, then by rank.
type Key = (i64, u32, u64);

struct ByTime<'a> {
    folder: &'a Path,
    /// Chunks that are still closed, the earliest last, and the place of each one's page among the pages.
    closed: Vec<(u32, &'a Chunk)>,
    open: Vec<Option<Open>>,
    /// The next entry of each open chunk, and which it is.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    shared: Shared,
    interval: RangeInclusive<i64>,
}

/// Takes entries with their times.
type EntryConsumer<'a> = dyn FnMut(i64, &[u8]) -> Result<()> + 'a;

struct Open {
    reader: ChunkReader,
    page: u32,
}

impl<'a> ByTime<'a> {
    fn new(folder: &'a Path, pages: &'a [SpooledPage], interval: RangeInclusive<i64>) -> Self {
        // A page that ends inside an instant holds the newest part of it; one that reaches further back holds all of
        // it, or the part before. So the further back first: that is the order in which the entries came.
        let mut furthest_first: Vec<&SpooledPage> = pages.iter().collect();
        furthest_first.sort_by_key(|page| (page.span().map(|(first, _)| first), Reverse(page.age), page.id));
        let places = (0_u32..).zip(furthest_first);
        let chunks = places.flat_map(|(place, page)| page.chunks.iter().map(move |chunk| (place, chunk)));
        let is_inside =
            |(_, chunk): &(u32, &Chunk)| chunk.first_ms <= *interval.end() && chunk.last_ms >= *interval.start();
        let mut closed: Vec<_> = chunks.filter(is_inside).collect();
        closed.sort_by_key(|(_, chunk)| Reverse(chunk.first_ms));
        Self { folder, closed, open: Vec::new(), heads: BinaryHeap::new(), shared: Shared::default(), interval }
    }

    fn run(mut self, give: &mut EntryConsumer<'_>) -> Result<Merged> {
        let mut merged = Merged::default();
        while let Some(instant) = self.next_instant()?.filter(|instant| instant <= self.interval.end()) {
            match self.is_of_one_page(instant) {
                true => merged.entries += self.emit_all(instant, give)?,
                false => self.emit_union(instant, give, &mut merged)?,
            }
        }
        Ok(merged)
    }

    /// The earliest time that is left; every chunk that has it is open then.
    fn next_instant(&mut self) -> Result<Option<i64>> {
        let open = self.heads.peek().map(|Reverse((key, _))| key.0);
        let closed = self.closed.last().map(|(_, chunk)| chunk.first_ms);
        let Some(instant) = open.into_iter().chain(closed).min() else { return Ok(None) };
        while let Some((page, chunk)) = self.closed.pop_if(|(_, chunk)| chunk.first_ms <= instant) {
            let mut reader = ChunkReader::open(self.folder, chunk)?;
            while reader.position().is_some_and(|position| position.time_ms < *self.interval.start()) {
                reader.advance()?;
            }
            let index = self.open.len();
            self.open.push(Some(Open { reader, page }));
            self.put_head(index);
        }
        Ok(Some(instant))
    }

    fn put_head(&mut self, index: usize) {
        let Some(open) = &self.open[index] else { return };
        match open.reader.position() {
            Some(EntryKey { time_ms, rank }) => {
                self.heads.push(Reverse(((time_ms, open.page, rank), index)));
            }
            // A chunk that is done is closed, so that few files are open at a time.
            None => self.open[index] = None,
        }
    }

    fn is_of_one_page(&self, instant: i64) -> bool {
        // Entries with later times follow; few chunks are open.
        let mut pages = self.heads.iter().filter(|Reverse((key, _))| key.0 == instant).map(|Reverse((key, _))| key.1);
        let first = pages.next();
        pages.all(|page| Some(page) == first)
    }

    fn emit_all(&mut self, instant: i64, give: &mut EntryConsumer<'_>) -> Result<u64> {
        let mut given = 0;
        while let Some(index) = self.pop_head(instant) {
            // Only one chunk has this instant most of the time: it is read through without going back to the heap.
            let is_alone = self.heads.peek().is_none_or(|Reverse((key, _))| key.0 != instant);
            while let Some(open) = &mut self.open[index] {
                give(instant, open.reader.entry())?;
                given += 1;
                open.reader.advance()?;
                let is_here = open.reader.position().is_some_and(|position| position.time_ms == instant);
                if !(is_alone && is_here) {
                    break;
                }
            }
            self.put_head(index);
        }
        Ok(given)
    }

    /// Gives the union of what several pages hold of an instant. The heap gives page after page.
    fn emit_union(&mut self, instant: i64, give: &mut EntryConsumer<'_>, merged: &mut Merged) -> Result<()> {
        self.shared.clear();
        let mut page_before = None;
        while let Some(index) = self.pop_head(instant) {
            let Some(open) = &mut self.open[index] else { continue };
            if page_before.replace(open.page) != Some(open.page) {
                self.shared.next_page();
            }
            match self.shared.is_new(instant, open.reader.entry()) {
                true => {
                    give(instant, open.reader.entry())?;
                    merged.entries += 1;
                }
                false => merged.repeated += 1,
            }
            open.reader.advance()?;
            self.put_head(index);
        }
        Ok(())
    }

    fn pop_head(&mut self, instant: i64) -> Option<usize> {
        self.heads.peek().filter(|Reverse((key, _))| key.0 == instant)?;
        self.heads.pop().map(|Reverse((_, index))| index)
    }
}

/// Passes on the entries page after page, the newest page first, in their received order. Entries of an older page that
/// a newer page also contains are omitted.
fn as_received(folder: &Path, pages: &[SpooledPage], give: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Merged> {
    let mut merged = Merged::default();
    let mut newest_first: Vec<&SpooledPage> = pages.iter().collect();
    newest_first.sort_by_key(|page| (page.age, page.id));
    let mut shared = Shared::default();
    for (index, page) in newest_first.iter().enumerate() {
        shared.next_page();
        let overlaps = overlaps(&newest_first, index);
        let is_shared = |time: i64| overlaps.iter().any(|(first, last)| (*first..=*last).contains(&time));
        for chunk in &page.chunks {
            let mut reader = ChunkReader::open(folder, chunk)?;
            while let Some(EntryKey { time_ms, .. }) = reader.position() {
                if is_shared(time_ms) && !shared.is_new(time_ms, reader.entry()) {
                    merged.repeated += 1;
                } else {
                    give(reader.entry())?;
                    merged.entries += 1;
                }
                reader.advance()?;
            }
        }
        // Memory holds what pages that are still to come can repeat, not the whole log.
        let last_to_come = newest_first[index + 1..].iter().filter_map(|page| page.span()).map(|(_, last)| last).max();
        shared.forget_after(last_to_come.unwrap_or(i64::MIN));
    }
    Ok(merged)
}

/// Returns the time intervals in which other pages overlap with this page: only these can contain duplicates.
fn overlaps(pages: &[&SpooledPage], index: usize) -> Vec<(i64, i64)> {
    let Some((first, last)) = pages[index].span() else { return Vec::new() };
    let others = pages.iter().enumerate().filter(|(other, _)| *other != index);
    let spans = others.filter_map(|(_, other)| other.span());
    spans.filter(|(other_first, other_last)| *other_first <= last && *other_last >= first).collect()
}
