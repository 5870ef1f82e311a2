//! Analysis of logs: statistics, causes of failures, recurring patterns, and changes.
//!
//! ```text
//! sealed ▸ make_summaries ▸ one RunSummary a run, kept by the store
//! report::run_report, task_report, workspace_report, run_diff      summaries and rows looked up ▸ an answer
//! ```

mod first_line;
mod headline;
mod mask;
mod occurrences;
pub mod patterns;
pub mod report;
mod stable_id;
pub mod stack_trace;
mod summary;

pub use headline::Weight;
pub use occurrences::{Occurrences, Rest, SAMPLE_BYTES_MAX};
pub use patterns::{Pattern, PatternMiner, Patterns};
pub use stable_id::{InvalidStableId, StableId};
pub use stack_trace::{StackTraceGroup, StackTraceGroups};
pub use summary::{
    BUCKETS_MAX, Cause, ERROR_GROUPS_MAX, Event, Failure, FirstError, Gap, Headline, HeadlineRecord, Outlier,
    RunSummary, SUMMARY_VERSION, SlowGap, Summarizer, Summary, Suspect, Timeline, TimelineBucket, make_summaries,
    summarize_all, summarize_due,
};
