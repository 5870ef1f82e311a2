//! What a query may take: size, depth, memory, time, the width of its rows.

pub(crate) mod bounds;
pub(crate) mod memory;
pub(crate) mod pass_through;
pub(crate) mod spill_folder;
pub(crate) mod stop;
pub(crate) mod threads;
pub(crate) mod wide_rows;
pub(crate) mod windows;
