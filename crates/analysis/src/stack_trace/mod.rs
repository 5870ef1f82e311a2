//! Parses Java stack traces in messages, and groups them by root cause.
//!
//! A message is parsed into a [`StackTrace`], which is identified by its [`RootCause`]: the innermost exception, its
//! message with values masked, and the nearest frames of the job's own code. Line numbers and the version of the job
//! are ignored, so that a rebuilt job has the same causes. [`StackTraceGrouper`] counts records by cause.
//!
//! Traces of other languages are deliberately not supported, nor are thread dumps, which have frames but no exception.

mod frame;
mod group;
mod parse;
mod trace;

pub use frame::{FOREIGN_PREFIXES, Frame};
pub use group::{GROUPS_MAX, OWN_FRAMES_MAX, RootCause, StackTraceGroup, StackTraceGrouper, StackTraceGroups};
pub use trace::{StackTrace, Thrown};
