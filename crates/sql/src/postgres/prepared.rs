//! `PREPARE` and `EXECUTE`: a statement whose parameters are given as expressions.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{DataType, Expr, Statement, Value, visit_expressions, visit_expressions_mut};

use crate::error::too_large;
use crate::postgres::expressions::{cast, null};
use crate::postgres::query_context::{PgQuery, parameter_number};
use crate::postgres::rewrite;

/// Maximum length of the arguments of an `EXECUTE`, each counted as often as the statement refers to it. Unit: bytes.
const ARGUMENT_BYTES_MAX: usize = 256 << 10;

/// The arguments of an `EXECUTE`.
#[derive(Debug, Clone)]
pub struct PgArguments(Vec<Expr>);

impl PgArguments {
    /// Fails for arguments that are not constant expressions, such as a column or a query.
    pub(super) fn new(mut arguments: Vec<Expr>) -> Result<Self> {
        for argument in &mut arguments {
            let visited = visit_expressions(argument, |expr| match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Wildcard(_) => {
                    ControlFlow::Break(format!("an argument of EXECUTE is a value, and not the column {expr}"))
                }
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    ControlFlow::Break("an argument of EXECUTE cannot be a query".to_owned())
                }
                Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                    ControlFlow::Break("an argument of EXECUTE cannot be a parameter".to_owned())
                }
                _ => ControlFlow::Continue(()),
            });
            if let ControlFlow::Break(message) = visited {
                return Err(DataFusionError::Plan(message));
            }
            rewrite::rewrite_value(argument)?;
        }
        Ok(Self(arguments))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Casts the parameters of a statement to the types declared by its `PREPARE`.
pub(super) fn with_types(statement: &mut Statement, types: &[DataType]) -> Result<()> {
    replace_parameters(statement, |number, placeholder| {
        Ok(match types.get(number - 1) {
            Some(data_type) => Expr::Nested(Box::new(cast(placeholder, data_type.clone()))),
            None => placeholder,
        })
    })
}

impl PgQuery {
    /// Replaces the parameters of the query with values. Fails if the number of values differs.
    pub(crate) fn with_arguments(&self, arguments: &PgArguments, types: usize) -> Result<Self> {
        let (wanted, given) = (self.parameters.max(types), arguments.0.len());
        if wanted != given {
            let message = format!("wrong number of parameters for prepared statement: it takes {wanted}, not {given}");
            return Err(DataFusionError::Plan(message));
        }
        let sizes: Vec<usize> = arguments.0.iter().map(text_bytes).collect();
        let mut left = ARGUMENT_BYTES_MAX;
        let mut statement = Statement::clone(&self.statement);
        replace_parameters(&mut statement, |number, _| {
            left = left.checked_sub(sizes[number - 1]).ok_or_else(|| {
                too_large(format!(
                    "the arguments of EXECUTE are longer than {ARGUMENT_BYTES_MAX} bytes, each counted as often as the \
                     statement names it; use parameters of the protocol"
                ))
            })?;
            Ok(Expr::Nested(Box::new(arguments.0[number - 1].clone())))
        })?;
        Ok(Self { text: Arc::clone(&self.text), statement: Arc::new(statement), parameters: 0 })
    }
}

fn text_bytes(part: &impl Display) -> usize {
    part.to_string().len()
}

/// Replaces each `$1`.
fn replace_parameters(statement: &mut Statement, mut replace: impl FnMut(usize, Expr) -> Result<Expr>) -> Result<()> {
    let visited = visit_expressions_mut(statement, |expr| {
        let Expr::Value(value) = &*expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        let number = match parameter_number(name) {
            Ok(number) => number,
            Err(error) => return ControlFlow::Break(error),
        };
        match replace(number, std::mem::replace(expr, null())) {
            Ok(replaced) => {
                *expr = replaced;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
