//! Finds the runs of upstreams and stores their logs in the archive, continuously.
//!
//! ```text
//! collector ▸ discover (list runs) ▸ history (look up those that have ended) ▸ record_runs (as they are described)
//!           ▸ audit_logs (of the tenant)
//!           ▸ component_metrics (of runs whose logs have landed)
//!           ▸ plan_executions (with their steps)
//!           ▸ run_worker (claim one) ▸ fetch ▸ interval (complete intervals) ▸ record_blocks ▸ ingest (missing records)
//! ```

mod audit_logs;
mod collector;
mod component_metrics;
mod context;
mod detail_problems;
mod discover;
mod error;
mod history;
mod ingest;
mod interval;
mod lease;
mod pause;
mod plan_executions;
mod progress;
mod range;
mod record_blocks;
mod record_runs;
mod rights;
mod run_list;
mod run_worker;
mod stats;
mod tasks;
mod upstream;
mod upstream_run;

pub use audit_logs::AuditLogRound;
pub use collector::Collector;
pub use discover::Discovered;
pub use error::CollectError;
pub use progress::{CollectEvent, CollectProgress};
pub use range::Range;
pub use rights::{RightOutcome, RightTest};
pub use stats::CollectStats;
pub use upstream::{CollectSettings, Selection, Upstream};
