//! Sealing: the slices of runs that have ended are merged into files of whole runs.
//!
//! A sealed file is sorted by (run, time, arrival). Small runs share a file; a large run is divided into row groups,
//! each of which is a separate slice, and into several files. Records are streamed from the slices to the file, so the
//! memory required depends on how many slices overlap in time; if too many do, some are merged first and the rest in a
//! later pass.
//!
//! Late records are stored in new slices. Only the sealed slices whose time interval contains a late record are merged
//! again, however far apart these slices are. A long log is sealed in several passes, each with a separate transaction.
//!
//! A pass leases its runs and renews the lease ([`pass`]). A pass that has lost its lease, or whose files were swept in
//! the meantime, commits nothing ([`crate::objects::intents`]).

pub(crate) mod commit;
mod files;
pub(crate) mod pass;
mod plan;
pub(crate) mod rebuild;
#[cfg(test)]
mod tests;
