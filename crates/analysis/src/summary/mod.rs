//! The summary of a log: everything required for reports, computed in one pass when the log is sealed.
//!
//! ```text
//! records ▸ Summarizer (failure, timeline, gaps, outliers, patterns, stack traces) ▸ RunSummary ▸ kept by the store
//! ```
//!
//! [`Summary`] is a smaller variant, for code that reads a log anyway and needs a few statistics.

mod cause;
mod choice;
mod failure;
mod gaps;
mod job;
mod outliers;
mod problem;
mod run;
mod suspects;
mod timeline;
mod totals;

pub(crate) use choice::{GoodSuspects, Logged, headline_of};
pub use choice::{Headline, HeadlineRecord};
pub use failure::{Cause, Event, Failure};
pub use gaps::SlowGap;
pub(crate) use job::{GOOD_RUNS_MAX, summaries_of, summarize_log};
pub use job::{make_summaries, summarize_all, summarize_due};
pub use outliers::Outlier;
pub use run::{ERROR_GROUPS_MAX, RunSummary, SUMMARY_VERSION, Summarizer};
pub(crate) use run::{errors_of, read_summary};
pub use suspects::Suspect;
pub use timeline::{BUCKETS_MAX, Timeline, TimelineBucket};
pub use totals::{FirstError, Gap, Summary};
