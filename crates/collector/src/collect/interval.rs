//! Determines which intervals of a log are complete while pages are still arriving: those without records on pages that
//! are still missing.

use std::collections::BTreeMap;

use runlog_client::reconcile::SpooledPage;
use runlog_model::Timestamp;

use crate::fetch::checkpoint::Checkpoint;
use crate::fetch::journal::{PART_AGES, PageState};

/// An interval of time of a log, with every page that contains records of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interval {
    /// The last millisecond before it; epoch milliseconds.
    pub(crate) after: i64,
    /// Its last millisecond.
    pub(crate) until: i64,
    pub(crate) pages: Vec<SpooledPage>,
}

/// The intervals of a log. They cover the whole log and do not overlap.
///
/// Each page has an interval: from the end time of the request for the next page (exclusive) to its own end time. The
/// page before it may also have records with that end time; while it is missing, this point in time is left to its
/// interval. A page may also contain records of earlier times; they belong to the intervals of those times.
#[derive(Debug, Default)]
pub(crate) struct CoverageTracker {
    /// Ages of the pages whose intervals were returned, and the ends of these intervals.
    given: BTreeMap<u32, i64>,
}

impl CoverageTracker {
    /// Returns the intervals that have become complete.
    pub(crate) fn complete_intervals(&mut self, checkpoint: &Checkpoint) -> Vec<Interval> {
        let pages = walked(checkpoint);
        // How far back the missing pages may reach: the page before, and all before that one.
        let (mut newer, mut newest): (Option<i64>, Option<i64>) = (None, None);
        let mut whole = Vec::new();
        for (index, page) in pages.iter().enumerate() {
            let (end, older) = (end_of(checkpoint, page), pages.get(index + 1).copied());
            let until = match newer {
                Some(reach) if reach == end => end - 1,
                _ => end,
            };
            if page.spooled.is_some()
                && newer.is_none_or(|reach| reach >= end)
                && newest.is_none_or(|reach| reach > end)
                && !self.given.contains_key(&page.age)
                && let Some(after) = after(checkpoint, page, older)
            {
                let left = older.and_then(|older| self.given.get(&older.age)).copied();
                let after = left.map_or(after, |left| left.min(after));
                // One that is empty leaves no instant to the page before: those after it have it.
                self.given.insert(page.age, until.max(after));
                whole.extend(interval(&pages, after, until));
            }
            newest = earlier(newest, newer);
            newer = page.spooled.is_none().then(|| reach_of(checkpoint, page));
        }
        whole
    }

    /// True if all intervals were returned.
    pub(crate) fn is_complete(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.pages().iter().all(|page| page.is_of_walk() && self.given.contains_key(&page.age))
    }
}

/// An interval with those pages that contain records of it; none if it is empty.
fn interval(pages: &[&PageState], after: i64, until: i64) -> Option<Interval> {
    let spooled = pages.iter().filter_map(|page| page.spooled.as_ref());
    let has_some = |page: &&SpooledPage| page.span().is_some_and(|(first, last)| first <= until && last > after);
    (after < until).then(|| Interval { after, until, pages: spooled.filter(has_some).cloned().collect() })
}

/// The earlier of two optional times.
fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// The pages of the walk, newest first.
fn walked(checkpoint: &Checkpoint) -> Vec<&PageState> {
    let mut pages: Vec<&PageState> = checkpoint.walked().collect();
    pages.sort_by_key(|page| page.age);
    pages
}

/// The end of the request for a page, not before the start of its part: a service may report older records although
/// they belong to the next part.
fn end_of(checkpoint: &Checkpoint, page: &PageState) -> i64 {
    millis(page.end.as_deref()).unwrap_or(i64::MAX).max(start_of(checkpoint, page))
}

/// The earliest time of records that a page may contain.
fn reach_of(checkpoint: &Checkpoint, page: &PageState) -> i64 {
    millis(page.next_end.as_deref()).unwrap_or(i64::MIN).max(start_of(checkpoint, page))
}

/// The start of the part of a page.
fn start_of(checkpoint: &Checkpoint, page: &PageState) -> i64 {
    let start = checkpoint.part_of(page.age).and_then(|part| part.start);
    start.map_or(i64::MIN, Timestamp::as_millis)
}

/// The end time of the request for the next page; none if it was not requested yet.
fn after(checkpoint: &Checkpoint, page: &PageState, next: Option<&PageState>) -> Option<i64> {
    let (part, parts) = (page.age / PART_AGES, u32::try_from(checkpoint.parts().len()).ok()?);
    let next_age = match page.next_end {
        Some(_) if page.age == 0 && parts > 0 => PART_AGES,
        Some(_) => page.age + 1,
        None if page.awaits_next_end() => return None,
        None if part < parts => (part + 1) * PART_AGES,
        None => return Some(i64::MIN),
    };
    next.filter(|next| next.age == next_age).map(|next| end_of(checkpoint, next))
}

fn millis(text: Option<&str>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(Timestamp::as_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fetch::fixtures;
    use crate::fetch::journal::Part;

    const NEWEST_MS: i64 = 1_700_000_000_000;

    /// A page with records from its first to its last time.
    #[derive(Debug, Clone, Copy)]
    struct Extent {
        first: i64,
        last: i64,
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::temporary(fixtures::identity()).unwrap()
    }

    /// Each page reaches this far back, with or without records at the last time of the next page.
    fn extents(pages: &[(i64, bool)]) -> Vec<Extent> {
        let mut last = NEWEST_MS;
        let extent = |(length, shares): &(i64, bool)| {
            let extent = Extent { first: last - length + i64::from(!shares), last };
            last -= length;
            extent
        };
        pages.iter().map(extent).collect()
    }

    fn ask(checkpoint: &mut Checkpoint, extents: &[Extent], age: usize) {
        let end = |age: usize| extents.get(age).map(|page| Timestamp::clamped(page.last).to_api_text());
        fixtures::ask(checkpoint, age as u32, end(age).filter(|_| age > 0), end(age + 1));
    }

    fn come(checkpoint: &mut Checkpoint, extents: &[Extent], age: usize) {
        fixtures::come(checkpoint, age as u32, (extents[age].first, extents[age].last), 0);
    }

    proptest! {
        #[test]
        fn intervals_are_whole_when_given_and_together_the_log(
            pages in proptest::collection::vec((1..4_i64, any::<bool>()), 1..7),
            choices in proptest::collection::vec(any::<prop::sample::Index>(), 24),
        ) {
            let (extents, mut checkpoint) = (extents(&pages), checkpoint());
            let (mut asked, mut on_their_way, mut there) = (0, Vec::new(), Vec::new());
            let (mut tracker, mut given) = (CoverageTracker::default(), Vec::new());
            for choice in choices {
                // Either the next page is requested, or a requested page arrives.
                let ways = usize::from(asked < extents.len()) + on_their_way.len();
                if ways == 0 {
                    break;
                }
                let chosen = choice.index(ways);
                if chosen == on_their_way.len() {
                    ask(&mut checkpoint, &extents, asked);
                    on_their_way.push(asked);
                    asked += 1;
                } else {
                    let age = on_their_way.remove(chosen);
                    come(&mut checkpoint, &extents, age);
                    there.push(age);
                }
                for interval in tracker.complete_intervals(&checkpoint) {
                    let has_some = |page: &Extent| page.first <= interval.until && page.last > interval.after;
                    let of_it: Vec<usize> = (0..extents.len()).filter(|age| has_some(&extents[*age])).collect();
                    prop_assert!(of_it.iter().all(|age| there.contains(age)), "{interval:?} lacks some of {of_it:?}");
                    let mut ages: Vec<usize> = interval.pages.iter().map(|page| page.age as usize).collect();
                    ages.sort_unstable();
                    prop_assert_eq!(ages, of_it);
                    given.push((interval.after, interval.until));
                }
            }
            prop_assert_eq!(there.len(), extents.len());
            prop_assert!(tracker.is_complete(&checkpoint));
            given.sort_unstable();
            prop_assert_eq!((given[0].0, given[given.len() - 1].1), (i64::MIN, i64::MAX));
            prop_assert!(given.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", given);
        }
    }

    /// Of a log in parts, the page of a part said that older records follow, at the start of the part or before it: in
    /// some orders of their arrival, the instant at which the log was cut was in two intervals, and its records were
    /// stored twice.
    #[test]
    fn a_page_that_reaches_back_to_the_start_of_its_part_shares_no_instant_with_the_next_part() {
        let text = |ms: i64| Timestamp::clamped(ms).to_api_text();
        let cut = NEWEST_MS - 8_000;
        let (first, second) = (PART_AGES, 2 * PART_AGES);
        for (next_end, order) in [cut, cut - 1_000].into_iter().flat_map(|end| (0..24).map(move |order| (end, order))) {
            let mut checkpoint = checkpoint();
            fixtures::ask(&mut checkpoint, 0, None, Some(text(NEWEST_MS)));
            let parts = [(NEWEST_MS, Some(cut)), (cut, None)];
            let part = |(end, start): (i64, Option<i64>)| Part { start: start.map(Timestamp::clamped), end: text(end) };
            checkpoint.divided(parts.map(part).into()).unwrap();
            fixtures::ask(&mut checkpoint, first, Some(text(NEWEST_MS)), Some(text(next_end)));
            fixtures::ask(&mut checkpoint, first + 1, Some(text(next_end)), None);
            fixtures::ask(&mut checkpoint, second, Some(text(cut)), None);
            let mut missing = vec![
                (0, (NEWEST_MS + 1, NEWEST_MS + 9)),
                (first, (cut, NEWEST_MS)),
                (first + 1, (cut, cut)),
                (second, (cut - 5_000, cut)),
            ];
            let (mut tracker, mut given, mut choice) = (CoverageTracker::default(), Vec::new(), order);
            while !missing.is_empty() {
                let (age, span) = missing.remove(choice % missing.len());
                choice /= missing.len() + 1;
                fixtures::come(&mut checkpoint, age, span, 0);
                let intervals = tracker.complete_intervals(&checkpoint);
                given.extend(intervals.iter().map(|interval| (interval.after, interval.until)));
            }
            given.sort_unstable();
            assert_eq!((given[0].0, given[given.len() - 1].1), (i64::MIN, i64::MAX), "order {order}");
            assert!(given.windows(2).all(|pair| pair[0].1 == pair[1].0), "order {order}: {given:?}");
            assert!(tracker.is_complete(&checkpoint), "order {order}");
        }
    }

    #[test]
    fn a_page_does_not_wait_for_the_one_before_it() {
        let (extents, mut checkpoint) = (extents(&[(10, true), (10, true), (10, true)]), checkpoint());
        (0..3).for_each(|age| ask(&mut checkpoint, &extents, age));
        let mut tracker = CoverageTracker::default();
        let mut next = |checkpoint: &Checkpoint| -> Vec<(i64, i64)> {
            tracker.complete_intervals(checkpoint).iter().map(|interval| (interval.after, interval.until)).collect()
        };
        let end = |age: usize| extents[age].last;
        come(&mut checkpoint, &extents, 1);
        assert_eq!(next(&checkpoint), [(end(2), end(1) - 1)], "its last instant is left to the page before");
        come(&mut checkpoint, &extents, 2);
        assert_eq!(next(&checkpoint), [(i64::MIN, end(2))]);
        come(&mut checkpoint, &extents, 0);
        assert_eq!(next(&checkpoint), [(end(1) - 1, i64::MAX)]);
    }
}
