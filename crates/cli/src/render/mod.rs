//! Output of commands: documents as text or as a page, tables and notes on the terminal, and progress.

pub(crate) mod collect_progress;
pub(crate) mod document;
pub(crate) mod failure;
pub(crate) mod hidden;
pub(crate) mod html;
pub(crate) mod pager;
mod plot;
pub(crate) mod preferences;
pub(crate) mod progress;
pub(crate) mod result_table;
pub(crate) mod screen;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod window;
