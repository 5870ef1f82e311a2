//! The outcome of each record of a batch.

use runlog_store::delivery::{RecordKey, RefusedRange, ReplayProgress};

use super::sinks::sink::{Encoded, RecordOutcome};

/// The outcome of each record of a batch.
pub(super) struct BatchOutcome {
    /// The positions of the records, in order.
    positions: Vec<RecordKey>,
    /// For each record, the range of refused records that it belongs to.
    ranges: Vec<Option<usize>>,
    is_taken: Vec<bool>,
    refused: Vec<RefusedRange>,
}

impl BatchOutcome {
    pub(super) fn of(records: &[Encoded]) -> Self {
        let positions: Vec<RecordKey> = records.iter().map(|record| record.position).collect();
        let (ranges, is_taken) = (vec![None; positions.len()], vec![false; positions.len()]);
        Self { positions, ranges, is_taken, refused: Vec::new() }
    }

    /// Number of accepted records.
    pub(super) fn accepted(&self) -> u64 {
        self.is_taken.iter().filter(|it| **it).count() as u64
            + self.refused.iter().map(|range| range.of_records - range.records).sum::<u64>()
    }

    /// The reason of the first refusal.
    pub(super) fn first_reason(&self) -> &str {
        self.refused.first().map(|range| range.reason.as_str()).unwrap_or_default()
    }

    /// True if no record was refused.
    pub(super) fn is_clean(&self) -> bool {
        self.refused.is_empty()
    }

    /// Number of refused records.
    pub(super) fn refused(&self) -> u64 {
        self.refused.iter().map(|range| range.records).sum()
    }

    /// Applies a response of the sink. Returns the records to send again, and the reason if they are to be sent after a
    /// pause.
    pub(super) fn sort(
        &mut self,
        records: Vec<Encoded>,
        outcomes: Vec<RecordOutcome>,
    ) -> (Vec<Encoded>, Option<String>) {
        let (mut again, mut problem) = (Vec::new(), None);
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                RecordOutcome::Taken => self.take(record.position),
                RecordOutcome::Refused(reason) => self.refuse(&[record], &reason),
                RecordOutcome::RetryNow => again.push(record),
                RecordOutcome::RetryLater(why) => {
                    problem.get_or_insert(why);
                    again.push(record);
                }
            }
        }
        (again, problem)
    }

    fn take(&mut self, position: RecordKey) {
        if let Ok(index) = self.positions.binary_search(&position) {
            self.is_taken[index] = true;
        }
    }

    pub(super) fn refuse(&mut self, records: &[Encoded], reason: &str) {
        for position in records.iter().map(|record| record.position) {
            let Ok(index) = self.positions.binary_search(&position) else { continue };
            let before = index.checked_sub(1).and_then(|before| self.ranges[before]);
            let joined = before.filter(|range| {
                let range = &self.refused[*range];
                range.records == range.of_records && same_kind(&range.reason, reason)
            });
            self.ranges[index] = Some(match joined {
                Some(range) => {
                    self.refused[range].extend(position);
                    range
                }
                None => {
                    self.refused.push(RefusedRange::one(position, reason));
                    self.refused.len() - 1
                }
            });
        }
    }

    /// This number of the records was refused, and it is unknown which.
    pub(super) fn all_but(&mut self, records: &[Encoded], count: usize, reason: String) {
        let positions: Vec<RecordKey> = records.iter().map(|record| record.position).collect();
        let [first, .., last] = positions[..] else { return };
        let arrivals = |of: fn(u64, u64) -> u64| positions.iter().map(|position| position.arrival).reduce(of);
        let arrivals = arrivals(u64::min).zip(arrivals(u64::max)).unwrap_or_default();
        let (records, of_records) = (count as u64, positions.len() as u64);
        self.refused.push(RefusedRange { first, last, arrivals, records, of_records, reason });
    }

    /// Limits the number of ranges. If there are more, returns how far the records before the excess ranges reach;
    /// nothing after that counts.
    pub(super) fn cut(&mut self, room: usize) -> Option<Option<RecordKey>> {
        if self.refused.len() <= room {
            return None;
        }
        self.refused.sort_by_key(|range| range.first);
        let first = self.refused[room].first;
        self.refused.truncate(room);
        let before = self.positions.partition_point(|position| *position < first);
        self.is_taken[before..].fill(false);
        Some(before.checked_sub(1).map(|last| self.positions[last]))
    }

    /// The same for records that are sent again: those that are recorded make room for others. Returns the first record
    /// that does not count.
    pub(super) fn cut_replay(&mut self, room: usize, replayed: &ReplayProgress) -> Option<RecordKey> {
        if self.refused.len() <= room + replayed.freed() {
            return None;
        }
        self.refused.sort_by_key(|range| range.first);
        let next = |count: usize| self.refused[count].first;
        let count = (0..self.refused.len()).rev().find(|count| *count <= room + replayed.before(next(*count)).freed());
        let (count, next) = (count.unwrap_or(0), next(count.unwrap_or(0)));
        self.cut(count);
        Some(next)
    }

    pub(super) fn into_refused(mut self) -> Vec<RefusedRange> {
        self.refused.sort_by_key(|range| range.first);
        self.refused
    }
}

/// True for reasons that differ only in quotations, IDs and numbers.
fn same_kind(one: &str, other: &str) -> bool {
    fn words(text: &str) -> impl Iterator<Item = &str> {
        let is_apart = |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '{' | '}' | '(' | ')' | ',' | ':' | '=');
        text.split(is_apart).filter(|word| {
            !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit() || matches!(c, '\'' | '"' | '`'))
        })
    }
    one == other || words(one).eq(words(other))
}
