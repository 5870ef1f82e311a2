//! The tables of a query, created for its caller, and the conditions that the store evaluates.

pub(crate) mod conditions;
pub(crate) mod record_scan;
pub(crate) mod record_table;
pub(crate) mod row_table;
pub(crate) mod sizes;
mod source;
