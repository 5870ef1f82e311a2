//! The file that says what a fetch has done so far: never a token, never a link.
//!
//! ```text
//! 9d2a41c7 {"begun":{"version":2,"fetch":{…}}}        always the first line
//! 0b60f2e1 {"asked":{"id":0,"age":0,"end":null,…}}    a page was asked for
//! 5c33d0aa {"came":{"id":0,…,"spooled":{…}}}          it is on disk
//! 71f0c2be {"divided":[…]}                            the rest is walked in parts
//! ```
//!
//! Each thing that was done is one more line, with a checksum of its own, so the file grows by the same for each page. A
//! line that was altered or cut short counts as not written: what it told of is asked for again.

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

/// The file in the folder.
pub(super) const FILE: &str = "checkpoint.ndjson";
/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line<'a> {
    Begun { version: u32, fetch: Cow<'a, Identity> },
    Divided(Cow<'a, [Part]>),
    Asked(Cow<'a, PageState>),
    // All that is known of the page: the line that it was asked for with is not needed any more.
    Came(Cow<'a, PageState>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) fetch: Identity,
    /// Parts that are walked side by side after the first page, newest first; none while there is one walk.
    pub(super) parts: Vec<Part>,
    /// Pages that were asked for, newest first, and then the ends of pages that were asked for again.
    pub(super) pages: Vec<PageState>,
}

/// What makes two fetches the same, so that one can continue the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) run: String,
    pub(crate) start: Option<String>,
    /// The end that the user asked for.
    pub(crate) end: Option<String>,
    pub(crate) order: LogOrder,
    pub(crate) overlap_ms: i64,
    /// The end that was fixed when the fetch began, when the run was not waited for.
    pub(crate) fixed_end: Option<String>,
}

/// A part of a log, both ends inside, that has a walk of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its earliest time; the beginning of the range when absent.
    pub(crate) start: Option<Timestamp>,
    /// Its latest time, as it is to be sent.
    pub(crate) end: String,
}

/// Ages of pages by which one part is older than the one before: more pages than any walk has. With as many parts as a log
/// is divided into, the ages still fit.
pub(crate) const PART_AGES: u32 = 4_000_000;

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageState {
    /// Names it.
    pub(crate) id: u32,
    /// How far back it reaches.
    pub(crate) age: u32,
    /// The end that it was asked with.
    pub(crate) end: Option<String>,
    /// The end of the next page, as the service wrote it; none on the last.
    pub(crate) next_end: Option<String>,
    /// Whether the log could still grow then, where the service told.
    #[serde(default)]
    pub(crate) settled: Option<bool>,
    /// What is on disk of it, once it is whole.
    pub(crate) spooled: Option<SpooledPage>,
}

/// The form of the file. The first one had no checksums; its pages are fetched anew.
const VERSION: u32 = 2;

impl State {
    pub(super) fn new(fetch: Identity) -> Self {
        Self { fetch, parts: Vec::new(), pages: Vec::new() }
    }

    /// What is known when all of these lines were written, one after another. `places` says where each page is.
    fn take(&mut self, line: Line<'_>, places: &mut HashMap<u32, usize>) {
        match line {
            // Whoever starts over writes the file anew.
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

    /// All that is known, as lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let begun = Line::Begun { version: VERSION, fetch: Cow::Borrowed(&self.fetch) };
        let divided = (!self.parts.is_empty()).then(|| Line::Divided(Cow::Borrowed(&self.parts)));
        // In the order of their ids, which is that of their asking.
        [begun].into_iter().chain(divided).chain(self.pages.iter().map(PageState::line))
    }

    /// Forgets the pages of a walk that cannot be reached any more, because one before them was forgotten: pages are asked
    /// for by what the one before them says.
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
    /// True for a page of the walk; ids of those that were asked for again are never their ages.
    pub(crate) fn is_of_walk(&self) -> bool {
        self.id == self.age
    }

    pub(super) fn line(&self) -> Line<'_> {
        let page = Cow::Borrowed(self);
        if self.spooled.is_some() { Line::Came(page) } else { Line::Asked(page) }
    }
}

/// What the file of a folder says; none when there is nothing to continue from.
pub(super) fn read(folder: &Path) -> Result<Option<State>> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("read", &path)(error)),
    };
    // Of a folder that was used before, nothing is known.
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
            // The last one may have been written in part, when the machine or the process ended.
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

/// A line with its checksum before it and a line break after it.
pub(super) fn checked(line: &Line<'_>) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(line)?;
    let mut checked = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    checked.extend_from_slice(&json);
    checked.push(b'\n');
    Ok(checked)
}

/// What a line says; none when it is not as it was written.
fn read_line(line: &[u8]) -> Option<Line<'static>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let is_whole = sum == format!("{:08x}", crc32fast::hash(json)).as_bytes();
    serde_json::from_slice(json).ok().filter(|_| is_whole)
}

/// The state to continue from, when it is of the same fetch.
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
        // The run has ended since, or is no longer waited for: the pages of before have other ends.
        state.fetch = fetch.clone();
        state.pages.clear();
        state.parts.clear();
    }
    Ok(state)
}
