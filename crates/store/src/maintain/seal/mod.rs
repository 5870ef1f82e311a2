//! Sealing: the slices of runs that have ended are merged into files of whole runs.
//!
//! A sealed file is sorted by (run, time, arrival). Small runs share one; a large run is cut into row groups, each a
//! slice of its own, and into several files. Records stream from the slices to the file, so memory depends on how
//! many slices overlap in time; if too many do, some are merged first and the rest in a later pass.
//!
//! Late records make new slices, and only those sealed slices are merged again whose interval of time contains a late
//! record, however far apart they are. A long log is sealed in several passes, each with a transaction of its own.
//!
//! A pass leases its runs and renews the lease ([`pass`]). A pass that has lost its lease commits nothing, and
//! neither does one whose files were swept meanwhile ([`crate::objects::intents`]).

pub(crate) mod commit;
mod files;
pub(crate) mod pass;
mod plan;
pub(crate) mod rebuild;
#[cfg(test)]
mod tests;
