//! Conditions that are shared by queries of several tables.

use runlog_model::WorkspaceId;

use crate::catalog::columns::json_of;
use crate::catalog::sql::Sql;

/// The longest text to search for in names. Unit: characters. Each distinct letter is a step of the query.
const NAME_PART_CHARS_MAX: usize = 200;

/// Adds `AND column IN (…)` if the workspaces are restricted.
pub(crate) fn push_workspaces(query: &mut Sql, column: &str, ids: Option<&[WorkspaceId]>) {
    let Some(ids) = ids else { return };
    if ids.is_empty() {
        query.push(" AND FALSE");
        return;
    }
    query.push(format!(" AND {column} IN ("));
    query.push_list(ids.iter().map(ToString::to_string));
    query.push(")");
}

/// Adds the condition that a task has a tag. Tags are stored as a JSON array.
pub(crate) fn push_tag(query: &mut Sql, tag: &str) {
    let word = json_of(&[tag.to_owned()]);
    let word = word.trim_start_matches('[').trim_end_matches(']');
    // LIKE cannot be used: it ignores the case of ASCII letters in SQLite, but not in PostgreSQL.
    query.push("replace(tags, ").push_bind(word.to_owned()).push(", '') <> tags");
}

/// Adds the condition that a name matches a text, ignoring case, with a pattern such as [`containing`].
///
/// Each upper-case form of a letter of the text is replaced by the lower-case letter in the name. `lower` does not
/// suffice: in SQLite, and in PostgreSQL without a locale, it converts only ASCII letters.
pub(crate) fn push_name_like(query: &mut Sql, column: &str, text: &str, pattern: fn(&str) -> String) {
    if text.chars().count() > NAME_PART_CHARS_MAX {
        query.push("FALSE");
        return;
    }
    let small: String = text.chars().map(|letter| single(letter.to_lowercase()).unwrap_or(letter)).collect();
    let mut letters: Vec<(char, char)> = Vec::new();
    for letter in small.chars() {
        let large = single(letter.to_uppercase()).filter(|large| *large != letter);
        if let Some(large) = large
            && !letters.contains(&(large, letter))
        {
            letters.push((large, letter));
        }
    }
    query.push("replace(".repeat(letters.len())).push(column);
    for (large, small) in letters {
        query.push(", ").push_bind(large.to_string()).push(", ").push_bind(small.to_string()).push(")");
    }
    query.push(" LIKE ").push_bind(pattern(&small)).push(" ESCAPE '!'");
}

/// Returns the only letter of a case conversion; `None` if the conversion has several letters.
fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    let first = letters.next();
    first.filter(|_| letters.next().is_none())
}

/// Returns a pattern for texts that contain this text.
pub(crate) fn containing(text: &str) -> String {
    format!("%{}%", escaped(text))
}

/// Returns a pattern for texts that begin with this text.
pub(crate) fn beginning_with(text: &str) -> String {
    format!("{}%", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// Adds the conditions on the artifact and the runtime of a run. The `id` of a runtime is the ID of the engine or of
/// the cluster of the run.
pub(crate) fn push_artifact_and_runtime(
    query: &mut Sql,
    artifact_id: Option<&str>,
    runtime: &[(&'static str, String)],
) {
    if let Some(id) = artifact_id {
        query.push(" AND artifact_id = ").push_bind(id.to_owned());
    }
    for (name, value) in runtime {
        let names: &[&str] = if *name == "id" { &["id", "clusterId", "engineId"] } else { &[name] };
        query.push(" AND (FALSE");
        for name in names {
            query.push(" OR ");
            push_in_runtime(query, name, std::slice::from_ref(value), false);
        }
        query.push(")");
    }
}

/// Adds a condition on a field of the runtime, which is stored as a JSON object without white space, so that it can
/// be matched as text.
pub(crate) fn push_in_runtime(query: &mut Sql, name: &str, values: &[String], negated: bool) {
    query.push(if negated { "NOT (FALSE" } else { "(FALSE" });
    for value in values {
        let field = format!("\"{name}\":{}", serde_json::Value::from(value.as_str()));
        query.push(" OR COALESCE(runtime, '') LIKE ").push_bind(containing(&field)).push(" ESCAPE '!'");
    }
    query.push(")");
}
