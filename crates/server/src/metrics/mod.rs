//! What the service counts about itself, and the forms in which it tells that.

pub(crate) mod counters;
pub(crate) mod exposition;
pub(crate) mod process;
pub(crate) mod stale_cache;
