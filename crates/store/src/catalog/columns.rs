//! Conversions of column values: instants, lists of strings, and names.

use runlog_model::Timestamp;

use crate::error::{Error, Result};

/// The sort key of a record in its log: its time, then its arrival number in the run.
pub(crate) type SortKey = (i64, i64);

/// Converts a time as stored in the catalog.
pub(crate) fn instant(epoch_ms: i64) -> Result<Timestamp> {
    Timestamp::from_millis(epoch_ms).map_err(|error| Error::corrupt(format!("a time in the catalog: {error}")))
}

pub(crate) fn saturating(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Validates a name: not empty, at most 200 characters, no control characters.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(Error::invalid("a name has 1 to 200 characters and no control characters"));
    }
    Ok(name.to_owned())
}

pub(crate) fn name_taken(error: sqlx::Error, what: &str, name: &str) -> Error {
    let taken = error.as_database_error().is_some_and(|database| database.is_unique_violation());
    match taken {
        true => Error::conflict(format!("the name {name:?} is taken by another {what}: choose another one")),
        false => error.into(),
    }
}

/// Encodes a list of strings as a JSON array, as stored in the catalog.
pub(crate) fn json_of(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}

/// Decodes a JSON array of strings from the catalog.
pub(crate) fn words(json: &str) -> Result<Vec<String>> {
    serde_json::from_str(json).map_err(|_| Error::corrupt("a list of words in the catalog does not decode"))
}
