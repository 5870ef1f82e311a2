//! The records of a run in order, merged from slices that may overlap in time.

mod ordered;
mod rows;
mod trace;

pub(crate) use ordered::{Merge, count_inside};
pub(crate) use rows::{MergedRows, RecordBlock, SliceRows};
pub(crate) use trace::MergeTrace;
