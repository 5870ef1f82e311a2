//! A run's records in order, out of slices that may overlap in time.

mod ordered;
mod rows;
mod trace;

pub(crate) use ordered::{Merge, count_inside};
pub(crate) use rows::{MergedRows, RecordBlock, SliceRows};
pub(crate) use trace::MergeTrace;
