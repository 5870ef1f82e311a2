//! A stack trace in a message.

use super::frame::Frame;

/// The exceptions of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackTrace<'a> {
    /// The exceptions, outermost first; each is caused by the next. Never empty.
    pub thrown: Vec<Thrown<'a>>,
    /// The exceptions thrown while resources were closed, in the order of the text.
    pub suppressed: Vec<Thrown<'a>>,
}

/// One exception of a stack trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thrown<'a> {
    /// Its class, as in `java.sql.SQLException`.
    pub class: &'a str,
    /// The first line of its message; empty if there is none.
    pub message: &'a str,
    /// Its frames, the innermost first.
    pub frames: Vec<Frame<'a>>,
    /// Number of omitted frames, which it has in common with the exception around it (`... 12 more`).
    pub frames_omitted: u32,
}
