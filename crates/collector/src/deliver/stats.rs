//! Statistics of deliveries.

use std::ops::AddAssign;

/// The result of some deliveries to a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryStats {
    /// Number of delivered runs.
    pub runs: u64,
    /// Number of records that the sink accepted.
    pub records: u64,
    /// Number of entries of audit logs of tenants that it accepted.
    pub audit_logs: u64,
    /// Number of records and entries that it refused permanently.
    pub refused: u64,
    /// Number of runs that it refused completely.
    pub dead: u64,
    /// Number of runs that could not be delivered and will be retried.
    pub set_back: u64,
    /// The last error of such a run.
    pub problem: Option<String>,
}

impl AddAssign for DeliveryStats {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.records += other.records;
        self.audit_logs += other.audit_logs;
        self.refused += other.refused;
        self.dead += other.dead;
        self.set_back += other.set_back;
        self.problem = other.problem.or(self.problem.take());
    }
}
