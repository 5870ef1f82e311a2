//! Which stretches of a log are whole while its pages still come: those of which no page that is yet to come has records.

use std::collections::BTreeSet;

use runlog_client::reconcile::SpooledPage;
use runlog_model::Timestamp;

use crate::checkpoint::{Checkpoint, PART_AGES, PageState};

/// A stretch of time of a log, with every page that has records of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The last instant before it, in milliseconds since 1970.
    pub(crate) after: i64,
    /// Its last instant.
    pub(crate) until: i64,
    pub(crate) pages: Vec<SpooledPage>,
}

/// The stretches of a log. Together they are the whole log; no instant is in two of them.
///
/// Each page of the walk has one: from the end that the next page was asked with, which is left out, to its own end. A
/// page may also have records of earlier times; they count where they belong.
#[derive(Debug, Default)]
pub(crate) struct Stretches {
    /// Ages of the pages whose stretches were given.
    given: BTreeSet<u32>,
}

impl Stretches {
    /// Those that have become whole.
    pub(crate) fn next(&mut self, checkpoint: &Checkpoint) -> Vec<Stretch> {
        let pages = walked(checkpoint);
        // How far back those may reach that are not on disk; none while all are.
        let mut still_to_come: Option<i64> = None;
        let mut whole = Vec::new();
        for (index, page) in pages.iter().enumerate() {
            let until = end_of(page);
            if page.spooled.is_none() {
                let reach = reach_of(checkpoint, page);
                still_to_come = Some(still_to_come.map_or(reach, |other| other.min(reach)));
            } else if still_to_come.is_none_or(|reach| reach > until)
                && !self.given.contains(&page.age)
                && let Some(after) = after(checkpoint, page, pages.get(index + 1).copied())
            {
                self.given.insert(page.age);
                let spooled = pages.iter().filter_map(|page| page.spooled.as_ref());
                let has_some =
                    |page: &&SpooledPage| page.span().is_some_and(|(first, last)| first <= until && last > after);
                whole.push(Stretch { after, until, pages: spooled.filter(has_some).cloned().collect() });
            }
        }
        whole
    }

    /// True when all were given.
    pub(crate) fn are_all(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.pages().iter().all(|page| page.is_of_walk() && self.given.contains(&page.age))
    }
}

/// The pages of the walk, newest first.
fn walked(checkpoint: &Checkpoint) -> Vec<&PageState> {
    let mut pages: Vec<&PageState> = checkpoint.walked().collect();
    pages.sort_by_key(|page| page.age);
    pages
}

fn end_of(page: &PageState) -> i64 {
    millis(page.end.as_deref()).unwrap_or(i64::MAX)
}

/// The earliest time that a page may have.
fn reach_of(checkpoint: &Checkpoint, page: &PageState) -> i64 {
    let start = || checkpoint.part_of(page.age).and_then(|part| part.start).map(|start| start.as_millis());
    millis(page.next_end.as_deref()).or_else(start).unwrap_or(i64::MIN)
}

/// The end of the page after this one; none when it was not asked for yet.
fn after(checkpoint: &Checkpoint, page: &PageState, next: Option<&PageState>) -> Option<i64> {
    let (part, parts) = (page.age / PART_AGES, u32::try_from(checkpoint.parts().len()).ok()?);
    let next_age = match page.next_end {
        Some(_) if page.age == 0 && parts > 0 => PART_AGES,
        Some(_) => page.age + 1,
        None if part < parts => (part + 1) * PART_AGES,
        None => return Some(i64::MIN),
    };
    next.filter(|next| next.age == next_age).map(end_of)
}

fn millis(text: Option<&str>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(Timestamp::as_millis)
}
