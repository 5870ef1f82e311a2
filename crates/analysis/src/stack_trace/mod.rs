//! Java stack traces in messages, and which of them have one cause.
//!
//! A message is read into a [`StackTrace`]; what matters of it is its [`RootCause`]: the innermost exception, its
//! message with values masked, and the nearest frames of the job's own code. Line numbers play no part, so a job
//! that was built again has the same causes, nor does its version. [`StackTraceGrouper`] counts records by cause.
//!
//! Deliberately absent: traces of other languages, and thread dumps, which have frames but no exception.

mod frame;
mod group;
mod parse;
mod trace;

pub use frame::{FOREIGN_PREFIXES, Frame};
pub use group::{GROUPS_MAX, OWN_FRAMES_MAX, RootCause, StackTraceGroup, StackTraceGrouper, StackTraceGroups};
pub use trace::{StackTrace, Thrown};
