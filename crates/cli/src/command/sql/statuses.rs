//! Detects invalid statuses in queries.

use crate::arguments::status::StatusArg;
use crate::render::terminal::note;

/// Warns if a query compares `status` with a word that other commands accept but the table does not contain: such a
/// query returns no rows.
pub(super) fn note_short_statuses(query: &str) {
    for word in words_compared_with_status(query) {
        let Ok(StatusArg(status)) = word.parse() else { continue };
        if status.as_str() != word {
            note(format!("the column status has no value '{word}'; did you mean '{status}'?"));
        }
    }
}

/// The texts that follow `status =`, `status <>` and `status IN (`.
fn words_compared_with_status(query: &str) -> Vec<&str> {
    let lower = query.to_ascii_lowercase();
    let mut words = Vec::new();
    for (at, name) in lower.match_indices("status") {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if lower[..at].bytes().next_back().is_some_and(is_name) {
            continue;
        }
        let after = lower[at + name.len()..].trim_start();
        let operator = ["=", "<>", "!=", "in"].into_iter().find(|it| after.starts_with(it));
        let Some(operator) = operator else { continue };
        let mut rest = query[query.len() - after.len() + operator.len()..].trim_start();
        rest = rest.strip_prefix('(').unwrap_or(rest);
        while let Some((word, more)) = rest.trim_start().strip_prefix('\'').and_then(|text| text.split_once('\'')) {
            words.push(word);
            rest = more.trim_start().strip_prefix(',').unwrap_or_default();
        }
    }
    words
}
