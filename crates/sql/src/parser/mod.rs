//! Parsing with bounded running time. If a word begins a special form of an expression, such as `CAST(`, and parsing
//! that form fails, the parser parses the word as the name of a function instead. Each level of nesting multiplies the
//! time, so that a few hundred bytes could block a thread practically forever. Therefore the attempts to parse an
//! expression are counted; beyond a maximum, each further attempt fails immediately.

pub(crate) mod cursors;
mod dialects;

use std::cell::Cell;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as ParsedStatement;
use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use self::dialects::CountingDialect;
use crate::error::too_large;

/// Maximum number of attempts to parse an expression. A query has fewer expressions than tokens, and without errors the
/// parser repeats hardly any attempt.
const BEGINNINGS_MAX: u32 = 200_000;

/// Maximum nesting depth of brackets, subqueries and similar forms.
const NESTING_MAX: usize = 50;

thread_local! {
    /// Number of attempts that remain for the parser running on this thread.
    static BEGINNINGS_LEFT: Cell<u32> = const { Cell::new(0) };
}

fn count() -> Result<(), ParserError> {
    let left = BEGINNINGS_LEFT.get().checked_sub(1).ok_or(ParserError::RecursionLimitExceeded)?;
    BEGINNINGS_LEFT.set(left);
    Ok(())
}

/// Parses the only statement of a query in the engine's dialect.
pub(crate) fn engine_statement(query: &str) -> Result<Statement> {
    let dialect = CountingDialect { dialect: GenericDialect {}, count };
    let mut statements = counted(|| {
        DFParserBuilder::new(query).with_dialect(&dialect).with_recursion_limit(NESTING_MAX).build()?.parse_statements()
    })?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => Err(DataFusionError::Plan("a query is one statement; this has more".to_owned())),
        (None, _) => Err(DataFusionError::Plan("the query has no statement".to_owned())),
    }
}

/// Parses the statements of a client of PostgreSQL.
pub(crate) fn postgres_statements(text: &str) -> Result<Vec<ParsedStatement>> {
    let dialect = CountingDialect { dialect: PostgreSqlDialect {}, count };
    counted(|| {
        let parser = Parser::new(&dialect).with_recursion_limit(NESTING_MAX).try_with_sql(text);
        let statements = parser.and_then(|mut parser| parser.parse_statements());
        statements.map_err(|error| DataFusionError::SQL(Box::new(error), None))
    })
}

/// Runs the parser with a limited number of attempts to parse an expression.
fn counted<T>(parse: impl FnOnce() -> Result<T>) -> Result<T> {
    BEGINNINGS_LEFT.set(BEGINNINGS_MAX);
    let parsed = parse();
    match BEGINNINGS_LEFT.get() {
        0 => Err(too_large("it has an error deep within other expressions, or too many expressions")),
        _ => parsed,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::Dialect;

    use super::*;

    /// Without the limit, each of these would take longer than the age of the universe, and the thread could not be
    /// stopped.
    #[test]
    fn an_error_deep_within_expressions_is_found_in_time() {
        let forms = [
            ("CAST(", " AS INT)"),
            ("CAST(CAST(", " AS INT) AS INT)"),
            ("TRY_CAST(", " AS INT)"),
            ("CASE CAST(", " AS INT) WHEN 1 THEN 1 END"),
            ("SUBSTRING(", ")"),
            ("POSITION(", " IN a)"),
            ("OVERLAY(", " PLACING a FROM 1)"),
            ("TRIM(", ")"),
            ("CEIL(", ")"),
            ("CONVERT(", ", INT)"),
            ("f(", ")"),
            ("ARRAY[", "]"),
            ("INTERVAL (", ")"),
            ("(", ")"),
            ("EXISTS (SELECT ", ")"),
        ];
        let parsing = move || {
            for (begin, end) in forms {
                for depth in [10, 20, 45, 400] {
                    let query = format!("SELECT {}1 1 1{}", begin.repeat(depth), end.repeat(depth));
                    assert!(engine_statement(&query).is_err(), "{query}");
                    assert!(postgres_statements(&query).is_err(), "{query}");
                }
            }
        };
        // As large as the stacks on which queries are parsed.
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(parsing).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn the_dialects_that_count_parse_as_those_that_do_not() {
        let queries = [
            "SELECT a ->> 'b', c::text, E'\\n', $1, x[1:2] FROM t TABLESAMPLE (1) WHERE a ~ 'b' ORDER BY ALL",
            "SELECT CAST(TRIM(SUBSTRING(a FROM 1 FOR 2)) AS INT), EXTRACT(DAY FROM b), INTERVAL '1 day', DATE '2026-01-01'",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * EXCLUDE (i) FROM n QUALIFY true",
        ];
        let parsed = |dialect: &dyn Dialect, query| {
            BEGINNINGS_LEFT.set(BEGINNINGS_MAX);
            Parser::parse_sql(dialect, query).map_err(|error| error.to_string())
        };
        for query in queries {
            let counting = CountingDialect { dialect: GenericDialect {}, count };
            assert_eq!(parsed(&counting, query), parsed(&GenericDialect {}, query));
            let counting = CountingDialect { dialect: PostgreSqlDialect {}, count };
            assert_eq!(parsed(&counting, query), parsed(&PostgreSqlDialect {}, query));
        }
    }

    #[test]
    fn deeply_nested_calls_and_arrows_after_names_are_parsed() {
        let parsing = || {
            for query in [
                format!("SELECT {}1{}", "f(".repeat(40), ", 2)".repeat(40)),
                "SELECT a -> 'b' -> 'c', f(x => 1)".to_owned(),
            ] {
                for is_parsed in [engine_statement(&query).is_ok(), postgres_statements(&query).is_ok()] {
                    assert!(is_parsed, "{query}");
                }
            }
            let parsed = postgres_statements("SELECT a -> 'b'").unwrap();
            assert_eq!(engine_statement("SELECT a -> 'b'").unwrap().to_string(), parsed[0].to_string());
        };
        // As large as the stacks on which queries are parsed.
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(parsing).unwrap();
        thread.join().unwrap();
    }
}
