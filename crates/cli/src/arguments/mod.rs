//! Arguments that several commands have, and the values that they read.

pub(crate) mod archive;
pub(crate) mod candidates;
pub(crate) mod connect;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod names;
pub(crate) mod number;
pub(crate) mod period;
pub(crate) mod profile;
pub(crate) mod span;
pub(crate) mod status;
