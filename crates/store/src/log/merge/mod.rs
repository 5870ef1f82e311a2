//! A run's records in order, out of slices that may overlap in time.

mod ordered;
mod rows;
mod trail;

pub(crate) use ordered::{Merge, count_inside};
pub(crate) use rows::{Piece, SliceRows, StretchRecords};
pub(crate) use trail::Trail;
