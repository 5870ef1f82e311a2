//! Ranges of time and their division.

use std::time::Duration;

use runlog_model::{Timestamp, millis};

/// A range of time, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first millisecond.
    pub from: Timestamp,
    /// The last millisecond.
    pub to: Timestamp,
}

impl Range {
    /// Divides it into ranges of at most this length, oldest first.
    pub(super) fn windows(self, longest: Duration) -> Vec<Self> {
        let step = millis(longest).max(1);
        let mut windows = Vec::new();
        let mut from = self.from;
        while from <= self.to {
            let to = from.plus_millis(step - 1).min(self.to);
            windows.push(Self { from, to });
            from = to.plus_millis(1);
        }
        windows
    }

    /// Its halves, newer first; none if it is a single millisecond.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let length = self.to.millis_since(self.from);
        let middle = self.from.plus_millis(length / 2);
        (length > 0).then(|| [Self { from: middle.plus_millis(1), to: self.to }, Self { from: self.from, to: middle }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: i64, to: i64) -> Range {
        Range { from: Timestamp::clamped(from), to: Timestamp::clamped(to) }
    }

    #[test]
    fn windows_and_halves_leave_no_instant_out_and_hold_none_twice() {
        assert_eq!(range(0, 9).windows(Duration::from_millis(4)), [range(0, 3), range(4, 7), range(8, 9)]);
        assert_eq!(range(5, 5).windows(Duration::from_millis(4)), [range(5, 5)]);
        assert_eq!(range(0, 9).halves(), Some([range(5, 9), range(0, 4)]));
        assert_eq!(range(0, 1).halves(), Some([range(1, 1), range(0, 0)]));
        assert_eq!(range(3, 3).halves(), None);
    }
}
