//! The catalog: connections to its database, a query builder, transactions, and group commit.

pub(crate) mod audit_context;
pub(crate) mod clock;
pub(crate) mod columns;
pub(crate) mod database;
pub(crate) mod filters;
pub(crate) mod group_commit;
pub(crate) mod group_queue;
mod lost_frames;
pub(crate) mod pool;
pub(crate) mod sql;
pub(crate) mod transaction;
mod turns;
