//! Every complete statement in the source is prepared on both databases, which finds syntax errors and unknown columns
//! without executing the statement.
//!
//! Statements that are assembled at run time are executed by the suite, which runs on both databases.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, SqlSafeStr};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{Expr, ExprLit, Lit, LitStr, Token};

use super::common::{Archive, backends};

/// Minimum number of statements. It detects that the reader of the sources no longer finds them.
const STATEMENTS_MIN: usize = 200;

/// PostgreSQL's codes for a parameter whose type is only known from its bound value.
const UNTYPED: [&str; 2] = ["42P08", "42P18"];

/// The crate whose statements are checked.
const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/store");

/// The file in which the databases may differ.
const DIFFERENCES: &str = "catalog/database.rs";

/// A statement and its location.
struct Statement {
    place: String,
    text: String,
}

/// The content of the sources.
#[derive(Default)]
struct Sources {
    file: String,
    /// Texts of constants, such as lists of columns.
    constants: BTreeMap<String, String>,
    /// Statements with the constants that they name in braces.
    templates: Vec<Statement>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.read_folder(folder);
        sources
    }

    fn read_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read_folder(&path);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with(DIFFERENCES) {
                self.file = path.strip_prefix(STORE).unwrap().display().to_string();
                self.visit_file(&syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap());
            }
        }
    }

    fn add(&mut self, text: &LitStr) {
        let place = format!("{}:{}", self.file, text.span().start().line);
        self.templates.push(Statement { place, text: text.value() });
    }

    /// The statements, with constants in their places; none of those that hold something else in braces.
    fn statements(&self) -> Vec<Statement> {
        let whole = |template: &Statement| {
            let mut text = template.text.clone();
            while let Some((before, rest)) = text.split_once('{') {
                let (name, after) = rest.split_once('}')?;
                text = format!("{before}{}{after}", self.constants.get(name)?);
            }
            Some(Statement { place: template.place.clone(), text })
        };
        self.templates.iter().filter_map(whole).collect()
    }
}

impl<'ast> Visit<'ast> for Sources {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !is_test {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = item.expr.as_ref() {
            self.constants.insert(item.ident.to_string(), text.value());
        }
        syn::visit::visit_item_const(self, item);
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        if is_statement(&text.value()) {
            self.add(text);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if !begins_statement(call) {
            syn::visit::visit_expr_call(self, call);
        }
    }

    /// Calls of macros are tokens: only the first argument of `format!` and similar macros is examined.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let arguments = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(call.tokens.clone());
        for argument in arguments.into_iter().flatten() {
            self.visit_expr(&argument);
        }
    }
}

/// True for `Sql::new(…)`: what it is given is the beginning of a statement that is put together.
fn begins_statement(call: &syn::ExprCall) -> bool {
    let Expr::Path(function) = call.func.as_ref() else { return false };
    let names: Vec<_> = function.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    names.ends_with(&["Sql".to_owned(), "new".to_owned()])
}

/// True for a text that is one whole statement: not for its beginning, which other parts follow.
fn is_statement(text: &str) -> bool {
    let begins = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "WITH "].iter().any(|it| text.starts_with(it));
    let is_open = ["(", ",", "=", " "].iter().any(|end| text.ends_with(end))
        || [" IN", " AND", " WHERE", " SET", " VALUES", " FROM"].iter().any(|end| text.ends_with(end));
    begins && !is_open
}

/// Returns the errors of a database for statements.
async fn refusals(address: &str, statements: &[Statement]) -> Vec<String> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(address).await.unwrap();
    let mut refusals = Vec::new();
    for statement in statements {
        let prepared = connection.prepare(AssertSqlSafe(statement.text.clone()).into_sql_str()).await;
        if let Err(error) = prepared.map(drop) {
            // A type that only a bound value tells: the statement was read, and what it names is there.
            let code = error.as_database_error().and_then(|error| error.code());
            let is_untyped = code.is_some_and(|code| UNTYPED.contains(&code.as_ref()));
            if !is_untyped {
                refusals.push(format!("{}: {error}\n    {}", statement.place, statement.text));
            }
        }
    }
    connection.close().await.unwrap();
    refusals
}

#[tokio::test]
async fn both_databases_can_prepare_each_statement() {
    let statements = Sources::read(&Path::new(STORE).join("src")).statements();
    assert!(statements.len() >= STATEMENTS_MIN, "only {} statements were found", statements.len());
    let sqlite = Archive::<backends::sqlite_and_folder>::new().await;
    let postgres = Archive::<backends::postgres_and_folder>::new().await;
    for (database, address) in [("SQLite", sqlite.catalog_address()), ("PostgreSQL", postgres.catalog_address())] {
        let refusals = refusals(&address, &statements).await;
        assert!(refusals.is_empty(), "{database} refuses\n{}", refusals.join("\n"));
    }
}

#[tokio::test]
async fn a_statement_that_names_no_column_is_refused_by_both() {
    let statement = |text: &str| Statement { place: "here".to_owned(), text: text.to_owned() };
    let statements = [statement("SELECT id FROM runs WHERE id = $1"), statement("SELECT colour FROM runs")];
    let sqlite = Archive::<backends::sqlite_and_folder>::new().await;
    let postgres = Archive::<backends::postgres_and_folder>::new().await;
    for address in [sqlite.catalog_address(), postgres.catalog_address()] {
        let refusals = refusals(&address, &statements).await;
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].contains("colour"), "{refusals:?}");
    }
}

#[test]
fn constants_and_macros_are_read() {
    let mut sources = Sources::default();
    sources.visit_file(&syn::parse_quote! {
        const COLUMNS: &str = "id, name";
        fn list(table: &str) {
            sqlx::query("SELECT 1");
            sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM runs")));
            sqlx::query(AssertSqlSafe(format!("SELECT id FROM {table}")));
            Sql::new("SELECT id FROM runs WHERE id IN (");
            Sql::new("SELECT COUNT(*) FROM (SELECT id");
        }
    });
    let texts: Vec<_> = sources.statements().into_iter().map(|statement| statement.text).collect();
    assert_eq!(texts, ["SELECT 1", "SELECT id, name FROM runs"]);
}
