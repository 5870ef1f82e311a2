//! Comparison of two logs: which patterns are new, gone, more frequent or less frequent.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use runlog_model::Severity;
use serde::{Deserialize, Serialize};

use super::cover::{Counted, representatives};
use super::mine::{Pattern, Patterns};
use super::template::templates_of;
use crate::mask::{shape_of_text, text_of};
use crate::{Occurrences, StableId};

/// The factor from which a pattern counts as more frequent or less frequent.
pub const CHANGE_TIMES_MIN: f64 = 2.0;

/// The minimum difference in the number of records: two lines instead of one are twice as many, but insignificant.
pub const CHANGE_RECORDS_MIN: u64 = 10;

/// The differences between two logs.
///
/// The templates of both are joined first, and each is matched with those of the other log, so that a word that varies
/// in only one of them is not a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Each pattern of either log: new ones first, then more often, gone, less often, unchanged; in each the most
    /// severe first, then those whose count changed most.
    pub patterns: Vec<PatternChange>,
    /// False if one of the logs has more patterns than are kept: patterns shown as new or gone may be among those not
    /// kept.
    pub complete: bool,
}

/// A pattern in two logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatternChange {
    /// ID of the joined template.
    pub id: StableId,
    /// The template that covers both logs.
    pub template: String,
    /// How it changed.
    pub change: Change,
    /// Its records in the earlier log.
    pub before: Option<Occurrences>,
    /// Its records in the later log.
    pub after: Option<Occurrences>,
}

/// How a pattern changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Change {
    /// Only in the later log.
    New,
    /// At least twice as many records, and at least 10 more.
    MoreOften {
        /// Records after divided by records before.
        times: f64,
    },
    /// Only in the earlier log.
    Gone,
    /// At most half as many records, and at least 10 fewer.
    LessOften {
        /// Records after divided by records before.
        times: f64,
    },
    /// In both, about as frequent.
    Unchanged,
}

impl Change {
    /// Returns the change for the counts of records before and after.
    fn of(before: u64, after: u64) -> Self {
        let times = after as f64 / before as f64;
        match (before, after) {
            (0, _) => Self::New,
            (_, 0) => Self::Gone,
            _ if before.abs_diff(after) < CHANGE_RECORDS_MIN => Self::Unchanged,
            _ if times >= CHANGE_TIMES_MIN => Self::MoreOften { times },
            _ if times <= CHANGE_TIMES_MIN.recip() => Self::LessOften { times },
            _ => Self::Unchanged,
        }
    }

    fn place(self) -> u8 {
        match self {
            Self::New => 0,
            Self::MoreOften { .. } => 1,
            Self::Gone => 2,
            Self::LessOften { .. } => 3,
            Self::Unchanged => 4,
        }
    }
}

impl PatternChange {
    fn worst(&self) -> Severity {
        [&self.before, &self.after].into_iter().flatten().map(Occurrences::worst).max().unwrap_or(Severity::Other)
    }

    fn counts(&self) -> (u64, u64) {
        (records(self.before.as_ref()), records(self.after.as_ref()))
    }
}

fn records(occurrences: Option<&Occurrences>) -> u64 {
    occurrences.map_or(0, Occurrences::records)
}

impl Patterns {
    /// Returns the differences to a later log of the same task.
    pub fn compare(&self, later: &Self) -> Comparison {
        compare(self, later)
    }
}

fn compare(earlier: &Patterns, later: &Patterns) -> Comparison {
    let both: Vec<&Pattern> = earlier.patterns.iter().chain(&later.patterns).collect();
    let shapes: Vec<String> = both.iter().map(|pattern| shape_of_text(&pattern.template)).collect();
    let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
    let mut by_key: BTreeMap<String, Counted> = BTreeMap::new();
    for (place, (template, pattern)) in templates_of(&shapes).into_iter().zip(both).enumerate() {
        let new = || Counted { shape: template.shape, sides: Default::default() };
        let counted = by_key.entry(text_of(&template.key)).or_insert_with(new);
        add(&mut counted.sides[usize::from(place >= earlier.patterns.len())], &pattern.occurrences);
    }
    let representatives = representatives(&by_key.values().collect::<Vec<_>>());
    let mut joined: Vec<(String, Counted)> = by_key.into_iter().collect();
    for (place, representative) in representatives.iter().enumerate().filter(|(place, other)| place != *other) {
        for (side, ours) in std::mem::take(&mut joined[place].1.sides).into_iter().enumerate() {
            ours.iter().for_each(|ours| add(&mut joined[*representative].1.sides[side], ours));
        }
    }
    let stands_for_itself = |(place, _): &(usize, _)| representatives[*place] == *place;
    let joined = joined.into_iter().enumerate().filter(stands_for_itself);
    let mut patterns: Vec<PatternChange> = joined.map(|(_, (key, counted))| change_of(&key, counted)).collect();
    patterns.sort_by_cached_key(|pattern| {
        let (before, after) = pattern.counts();
        let template = pattern.template.clone();
        (pattern.change.place(), Reverse(pattern.worst()), Reverse(before.abs_diff(after)), template)
    });
    Comparison { patterns, complete: earlier.rest.records() == 0 && later.rest.records() == 0 }
}

fn add(ours: &mut Option<Occurrences>, others: &Occurrences) {
    match ours {
        Some(ours) => ours.add_all(others),
        None => *ours = Some(others.clone()),
    }
}

fn change_of(key: &str, counted: Counted) -> PatternChange {
    let [before, after] = counted.sides;
    let change = Change::of(records(before.as_ref()), records(after.as_ref()));
    PatternChange { id: StableId::of(key), template: text_of(&counted.shape), change, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: u64, after: u64, expected: Change) {
        assert_eq!(Change::of(before, after), expected);
    }

    #[test]
    fn a_change_takes_twice_as_many_and_ten_more() {
        check(0, 1, Change::New);
        check(1, 0, Change::Gone);
        check(1, 10, Change::Unchanged);
        check(1, 11, Change::MoreOften { times: 11.0 });
        check(10, 20, Change::MoreOften { times: 2.0 });
        check(100, 199, Change::Unchanged);
        check(20, 10, Change::LessOften { times: 0.5 });
        check(19, 10, Change::Unchanged);
    }
}
