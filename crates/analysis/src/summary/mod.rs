//! What is kept of a run's log: everything that reports tell of it, found in one pass when the log is sealed.
//!
//! ```text
//! records ▸ Summarizer (failure, timeline, gaps, outliers, patterns, stack traces) ▸ RunSummary ▸ kept by the store
//! ```
//!
//! [`Summary`] is its small sister, for whoever reads a log anyway and wants a few figures of it.

mod failure;
mod gaps;
mod job;
mod outliers;
mod run;
mod timeline;
mod totals;

pub use failure::{Cause, Event, Failure};
pub use gaps::SlowGap;
pub(crate) use job::summarize_log;
pub use job::{make_summaries, summarize_all, summarize_due};
pub use outliers::Outlier;
pub(crate) use run::errors_of;
pub use run::{PROBLEMS_MAX, RunSummary, SUMMARY_VERSION, Summarizer};
pub use timeline::{STRETCHES_MAX, Stretch, Timeline};
pub use totals::{Gap, Problem, Summary};
