//! Statistics of the collection.

use std::ops::AddAssign;

/// The result of some collecting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectStats {
    /// Number of runs whose whole log has landed.
    pub landed: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of runs without a log.
    pub no_log: u64,
    /// Number of runs that could not be landed.
    pub set_back: u64,
    /// Number of runs whose component metrics have landed.
    pub components: u64,
    /// Number of plan executions that have landed.
    pub plans: u64,
}

impl AddAssign for CollectStats {
    fn add_assign(&mut self, other: Self) {
        self.landed += other.landed;
        self.records += other.records;
        self.no_log += other.no_log;
        self.set_back += other.set_back;
        self.components += other.components;
        self.plans += other.plans;
    }
}
