//! Questions to the archive: what a log holds, what went wrong in it, what it says over and over, what has changed.
//!
//! ```text
//! sealed ▸ make_summaries ▸ one RunSummary a run, kept by the store
//! report::run_report, task_report, workspace_report, run_diff      summaries and rows looked up ▸ an answer
//! ```

mod failure;
mod gaps;
mod job;
mod mask;
mod occurrences;
mod outliers;
pub mod patterns;
pub mod report;
mod run_summary;
pub mod sql;
mod stable_id;
pub mod stack_trace;
mod summary;
mod timeline;

pub use failure::{Cause, Event, Failure};
pub use gaps::SlowGap;
pub use job::{make_summaries, summarize_all, summarize_due};
pub use occurrences::{Occurrences, Rest, SAMPLE_BYTES_MAX};
pub use outliers::Outlier;
pub use patterns::{Pattern, PatternMiner, Patterns};
pub use run_summary::{PROBLEMS_MAX, RunSummary, SUMMARY_VERSION, Summarizer};
pub use stable_id::{InvalidStableId, StableId};
pub use stack_trace::{StackTraceGroup, StackTraceGroups};
pub use summary::{Gap, Problem, Summary};
pub use timeline::{STRETCHES_MAX, Stretch, Timeline};
