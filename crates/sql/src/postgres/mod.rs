//! The SQL dialect of PostgreSQL clients: statements, types, values, parameters, functions and catalog.

mod calls;
pub(crate) mod catalog;
mod commands;
mod expressions;
mod formats;
mod full_joins;
pub(crate) mod functions;
mod joins;
mod json;
pub(crate) mod names;
mod parameters;
mod prepared;
pub(crate) mod query_context;
pub(crate) mod rewrite;
pub(crate) mod schemas;
mod types;
mod values;

pub(crate) use commands::DIALECT;
pub use commands::{PgCommand, PgCopyFormat, PgFetch, PgScript};
pub use parameters::PgParameter;
pub(crate) use parameters::{array_elements, array_of_text, bytes_of_text, time_with_seconds, truth_of_text};
pub use prepared::PgArguments;
pub use query_context::{PgDescription, PgQuery, PgSession};
pub(crate) use types::NUMERIC;
pub use types::{PgColumn, PgType};
pub(crate) use values::PgTexts;
pub use values::{PgBatch, PgFormat, PgRows};
