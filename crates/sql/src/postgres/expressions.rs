//! Builds parts of parsed statements.

use std::fmt::{self, Display, Write};
use std::ops::ControlFlow;

use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, SelectItem, SetExpr, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::too_large;

pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

pub(super) fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

pub(super) fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.to_owned(), false))
}

pub(super) fn no_arguments() -> FunctionArgumentList {
    FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() }
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { args, ..no_arguments() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Returns the arguments of a call; none if one of them is not an expression.
pub(super) fn arguments(function: &mut Function) -> Option<Vec<&mut Expr>> {
    match &mut function.args {
        FunctionArguments::List(list) => list
            .args
            .iter_mut()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
        _ => Some(Vec::new()),
    }
}

/// Whether an argument of a function in `FROM` has columns of other tables.
pub(super) fn reads_columns(arg: &FunctionArg) -> bool {
    struct ColumnFinder;
    impl Visitor for ColumnFinder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    arg.visit(&mut ColumnFinder).is_break()
}

/// `(left op right)`.
pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let (left, right) = (Box::new(left), Box::new(right));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }))
}

pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// Takes an expression out of its place.
pub(super) fn take_expr(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

/// Copies parts of a statement, up to a total size: nested copies may double the size at each level.
pub(super) struct CopyBudget {
    /// The remaining size. Unit: bytes of text.
    left: usize,
}

impl CopyBudget {
    /// The maximum size of all copies of a statement. Unit: bytes of text.
    const BYTES_MAX: usize = 64 << 10;

    pub(super) fn new() -> Self {
        Self { left: Self::BYTES_MAX }
    }

    /// Copies a part. Fails if all copies together would exceed the limit.
    pub(super) fn of<T: Clone + Display>(&mut self, part: &T) -> Result<T> {
        match write!(self, "{part}") {
            Ok(()) => Ok(part.clone()),
            Err(fmt::Error) => Err(too_large(format!(
                "its calls of div, date_trunc, format, percentile_disc, trim_array, LIKE ANY and the columns of FULL JOIN \
                 need more than {} bytes of copies of what they are given",
                Self::BYTES_MAX
            ))),
        }
    }
}

/// Counts the text of copies.
impl Write for CopyBudget {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Returns the value of a text literal.
pub(super) fn constant(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(expr) => constant(expr),
        _ => None,
    }
}

/// Parses a `SELECT` and returns its only expression.
pub(super) fn parsed_expr(text: &str) -> Option<Expr> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_query());
    match *parsed.ok()?.body {
        SetExpr::Select(mut select) => match select.projection.pop()? {
            SelectItem::UnnamedExpr(expr) => Some(expr),
            _ => None,
        },
        _ => None,
    }
}
