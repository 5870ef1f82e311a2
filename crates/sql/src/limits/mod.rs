//! The limits of a query: size, depth, memory, time, and width of rows.

pub(crate) mod bounds;
pub(crate) mod memory;
pub(crate) mod pass_through;
pub(crate) mod spill_folder;
pub(crate) mod stop;
pub(crate) mod threads;
pub(crate) mod wide_rows;
pub(crate) mod windows;
