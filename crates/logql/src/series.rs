//! Series, and the instants at which they have values.

use crate::labels::Labels;

/// The instants for which a query of numbers is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first. Unit: nanoseconds since the epoch.
    pub start_ns: i64,
    /// The step between two instants. Unit: nanoseconds, more than zero.
    pub step_ns: i64,
    /// The number of instants, at least one.
    pub count: usize,
}

impl Steps {
    /// One of them. Unit: nanoseconds since the epoch.
    pub fn at(&self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.start_ns.saturating_add(self.step_ns.saturating_mul(index))
    }
}

/// A series: a value for each instant that has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels that identify it.
    pub labels: Labels,
    /// One for each instant.
    pub values: Vec<Option<f64>>,
}
