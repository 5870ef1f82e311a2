//! The statements of a client: queries, which the engine executes, and statements that only affect the session.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    CloseCursor, CopyLegacyOption, CopyOption, CopySource, CopyTarget, DataType, DiscardObject, Expr, FetchDirection,
    Ident, ObjectName, Query, Reset, SelectItem, Set, SetExpr, Statement, TransactionMode, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use crate::parser::{cursors, postgres_statements};
use crate::postgres::names::{self, folded};
use crate::postgres::prepared::{self, PgArguments};
use crate::postgres::query_context::{self, PgQuery};
use crate::postgres::rewrite;

/// The statements of a text.
#[derive(Debug, Clone)]
pub struct PgScript(pub Vec<PgCommand>);

/// A statement.
#[derive(Debug, Clone)]
pub enum PgCommand {
    /// A query that returns rows, with the first word of its tag: `SELECT`, `EXPLAIN` or `SHOW`.
    Query(PgQuery, &'static str),
    /// `COPY … TO STDOUT`.
    Copy(PgQuery, PgCopyFormat),
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `SAVEPOINT`.
    Savepoint,
    /// `RELEASE`.
    Release,
    /// `ROLLBACK TO`.
    RollbackTo,
    /// `SET`, with the name in lower case, and the value; none for the default.
    Set(String, Option<String>),
    /// A `SET` that has no effect on a service that only reads.
    SetReading,
    /// `RESET`, of everything if there is no name.
    Reset(Option<String>),
    /// `SHOW`, of everything if there is no name.
    Show(Option<String>),
    /// `DISCARD`. Parts other than `ALL` have nothing to discard.
    Discard {
        /// Everything.
        all: bool,
    },
    /// `DEALLOCATE`, of everything if there is no name.
    Deallocate(Option<String>),
    /// `DECLARE … CURSOR`.
    Declare {
        /// The name of the cursor.
        name: String,
        /// Its query.
        query: PgQuery,
        /// True if its rows are sent in binary.
        is_binary: bool,
        /// True if the cursor remains open after its transaction.
        is_held: bool,
    },
    /// `PREPARE`.
    Prepare {
        /// The name of the statement.
        name: String,
        /// Its query.
        query: PgQuery,
        /// The number of declared parameter types.
        types: usize,
    },
    /// `EXECUTE`.
    Execute {
        /// The name of the statement.
        name: String,
        /// The values of its parameters.
        arguments: PgArguments,
    },
    /// `FETCH`, or `MOVE`, which skips rows.
    Fetch {
        /// The name of the cursor.
        name: String,
        /// Which rows.
        rows: PgFetch,
        /// True if no rows are sent.
        is_move: bool,
    },
    /// `CLOSE`, of all cursors if there is no name.
    Close(Option<String>),
    /// `UNLISTEN`, which has no effect.
    Unlisten,
    /// A statement that would change something, with its first words.
    Writing(String),
    /// A statement that is not supported, with its first words.
    Unsupported(String),
}

/// Which rows of a cursor are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgFetch {
    /// The next rows, this many.
    Next(u64),
    /// All remaining rows.
    All,
    /// Other rows, which is an error: cursors only move forward.
    Backward,
}

/// The format of `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PgCopyFormat {
    /// Tab-separated, with escapes.
    Text {
        /// True if the names of the columns come first.
        header: bool,
    },
    /// Comma-separated.
    Csv {
        /// True if the names of the columns come first.
        header: bool,
        /// The character between values.
        delimiter: char,
        /// The text for null.
        null: String,
    },
    /// Binary.
    Binary,
}

impl PgScript {
    /// Parses the statements of a text, each of which must pass a check. Must run on a thread with a large stack,
    /// because texts may be large.
    pub(crate) fn parse(text: &Arc<str>, check: Check) -> Result<Self> {
        // The parser requires this end of `COPY … FROM STDIN`.
        let ended = format!("{}\n;", without_deferrable(text));
        let statements = postgres_statements(&ended)?;
        statements.into_iter().map(|statement| command(statement, text, check)).collect::<Result<_>>().map(Self)
    }
}

/// Removes `[NOT] DEFERRABLE` from the transaction modes of the first statement. The parser does not support this mode,
/// which has no effect here because no transaction waits for another. Positions in the text are preserved.
fn without_deferrable(text: &str) -> Cow<'_, str> {
    const MODE: &str = "DEFERRABLE";
    let upper = text.split(';').next().unwrap_or_default().to_ascii_uppercase();
    let words: Vec<&str> = upper.split_whitespace().take(3).collect();
    let has_modes = matches!(
        words.as_slice(),
        ["BEGIN", ..] | ["START" | "SET", "TRANSACTION", ..] | ["SET", "SESSION", "CHARACTERISTICS"]
    );
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let is_word = |at: &usize| !upper[..*at].ends_with(is_letter) && !upper[at + MODE.len()..].starts_with(is_letter);
    let mut found = upper.match_indices(MODE).map(|(at, _)| at).filter(is_word);
    let Some(at) = found.next().filter(|_| has_modes) else { return Cow::Borrowed(text) };
    let before = upper[..at].trim_end();
    let before = before.strip_suffix("NOT").map_or(before, str::trim_end);
    let kept = before.strip_suffix(',').unwrap_or(before).len();
    let (blank, rest) = (" ".repeat(at + MODE.len() - kept), &text[at + MODE.len()..]);
    Cow::Owned([&text[..kept], &blank, rest].concat())
}

/// The dialect of statements.
pub(crate) const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// A check that fails if a statement exceeds a size limit.
pub(crate) type Check = fn(&Statement) -> Result<()>;

fn query(mut statement: Statement, text: &Arc<str>, check: Check) -> Result<PgQuery> {
    check(&statement)?;
    let parameters = query_context::highest_parameter(&statement)?;
    names::name_columns(&mut statement);
    rewrite::rewrite(&mut statement)?;
    Ok(PgQuery { text: Arc::clone(text), statement: Arc::new(statement), parameters })
}

/// The name of a setting in lower case.
fn setting(name: &ObjectName) -> String {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    parts.map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(".")
}

/// The value of a setting; none for the default.
fn value(values: &[Expr]) -> Option<String> {
    let text = |expr: &Expr| match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
        Expr::Identifier(name) => name.value.clone(),
        other => other.to_string(),
    };
    match values {
        [Expr::Identifier(name)] if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default") => None,
        values => Some(values.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

fn command(statement: Statement, text: &Arc<str>, check: Check) -> Result<PgCommand> {
    Ok(match statement {
        Statement::Query(inner) => match writes(&inner) {
            Some(word) => PgCommand::Writing(word.to_owned()),
            None => PgCommand::Query(query(Statement::Query(inner), text, check)?, "SELECT"),
        },
        statement @ (Statement::Explain { .. } | Statement::ExplainTable { .. }) => {
            PgCommand::Query(query(statement, text, check)?, "EXPLAIN")
        }
        statement @ (Statement::ShowTables { .. } | Statement::ShowColumns { .. }) => {
            PgCommand::Query(query(statement, text, check)?, "SHOW")
        }
        Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } => {
            PgCommand::Copy(query(copied(source), text, check)?, copy_format(&options, &legacy_options)?)
        }
        Statement::StartTransaction { modes, .. } => match modes.iter().any(is_writing) {
            true => PgCommand::Writing("BEGIN READ WRITE".to_owned()),
            false => PgCommand::Begin,
        },
        Statement::Commit { .. } => PgCommand::Commit,
        Statement::Rollback { savepoint: None, .. } => PgCommand::Rollback,
        Statement::Rollback { .. } => PgCommand::RollbackTo,
        Statement::Savepoint { .. } => PgCommand::Savepoint,
        Statement::ReleaseSavepoint { .. } => PgCommand::Release,
        Statement::Set(set) => match set {
            Set::SingleAssignment { variable, values, .. } => PgCommand::Set(setting(&variable), value(&values)),
            Set::SetTimeZone { value: zone, .. } => PgCommand::Set("timezone".to_owned(), value(&[zone])),
            Set::SetNames { charset_name, .. } => {
                PgCommand::Set("client_encoding".to_owned(), Some(charset_name.value))
            }
            Set::SetTransaction { modes, snapshot: None, .. } => match modes.iter().any(is_writing) {
                true => PgCommand::Writing("SET TRANSACTION READ WRITE".to_owned()),
                false => PgCommand::SetReading,
            },
            Set::SetRole { role_name: None, .. } => PgCommand::SetReading,
            other => PgCommand::Unsupported(other.to_string()),
        },
        Statement::Reset(reset) => PgCommand::Reset(match reset.reset {
            Reset::ALL => None,
            Reset::ConfigurationParameter(name) => Some(setting(&name)),
        }),
        Statement::ShowVariable { variable } => {
            let name = variable.iter().map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(" ");
            match name.as_str() {
                "all" => PgCommand::Show(None),
                "transaction isolation level" => PgCommand::Show(Some("transaction_isolation".to_owned())),
                "time zone" => PgCommand::Show(Some("timezone".to_owned())),
                _ => PgCommand::Show(Some(name.replace(" . ", ".").replace(' ', "."))),
            }
        }
        Statement::Discard { object_type } => PgCommand::Discard { all: matches!(object_type, DiscardObject::ALL) },
        Statement::Deallocate { name, .. } => PgCommand::Deallocate(match folded(&name) {
            name if name == "all" => None,
            name => Some(name),
        }),
        Statement::Declare { stmts } => match <[_; 1]>::try_from(stmts) {
            Ok([declared]) => match (declared.names.first(), declared.for_query) {
                (Some(name), Some(inner)) => match writes(&inner) {
                    Some(word) => PgCommand::Writing(word.to_owned()),
                    None => PgCommand::Declare {
                        name: folded(name),
                        query: query(Statement::Query(inner), text, check)?,
                        is_binary: declared.binary == Some(true),
                        is_held: declared.hold == Some(true),
                    },
                },
                _ => PgCommand::Unsupported("DECLARE".to_owned()),
            },
            Err(_) => PgCommand::Unsupported("DECLARE".to_owned()),
        },
        Statement::Fetch { name, direction, into, .. } => PgCommand::Fetch {
            name: folded(&name),
            rows: fetched(&direction),
            is_move: into.as_ref().is_some_and(cursors::is_move),
        },
        Statement::Prepare { name, data_types, statement } => prepare(&name, &data_types, *statement, text, check)?,
        Statement::Execute { name: Some(name), parameters, immediate: false, into, using, .. }
            if into.is_empty() && using.is_empty() =>
        {
            let name = name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
            PgCommand::Execute { name, arguments: PgArguments::new(parameters)? }
        }
        Statement::Close { cursor } => PgCommand::Close(match cursor {
            CloseCursor::All => None,
            CloseCursor::Specific { name } => Some(folded(&name)),
        }),
        Statement::UNLISTEN { .. } => PgCommand::Unlisten,
        other => {
            let words = first_words(&other);
            match other {
                Statement::Execute { .. }
                | Statement::Call(_)
                | Statement::LISTEN { .. }
                | Statement::NOTIFY { .. }
                | Statement::Use(_) => PgCommand::Unsupported(words),
                _ => PgCommand::Writing(words),
            }
        }
    })
}

fn prepare(
    name: &Ident,
    types: &[DataType],
    mut statement: Statement,
    text: &Arc<str>,
    check: Check,
) -> Result<PgCommand> {
    prepared::with_types(&mut statement, types)?;
    Ok(match command(statement, text, check)? {
        PgCommand::Query(query, _) => PgCommand::Prepare { name: folded(name), query, types: types.len() },
        PgCommand::Writing(words) => PgCommand::Writing(words),
        _ => PgCommand::Unsupported("PREPARE of a statement that is no query".to_owned()),
    })
}

/// `INSERT`, `CREATE TABLE`: the words in capitals at the beginning.
fn first_words(statement: &Statement) -> String {
    let text = statement.to_string();
    let is_keyword = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase());
    text.split_whitespace().take(2).take_while(is_keyword).collect::<Vec<_>>().join(" ")
}

fn is_writing(mode: &TransactionMode) -> bool {
    use datafusion::sql::sqlparser::ast::TransactionAccessMode::ReadWrite;
    matches!(mode, TransactionMode::AccessMode(ReadWrite))
}

/// Returns the keyword of a query that would change data, such as `INSERT` in a `WITH`, or `SELECT … INTO`.
fn writes(query: &Query) -> Option<&'static str> {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables.into_iter().find_map(|table| writes(&table.query)).or_else(|| body_writes(&query.body))
}

fn body_writes(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO"),
        SetExpr::Query(query) => writes(query),
        _ => None,
    }
}

fn copied(source: CopySource) -> Statement {
    match source {
        CopySource::Query(query) => Statement::Query(query),
        CopySource::Table { table_name, columns } => {
            let items: Vec<SelectItem> = match columns.is_empty() {
                true => vec![SelectItem::Wildcard(Default::default())],
                false => columns.into_iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name))).collect(),
            };
            Statement::Query(Box::new(rewrite::select_from(items, table_name)))
        }
    }
}

fn copy_format(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<PgCopyFormat> {
    let unsupported = |option: &dyn std::fmt::Display| {
        Err(DataFusionError::NotImplemented(format!("the option {option} of COPY is not supported")))
    };
    let (mut format, mut header, mut delimiter, mut null) = ("text".to_owned(), false, None, None);
    for option in options {
        match option {
            CopyOption::Format(name) => format = name.value.to_lowercase(),
            CopyOption::Header(is_there) => header = *is_there,
            CopyOption::Delimiter(character) => delimiter = Some(*character),
            CopyOption::Null(text) => null = Some(text.clone()),
            CopyOption::Encoding(name) if name.to_lowercase().replace('-', "") == "utf8" => {}
            other => return unsupported(other),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Binary => format = "binary".to_owned(),
            CopyLegacyOption::Csv(options) => {
                format = "csv".to_owned();
                for option in options {
                    match option {
                        datafusion::sql::sqlparser::ast::CopyLegacyCsvOption::Header => header = true,
                        other => return unsupported(other),
                    }
                }
            }
            CopyLegacyOption::Header => header = true,
            CopyLegacyOption::Delimiter(character) => delimiter = Some(*character),
            CopyLegacyOption::Null(text) => null = Some(text.clone()),
            other => return unsupported(other),
        }
    }
    match format.as_str() {
        "binary" if !header && delimiter.is_none() && null.is_none() => Ok(PgCopyFormat::Binary),
        "text" if delimiter.is_none() && null.is_none() => Ok(PgCopyFormat::Text { header }),
        "csv" => Ok(PgCopyFormat::Csv { header, delimiter: delimiter.unwrap_or(','), null: null.unwrap_or_default() }),
        format => unsupported(&format!("FORMAT {format} with these options")),
    }
}

fn fetched(direction: &FetchDirection) -> PgFetch {
    let count = |limit: &Value| match limit {
        Value::Number(digits, _) => digits.parse().map_or(PgFetch::Backward, PgFetch::Next),
        _ => PgFetch::Backward,
    };
    match direction {
        FetchDirection::Next => PgFetch::Next(1),
        FetchDirection::Count { limit } => count(limit),
        FetchDirection::Forward { limit } => limit.as_ref().map_or(PgFetch::Next(1), count),
        FetchDirection::All | FetchDirection::ForwardAll => PgFetch::All,
        _ => PgFetch::Backward,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<PgCommand> {
        PgScript::parse(&text.into(), |_| Ok(())).unwrap().0
    }

    fn command(text: &str) -> PgCommand {
        let [command] = <[_; 1]>::try_from(commands(text)).unwrap();
        command
    }

    #[test]
    fn statements_that_change_something_are_recognized() {
        let all = [
            ("INSERT INTO runs VALUES (1)", "INSERT INTO"),
            ("UPDATE runs SET status = 'x'", "UPDATE"),
            ("DELETE FROM runs", "DELETE FROM"),
            ("CREATE TABLE t (a int)", "CREATE TABLE"),
            ("DROP TABLE runs", "DROP TABLE"),
            ("TRUNCATE runs", "TRUNCATE"),
            ("WITH gone AS (DELETE FROM runs RETURNING *) SELECT * FROM gone", "DELETE"),
            ("SELECT * INTO copy FROM runs", "SELECT INTO"),
            ("COPY runs FROM STDIN", "COPY"),
            ("COPY runs TO '/tmp/runs'", "COPY"),
            ("BEGIN READ WRITE", "BEGIN READ WRITE"),
        ];
        for (text, words) in all {
            match command(text) {
                PgCommand::Writing(found) => assert!(found.starts_with(words), "{text}: {found}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn statements_of_the_session_are_recognized() {
        assert!(matches!(command("BEGIN READ ONLY"), PgCommand::Begin));
        assert!(matches!(command("start transaction isolation level repeatable read"), PgCommand::Begin));
        for text in [
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            "START TRANSACTION READ ONLY NOT DEFERRABLE;",
            "begin deferrable",
        ] {
            assert!(matches!(command(text), PgCommand::Begin), "{text}");
        }
        for text in [
            "BEGIN; SELECT is_deferrable, deferrable FROM pg_constraint",
            "SET search_path = deferrable; SELECT 1",
            "SET application_name = 'not deferrable'",
        ] {
            assert_eq!(without_deferrable(text), text);
        }
        for (text, kept) in [
            ("BEGIN DEFERRABLE; SELECT deferrable", "BEGIN           ; SELECT deferrable"),
            ("SET TRANSACTION NOT DEFERRABLE", "SET TRANSACTION               "),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, DEFERRABLE",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY            ",
            ),
        ] {
            assert_eq!(without_deferrable(text), kept);
        }
        assert!(matches!(command("END"), PgCommand::Commit));
        assert!(matches!(command("ROLLBACK TO SAVEPOINT a"), PgCommand::RollbackTo));
        assert!(matches!(command("DISCARD ALL"), PgCommand::Discard { all: true }));
        assert!(matches!(command("RESET ALL"), PgCommand::Reset(None)));
        assert!(matches!(command("DEALLOCATE ALL"), PgCommand::Deallocate(None)));
        assert!(matches!(command("CLOSE ALL"), PgCommand::Close(None)));
        assert!(matches!(command("SHOW ALL"), PgCommand::Show(None)));
        let set = |text: &str| match command(text) {
            PgCommand::Set(name, value) => (name, value),
            other => panic!("{text}: {other:?}"),
        };
        let set_to = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(set("SET DateStyle = ISO, MDY"), set_to("datestyle", "ISO, MDY"));
        assert_eq!(set("SET extra_float_digits TO 3"), set_to("extra_float_digits", "3"));
        assert_eq!(set("SET NAMES 'UTF8'"), set_to("client_encoding", "UTF8"));
        assert_eq!(set("SET TIME ZONE 'UTC'"), set_to("timezone", "UTC"));
        assert_eq!(set("SET statement_timeout TO DEFAULT"), ("statement_timeout".to_owned(), None));
        let show = |text: &str| match command(text) {
            PgCommand::Show(Some(name)) => name,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(show("SHOW TRANSACTION ISOLATION LEVEL"), "transaction_isolation");
        assert_eq!(show("SHOW server_version"), "server_version");
    }

    #[test]
    fn cursors_are_read_and_moved_in_every_form() {
        let fetch = |text: &str| match command(text) {
            PgCommand::Fetch { name, rows, is_move } => (name, rows, is_move),
            other => panic!("{text}: {other:?}"),
        };
        for (text, rows) in [
            ("FETCH c", PgFetch::Next(1)),
            ("FETCH NEXT FROM c", PgFetch::Next(1)),
            ("FETCH 5 IN c", PgFetch::Next(5)),
            ("FETCH 5 c", PgFetch::Next(5)),
            ("fetch forward from C", PgFetch::Next(1)),
            ("FETCH FORWARD 3 FROM c", PgFetch::Next(3)),
            ("FETCH FORWARD ALL FROM c", PgFetch::All),
            ("FETCH ALL c", PgFetch::All),
            ("FETCH -1 FROM c", PgFetch::Backward),
            ("FETCH PRIOR FROM c", PgFetch::Backward),
            ("FETCH BACKWARD 2 FROM c", PgFetch::Backward),
            ("FETCH ABSOLUTE 2 FROM c", PgFetch::Backward),
        ] {
            assert_eq!(fetch(text), ("c".to_owned(), rows, false), "{text}");
            let text = format!("MOVE {}", &text[6..]);
            assert_eq!(fetch(&text), ("c".to_owned(), rows, true), "{text}");
        }
        assert!(PgScript::parse(&"FETCH FROM".into(), |_| Ok(())).is_err());
    }

    #[test]
    fn statements_are_prepared_and_executed_with_values() {
        let PgCommand::Prepare { name, query, types } = command("PREPARE p (int) AS SELECT $1 + 1, $2, $1") else {
            panic!("a prepared statement")
        };
        assert_eq!((name.as_str(), query.parameters, types), ("p", 2, 1));
        let arguments = |text: &str| match command(text) {
            PgCommand::Execute { arguments, .. } => arguments,
            other => panic!("{text}: {other:?}"),
        };
        let executed = query.with_arguments(&arguments("EXECUTE p (2, 'a')"), types).unwrap();
        let text = executed.statement.to_string();
        assert!(text.contains("CAST((2) AS INT)") && text.contains("('a')") && !text.contains('$'), "{text}");
        let error = query.with_arguments(&arguments("EXECUTE p (2)"), types).unwrap_err().to_string();
        assert!(error.contains("it takes 2, not 1"), "{error}");
        for wrong in ["EXECUTE p (status, 1)", "EXECUTE p ((SELECT 1), 1)", "EXECUTE p ($1, 1)"] {
            assert!(PgScript::parse(&wrong.into(), |_| Ok(())).is_err(), "{wrong}");
        }
        let long = format!("EXECUTE p (1, '{}')", "x".repeat(300_000));
        assert!(query.with_arguments(&arguments(&long), types).unwrap_err().to_string().contains("too large"));
        assert!(matches!(command("PREPARE p AS DELETE FROM runs"), PgCommand::Writing(_)));
    }

    #[test]
    fn a_text_may_have_several_statements_or_none() {
        assert_eq!(commands("BEGIN; SELECT 1; COMMIT;").len(), 3);
        assert!(commands(" ; -- nothing").is_empty());
    }
}
