//! The metrics of the service and their formats.

pub(crate) mod counters;
pub(crate) mod exposition;
pub(crate) mod lakehouses;
pub(crate) mod process;
pub(crate) mod stale_cache;
pub(crate) mod syslog;
