//! Tables of settings whose names depend on their `kind`; messages about mistakes in them name the line.

use std::collections::BTreeMap;

use runlog_collector::settings::TableError;
use serde_json::{Map, Value};
use toml::Spanned;

use super::mistake::{did_you_mean, line_of};

/// A table as written in the file.
pub(super) type KindTable = Spanned<BTreeMap<String, Spanned<Value>>>;

/// Reads a table; the message names the line, and the name that was probably meant.
pub(super) fn read_table<T>(
    table: KindTable,
    text: &str,
    read: impl FnOnce(Map<String, Value>) -> Result<T, TableError>,
) -> Result<T, String> {
    let begin = table.span().start;
    let lines: BTreeMap<String, usize> =
        table.get_ref().iter().map(|(name, value)| (name.clone(), value.span().start)).collect();
    let given = table.into_inner().into_iter().map(|(name, value)| (name, value.into_inner()));
    read(given.collect()).map_err(|error| {
        let at = error.setting.as_ref().and_then(|setting| lines.get(setting)).copied().unwrap_or(begin);
        let meant = error.unknown.as_ref().map(|unknown| did_you_mean(&unknown.word, unknown.known.iter().copied()));
        format!("line {}: {}{}", line_of(at, text), error.message.trim(), meant.unwrap_or_default())
    })
}
