//! Headlines: the line of a message that states what went wrong, which a person on call wants to read first.
//!
//! ```text
//! records ▸ Joiner (a trace of one record a line becomes one message) ▸ read ▸ Headline and its weight
//! ```
//!
//! Most errors of a failed run are not its cause: wrappers state only that something failed, aftermath follows from an
//! earlier error, and the innermost exception of a trace is more specific than the outermost. A [`Weight`] orders them.
//! The rules are based on the form of texts (chains of causes, codes of drivers, common words), not about single
//! products. Which message of a run is its headline is decided in `summary`.

mod exception;
mod join;
mod read;
mod weight;

pub(crate) use exception::at_start;
pub(crate) use join::{Joined, Joiner, is_continuation};
pub(crate) use read::read;
pub use weight::Weight;
pub(crate) use weight::{has_phrase, has_sign};
