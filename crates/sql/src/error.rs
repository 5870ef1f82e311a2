//! Errors of queries, with the position in the query and a suggestion.

mod sqlstate;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use datafusion::common::SchemaError;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::error::DataFusionError;
use runlog_model::causes;
pub(crate) use sqlstate::SEVERAL_ROWS;

/// A query that has no result.
#[derive(Debug, Clone)]
pub struct SqlError {
    kind: SqlErrorKind,
    message: String,
    position: Option<SqlPosition>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    code: Option<&'static str>,
}

/// What the asker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The query is wrong: change it.
    Invalid,
    /// The query needs more memory than allowed, and cannot spill: reduce it.
    TooLarge,
    /// The query has exceeded its time limit: narrow it.
    TooLong,
    /// Too many queries are running: try again.
    Busy,
    /// The archive could not be read; the error of the store contains the advice.
    Archive(runlog_store::ErrorKind),
    /// The engine failed: report it to the developers.
    Internal,
}

/// Maximum number of runs in a suggested condition that excludes them.
const RUNS_LEFT_OUT_MAX: usize = 5;

/// Returns the error for a query that exceeds a size limit.
pub(crate) fn too_large(what: impl Into<String>) -> DataFusionError {
    DataFusionError::Plan(format!("the query is too large: {}", what.into()))
}

/// A position in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPosition {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1. Unit: characters.
    pub column: usize,
    /// The text of the line.
    pub text: String,
}

impl SqlError {
    pub(super) fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None, source: None, code: None }
    }

    /// Converts an error of the engine.
    pub(super) fn of(error: &DataFusionError, query: &str) -> Self {
        if let Some(error) = store_error(error) {
            let kind = SqlErrorKind::Archive(error.kind());
            return Self { source: Some(Arc::new(error.clone())), ..Self::new(kind, error.to_string()) };
        }
        if let Some(reason) = wrong_regex(error) {
            return Self::new(SqlErrorKind::Invalid, reason).with_code("2201B");
        }
        let root = error.find_root();
        let root = match root {
            DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => inner.find_root(),
            DataFusionError::Collection(errors) => errors.first().map_or(root, DataFusionError::find_root),
            _ => root,
        };
        let kind = match root {
            DataFusionError::ResourcesExhausted(_) => SqlErrorKind::TooLarge,
            DataFusionError::Internal(_) | DataFusionError::IoError(_) | DataFusionError::ExecutionJoin(_) => {
                SqlErrorKind::Internal
            }
            _ => SqlErrorKind::Invalid,
        };
        let reason = sqlstate::reason(root);
        let code = reason.as_ref().map(|reason| reason.code);
        let message = reason.and_then(|reason| reason.message).unwrap_or_else(|| sentence(&words(root)));
        let span = error.iter().find_map(|error| error.diagnostic()).or(error.diagnostic()).and_then(|it| it.span);
        let position = match span {
            Some(span) => position(query, span.start.line, span.start.column),
            None => reported_position(&message).and_then(|(line, column)| position(query, line, column)),
        };
        // The position is reported separately from the message.
        let message = match (&position, message.rsplit_once(" at Line: ")) {
            (Some(_), Some((before, _))) => before.to_owned(),
            _ => message,
        };
        let cause: Box<dyn StdError + Send + Sync> = error.to_string().into();
        let source = (kind == SqlErrorKind::Internal).then(|| Arc::from(cause));
        Self { kind, message, position, source, code }
    }

    /// Sets the SQLSTATE code of PostgreSQL.
    pub(super) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Returns the SQLSTATE code of PostgreSQL.
    pub fn sqlstate(&self) -> &'static str {
        match (self.kind, self.code) {
            (SqlErrorKind::Invalid, Some(code)) => code,
            (SqlErrorKind::Invalid, None) => "42000",
            (SqlErrorKind::TooLarge, _) => "53200",
            (SqlErrorKind::TooLong, _) => "57014",
            (SqlErrorKind::Busy, _) => "53300",
            (SqlErrorKind::Archive(_), _) => "58000",
            (SqlErrorKind::Internal, _) => "XX000",
        }
    }

    /// Adds the table whose name is most similar to a wrong name.
    pub(super) fn with_tables(mut self, tables: &[&str]) -> Self {
        let Some(name) = self.message.strip_prefix("table '").and_then(|rest| rest.split_once('\'')) else {
            return self;
        };
        let name = name.0.rsplit('.').next().unwrap_or_default();
        let nearness = |table: &&&str| (normalized_levenshtein(table, name) * 1000.0) as u32;
        let nearest = tables.iter().max_by_key(nearness).filter(|table| nearness(table) >= 500);
        self.message = match nearest {
            Some(nearest) => format!("there is no table {name}; did you mean {nearest}?"),
            None => format!("there is no table {name}; the tables are {}", tables.join(", ")),
        };
        self
    }

    /// Adds the reason if the query calls a function that is not available.
    pub(super) fn with_functions_left_out(mut self, left_out: &[&str]) -> Self {
        let name = self.message.strip_prefix("invalid function '").and_then(|rest| rest.split_once('\''));
        if let Some((name, _)) = name
            && left_out.contains(&name)
        {
            self.message =
                format!("there is no function {name}: it could create values of any size, beyond the memory limit");
        }
        self
    }

    /// Adds a suggestion if the memory of queries is not sufficient.
    pub(super) fn with_memory(mut self, memory_bytes: usize, spill_bytes: u64) -> Self {
        if self.kind == SqlErrorKind::TooLarge {
            let cause = std::mem::take(&mut self.message);
            let is_disk = cause.contains("disk space");
            let cause: Box<dyn StdError + Send + Sync> = cause.into();
            self.source = Some(Arc::from(cause));
            if is_disk {
                self.message = format!(
                    "the query needs more than the {} MiB of temporary files that all queries share; reduce it: a shorter \
                     period, fewer or shorter columns, fewer groups; or raise the limit (--sql-spill)",
                    spill_bytes >> 20
                );
                return self;
            }
            self.message = format!(
                "the query needs more than the {} MiB of memory that all queries share, and cannot spill to files; reduce \
                 it: a shorter period, fewer or shorter columns, fewer groups; or raise the limit (--sql-memory)",
                memory_bytes >> 20
            );
        }
        self
    }

    /// What the asker does next.
    pub fn kind(&self) -> SqlErrorKind {
        self.kind
    }

    /// Returns the error of the archive that made the query fail.
    pub fn archive_error(&self) -> Option<&runlog_store::Error> {
        self.source.as_deref().and_then(|source| source.downcast_ref())
    }

    /// Returns a condition that excludes the logs that could not be read, if there are few of them.
    pub fn advice(&self) -> Option<String> {
        let run_ids = self.archive_error().map(runlog_store::Error::damaged_runs)?;
        if run_ids.is_empty() || run_ids.len() > RUNS_LEFT_OUT_MAX {
            return None;
        }
        Some(format!("to query the other logs, add the condition run_id NOT IN ('{}')", run_ids.join("', '")))
    }

    /// Returns the position of the error in the query, if known.
    pub fn position(&self) -> Option<&SqlPosition> {
        self.position.as_ref()
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for SqlError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Returns the error of the store that caused an error of the engine.
fn store_error(error: &DataFusionError) -> Option<&runlog_store::Error> {
    causes(error).find_map(|cause| match cause.downcast_ref::<DataFusionError>() {
        Some(DataFusionError::External(inner)) => inner.downcast_ref(),
        _ => cause.downcast_ref(),
    })
}

/// Returns the reason why a regular expression is invalid. The operators of the engine (`~`, `SIMILAR TO`) report it as
/// an internal error.
fn wrong_regex(error: &DataFusionError) -> Option<String> {
    let said = error.to_string();
    let compiled = said.split_once("Regular expression did not compile: ");
    let (_, reason) = compiled.or_else(|| said.split_once("regex parse error:"))?;
    // The library shows the expression with a mark below it, and the reason last.
    let reason = reason.split_once("error: ").map_or(reason, |(_, reason)| reason);
    let reason = match reason.lines().next().unwrap_or_default() {
        large if large.starts_with("CompiledTooBig") => "it is too large",
        reason => reason.trim_end_matches(['"', ')', ' ']),
    };
    Some(format!("a regular expression is wrong: {reason}"))
}

fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(parser, _) => parser.to_string().trim_start_matches("sql parser error: ").to_owned(),
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => no_such_column(field.name(), valid_fields),
            other => other.to_string(),
        },
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => {
            "the query failed because of an error in the SQL engine".to_owned()
        }
        other => {
            let message = other.message();
            let is_change = ["DML", "DDL", "Statement"]
                .iter()
                .any(|kind| message.strip_prefix(kind).is_some_and(|rest| rest.starts_with(" not supported: ")));
            match is_change {
                true => "queries only read the archive: no statement changes it, its tables or its settings".to_owned(),
                false => message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().to_owned(),
            }
        }
    }
}

fn no_such_column(name: &str, valid: &[datafusion::common::Column]) -> String {
    let nearness = |column: &&datafusion::common::Column| (normalized_levenshtein(column.name(), name) * 1000.0) as u32;
    match valid.iter().max_by_key(nearness).filter(|column| nearness(column) >= 500) {
        Some(nearest) => format!("there is no column {name}; did you mean {}?", nearest.name()),
        None if valid.is_empty() => format!("there is no column {name}"),
        None => {
            let names: Vec<&str> = valid.iter().map(|column| column.name()).collect();
            format!("there is no column {name}; the columns are {}", names.join(", "))
        }
    }
}

/// The message of the engine as a clause: lower case, no full stop.
fn sentence(words: &str) -> String {
    let words = words.trim().trim_end_matches('.');
    let mut letters = words.chars();
    match letters.next() {
        // A word in capitals is an SQL keyword.
        Some(first) if !letters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => words.to_owned(),
    }
}

/// Returns the line and the column that the parser reports: `… at Line: 1, Column: 8`.
fn reported_position(message: &str) -> Option<(u64, u64)> {
    let (_, rest) = message.rsplit_once("at Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

fn position(query: &str, line: u64, column: u64) -> Option<SqlPosition> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let text = query.lines().nth(line.checked_sub(1)?)?;
    Some(SqlPosition { line, column, text: text.to_owned() })
}
