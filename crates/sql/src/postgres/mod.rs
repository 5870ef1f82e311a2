//! SQL as clients of PostgreSQL speak it: its statements, types, values, parameters, functions and catalog.

pub(crate) mod catalog;
mod commands;
mod formats;
pub(crate) mod functions;
mod names;
mod parameters;
pub(crate) mod question;
mod rewrite;
pub(crate) mod schemas;
mod types;
mod values;

pub(crate) use commands::DIALECT;
pub use commands::{PgCommand, PgCopyFormat, PgFetch, PgScript};
pub use parameters::PgParameter;
pub use question::{PgDescription, PgQuery, PgSession};
pub use types::{PgColumn, PgType};
pub use values::{PgBatch, PgFormat, PgRows};
