//! The journal of a fetch. It contains neither tokens nor links.
//!
//! ```text
//! 9d2a41c7 {"begun":{"version":2,"fetch":{…}}}        always the first line
//! 0b60f2e1 {"asked":{"id":0,"age":0,"end":null,…}}    a page was requested
//! 5c33d0aa {"came":{"id":0,…,"spooled":{…}}}          it is on disk
//! 71f0c2be {"divided":[…]}                            the rest is walked in parts
//! ```
//!
//! Each step appends a line with its own checksum, so the file grows by the same amount for each page. A line that was
//! altered or truncated counts as missing; its page is requested again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use runlog_client::reconcile::{LogOrder, SpooledPage};
use runlog_model::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::{FetchError, Result, storage};

/// The name of the file in the folder.
pub(super) const FILE: &str = "checkpoint.ndjson";
/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line<'a> {
    Begun { version: u32, fetch: Cow<'a, Identity> },
    Divided(Cow<'a, [Part]>),
    Asked(Cow<'a, PageState>),
    // The whole state of the page, which replaces that of the line of its request.
    Came(Cow<'a, PageState>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) fetch: Identity,
    /// Parts that are walked in parallel after the first page, newest first; none while there is only one walk.
    pub(super) parts: Vec<Part>,
    /// The requested pages, newest first, followed by page ends that were requested again.
    pub(super) pages: Vec<PageState>,
}

/// The identity of a fetch: only a fetch with the same identity can resume it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) run: String,
    pub(crate) start: Option<String>,
    /// The end time requested by the user.
    pub(crate) end: Option<String>,
    pub(crate) order: LogOrder,
    pub(crate) overlap_ms: i64,
    /// The end time that was fixed when the fetch started, if it does not wait for the end of the run.
    pub(crate) fixed_end: Option<String>,
}

/// A part of a log with its own walk; both ends inclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its earliest time; none for the start of the range.
    pub(crate) start: Option<Timestamp>,
    /// Its latest time, as sent to the service.
    pub(crate) end: String,
}

/// The difference in age between two parts: more pages than any walk has. Multiplied by the maximum number of parts,
/// ages do not overflow.
pub(crate) const PART_AGES: u32 = 4_000_000;

/// A requested page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageState {
    /// Its ID.
    pub(crate) id: u32,
    /// Its age: the number of pages after it.
    pub(crate) age: u32,
    /// The end time of its request.
    pub(crate) end: Option<String>,
    /// The end time of the next page, as returned by the service or found from the page on disk; none for the last
    /// page.
    pub(crate) next_end: Option<String>,
    /// True if older records remain, and the service did not return the end time of the next page.
    #[serde(default)]
    pub(crate) has_unnamed_next: bool,
    /// Whether the log could still grow, if the service reported it.
    #[serde(default)]
    pub(crate) settled: Option<bool>,
    /// The page on disk, once it is complete.
    pub(crate) spooled: Option<SpooledPage>,
}

/// The version of the format. Version 1 had no checksums; its pages are fetched again.
const VERSION: u32 = 2;

impl State {
    pub(super) fn new(fetch: Identity) -> Self {
        Self { fetch, parts: Vec::new(), pages: Vec::new() }
    }

    /// The state after all of these lines. `places` contains the index of each page.
    fn take(&mut self, line: Line<'_>, places: &mut HashMap<u32, usize>) {
        match line {
            // Starting over creates a new file.
            Line::Begun { .. } => {}
            Line::Divided(parts) => self.parts = parts.into_owned(),
            Line::Asked(page) | Line::Came(page) => {
                let page = page.into_owned();
                let place = *places.entry(page.id).or_insert(self.pages.len());
                match self.pages.get_mut(place) {
                    Some(known) => *known = page,
                    None => self.pages.push(page),
                }
            }
        }
    }

    /// The whole state, as lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let begun = Line::Begun { version: VERSION, fetch: Cow::Borrowed(&self.fetch) };
        let divided = (!self.parts.is_empty()).then(|| Line::Divided(Cow::Borrowed(&self.parts)));
        // In the order of their IDs, which is the order of the requests.
        [begun].into_iter().chain(divided).chain(self.pages.iter().map(PageState::line))
    }

    /// Discards the pages that no longer belong to the walk, because a page before them was discarded: the end of a
    /// page is known only from the page before it.
    fn forget_unreachable(&mut self) -> usize {
        let before = self.pages.len();
        let mut walked: Vec<u32> = self.pages.iter().filter(|page| page.is_of_walk()).map(|page| page.age).collect();
        walked.sort_unstable();
        let is_begun = walked.first() == Some(&0);
        let mut reachable = HashSet::with_capacity(walked.len());
        for age in walked {
            let is_of_known_part = (age / PART_AGES) as usize <= self.parts.len();
            if is_begun && is_of_known_part && (age % PART_AGES == 0 || reachable.contains(&(age - 1))) {
                reachable.insert(age);
            }
        }
        self.pages.retain(|page| reachable.contains(&page.age) || !page.is_of_walk() && is_begun);
        before - self.pages.len()
    }
}

impl PageState {
    /// True if the end time of the next page is still to be found from this page.
    pub(crate) fn awaits_next_end(&self) -> bool {
        self.has_unnamed_next && self.next_end.is_none()
    }

    /// True for a page of the walk; the IDs of pages that were requested again never equal their ages.
    pub(crate) fn is_of_walk(&self) -> bool {
        self.id == self.age
    }

    pub(super) fn line(&self) -> Line<'_> {
        let page = Cow::Borrowed(self);
        if self.spooled.is_some() { Line::Came(page) } else { Line::Asked(page) }
    }
}

/// Reads the journal of a folder; none if there is nothing to resume.
pub(super) fn read(folder: &Path) -> Result<Option<State>> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("read", &path)(error)),
    };
    // A folder that is reused has no state.
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let Some(Line::Begun { version: VERSION, fetch }) = read_line(first) else {
        let is_earlier = first.starts_with(b"{\"version\":1,");
        let why = if is_earlier { "was written by an earlier version" } else { "is damaged" };
        warn!("{} {why}; all pages are fetched again", path.display());
        return Ok(None);
    };
    let (mut state, mut places) = (State::new(fetch.into_owned()), HashMap::new());
    let mut damaged = 0;
    for line in lines {
        match read_line(line) {
            Some(line) => state.take(line, &mut places),
            // The last line may be incomplete, if the machine or the process stopped while it was written.
            None if !line.ends_with(b"\n") => {}
            None => damaged += 1,
        }
    }
    let forgotten = state.forget_unreachable();
    if damaged + forgotten > 0 {
        warn!(
            "{}: {damaged} lines are damaged; their pages and {forgotten} pages after them are fetched again",
            path.display()
        );
    }
    Ok(Some(state))
}

/// A line with its checksum and a line break.
pub(super) fn checked(line: &Line<'_>) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(line)?;
    let mut checked = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    checked.extend_from_slice(&json);
    checked.push(b'\n');
    Ok(checked)
}

/// Parses a line; none if its checksum does not match.
fn read_line(line: &[u8]) -> Option<Line<'static>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let is_whole = sum == format!("{:08x}", crc32fast::hash(json)).as_bytes();
    serde_json::from_slice(json).ok().filter(|_| is_whole)
}

/// The state to resume from, if it belongs to the same fetch.
pub(super) fn same(mut state: State, fetch: &Identity, folder: &Path) -> Result<State> {
    let found = &state.fetch;
    let different = [
        (found.service != fetch.service, "of another service"),
        (found.run != fetch.run, "of another run"),
        (found.start != fetch.start || found.end != fetch.end, "of another range of time"),
        (found.order != fetch.order, "in another order"),
        (found.overlap_ms != fetch.overlap_ms, "with another overlap"),
    ];
    if let Some((_, what)) = different.into_iter().find(|(differs, _)| *differs) {
        return Err(FetchError::OtherFetch { path: folder.to_owned(), what, next: "remove it" });
    }
    if found.fixed_end.is_some() != fetch.fixed_end.is_some() {
        // The run has ended since, or the fetch no longer waits for its end: the earlier pages have other end times.
        state.fetch = fetch.clone();
        state.pages.clear();
        state.parts.clear();
    }
    Ok(state)
}
