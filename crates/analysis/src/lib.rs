//! Questions to a run's log: what it holds, what went wrong in it, what it says over and over.

mod mask;
mod occurrences;
pub mod patterns;
mod stable_id;
pub mod stack_trace;
mod summary;

pub use occurrences::{Occurrences, Rest, SAMPLE_BYTES_MAX};
pub use patterns::{Pattern, PatternMiner, Patterns};
pub use stable_id::{InvalidStableId, StableId};
pub use stack_trace::{StackTraceGroup, StackTraceGroups};
pub use summary::{Gap, Problem, Summary};
