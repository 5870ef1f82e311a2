//! What came of collecting, in numbers.

use std::ops::AddAssign;

/// What some collecting came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectStats {
    /// Runs whose whole log has landed.
    pub landed: u64,
    /// Their records.
    pub records: u64,
    /// Runs that have no log.
    pub no_log: u64,
    /// Runs that could not be landed.
    pub set_back: u64,
}

impl AddAssign for CollectStats {
    fn add_assign(&mut self, other: Self) {
        self.landed += other.landed;
        self.records += other.records;
        self.no_log += other.no_log;
        self.set_back += other.set_back;
    }
}
