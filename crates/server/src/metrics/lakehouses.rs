//! Counters of the catalog for lakehouses.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use runlog_store::lakehouse::LakeTableKind;

/// The counters of the catalog for lakehouses.
pub(crate) struct LakeCounters {
    loads: Family<TableLabels, Counter>,
    errors: Family<TableLabels, Counter>,
    durations: Family<TableLabels, Histogram, fn() -> Histogram>,
    signatures: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TableLabels {
    pub(crate) table: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl LakeCounters {
    pub(crate) fn new() -> Self {
        Self {
            loads: Family::default(),
            errors: Family::default(),
            // From 1 ms to two minutes, doubling.
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 18))),
            signatures: Family::default(),
        }
    }

    /// Registers all of them; they are exposed whether or not there is a catalog.
    pub(crate) fn register(&self, registry: &mut Registry) {
        // A series that appears with its first event has no increase.
        for table in LakeTableKind::ALL.map(LakeTableKind::name) {
            self.loads.get_or_create(&TableLabels { table }).inc_by(0);
            self.errors.get_or_create(&TableLabels { table }).inc_by(0);
        }
        for outcome in ["signed", "refused"] {
            self.signatures.get_or_create(&OutcomeLabels { outcome }).inc_by(0);
        }
        registry.register("iceberg_loads", "Loads of tables for lakehouses", Family::clone(&self.loads));
        registry.register("iceberg_load_errors", "Loads that failed", Family::clone(&self.errors));
        registry.register_with_unit(
            "iceberg_load_duration",
            "Time that loads took, with the snapshots that they made",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "iceberg_signatures",
            "Requests of engines for signatures of reads of the bucket",
            Family::clone(&self.signatures),
        );
    }

    /// Counts a load of a table.
    pub(crate) fn count_load(&self, table: &'static str, duration_ms: i64, has_failed: bool) {
        self.loads.get_or_create(&TableLabels { table }).inc();
        if has_failed {
            self.errors.get_or_create(&TableLabels { table }).inc();
        }
        self.durations.get_or_create(&TableLabels { table }).observe(duration_ms.max(0) as f64 / 1_000.0);
    }

    /// Counts a request for a signature.
    pub(crate) fn count_signature(&self, is_signed: bool) {
        let outcome = if is_signed { "signed" } else { "refused" };
        self.signatures.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
