//! What came of deliveries, in numbers.

use std::ops::AddAssign;

/// What some deliveries to a sink came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryStats {
    /// Runs that were delivered.
    pub runs: u64,
    /// Records that the sink took.
    pub records: u64,
    /// Records that it refused for good.
    pub refused: u64,
    /// Runs that it refused as a whole.
    pub dead: u64,
    /// Runs that could not be delivered, and are tried again.
    pub set_back: u64,
    /// The last problem that kept one of those from being delivered.
    pub problem: Option<String>,
}

impl AddAssign for DeliveryStats {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.records += other.records;
        self.refused += other.refused;
        self.dead += other.dead;
        self.set_back += other.set_back;
        self.problem = other.problem.or(self.problem.take());
    }
}
