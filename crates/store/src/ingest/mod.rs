//! Ingestion of records: batches, and the group commit that stores them.

pub(crate) mod batch;
pub(crate) mod commit;
pub(crate) mod memory_budget;
pub(crate) mod queue;
pub(crate) mod segment_writer;

pub use batch::BatchWriter;
pub use commit::Ingest;
