//! Questions to the archive in SQL.
//!
//! ```text
//! query ▸ plan (tables of what the caller may read) ▸ the store prunes and scans ▸ joins, groups, sorts ▸ rows, rendered
//! ```
//!
//! The tables are `runs`, `records`, `tasks` and `deliveries`; docs/sql.md describes them. A question reads and never
//! writes: there are no statements that change anything, open files, or move the limits that a question has: memory,
//! beyond which it goes on in temporary files, and time.
//!
//! The tables of a question are made for it and hold the workspaces of its caller alone, so that nothing that the
//! query says can reach another one.

mod bounds;
mod conditions;
mod engine;
mod error;
mod measured;
mod memory;
mod pass_through;
mod record_scan;
mod record_table;
mod render;
mod row_table;
mod spill_folder;
mod stop;
mod threads;
mod times;
mod wide_rows;
mod windows;
mod workarounds;

pub use engine::{Answer, SqlEngine, SqlSettings};
pub use error::{SqlError, SqlErrorKind, SqlPlace};
pub use render::{AnswerFormat, UnknownFormat};
