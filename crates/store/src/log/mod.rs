//! A single log in order: its slices are merged, read, filtered and counted.

pub(crate) mod delivery;
pub(crate) mod filter;
pub(crate) mod histogram;
pub(crate) mod merge;
pub(crate) mod read;
pub(crate) mod slices;
