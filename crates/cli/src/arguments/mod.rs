//! Arguments that several commands have, and the values that they read.

pub(crate) mod archive;
pub(crate) mod connect;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod number;
pub(crate) mod range;
pub(crate) mod span;
