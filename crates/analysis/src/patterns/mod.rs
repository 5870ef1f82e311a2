//! Recurring patterns of a log, and its differences from an earlier log.

mod absorb;
mod brackets;
mod change;
mod cover;
mod fit;
mod list;
mod merge;
mod mine;
mod row;
mod template;
mod token;

pub use change::{CHANGE_RECORDS_MIN, CHANGE_TIMES_MIN, Change, Comparison, PatternChange};
pub use mine::{
    PATTERNS_MAX, Pattern, PatternMiner, Patterns, SHAPES_MAX, TEMPLATES_VERSION, groups_of, masked_first_line,
};
