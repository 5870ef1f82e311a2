//! Records in: batches, and the group commit that stores them.

pub(crate) mod batch;
pub(crate) mod commit;

pub use batch::BatchWriter;
pub use commit::Ingest;
