//! SQL queries over the archive.
//!
//! ```text
//! query ▸ plan (tables of what the caller may read) ▸ the store prunes and scans ▸ joins, groups, sorts ▸ rows, rendered
//! ```
//!
//! The tables are `runs`, `records`, `component_metrics`, `plan_executions`, `plan_steps`, `tasks`, `deliveries`,
//! `problems` and `tenant_audit_logs`; docs/sql.md describes them. Queries are read-only: there are no statements that
//! change data, open files, or change the limits of a query. The limits are time, and memory beyond which the query
//! spills to temporary files.
//!
//! Clients of PostgreSQL use their own dialect, which `postgres` translates; their tables and limits are the same.
//!
//! The tables of a query are created for it and contain only the workspaces of its caller, so that the query cannot
//! access other workspaces.

mod engine;
mod error;
mod functions;
mod limits;
mod parser;
mod postgres;
mod render;
mod tables;

pub use engine::{Answer, Readable, SqlEngine, SqlSettings};
pub use error::{SqlError, SqlErrorKind, SqlPosition};
pub use postgres::{
    PgArguments, PgBatch, PgColumn, PgCommand, PgCopyFormat, PgDescription, PgFetch, PgFormat, PgParameter, PgQuery,
    PgRows, PgScript, PgSession, PgType,
};
pub use render::{AnswerFormat, UnknownFormat};
