//! What a log says over and over, and what is different in it from an earlier one.

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
