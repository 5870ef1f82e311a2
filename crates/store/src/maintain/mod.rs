//! Maintenance of an archive: sealing, sweeping, retention, deletion, verification and copies.

mod clock_check;
pub(crate) mod copy;
pub(crate) mod damage;
pub(crate) mod delete;
pub(crate) mod diagnose;
pub(crate) mod jobs;
pub(crate) mod lakehouse;
pub(crate) mod maintenance;
pub(crate) mod metrics;
pub(crate) mod repair_objects;
pub(crate) mod retention;
pub(crate) mod seal;
pub(crate) mod statistics;
pub(crate) mod unreferenced_objects;
pub(crate) mod verify;
