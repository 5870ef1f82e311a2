//! A query of a client, its session, and its description.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as ParsedExpr, Statement, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut, visit_expressions,
    visit_expressions_mut,
};

use crate::postgres::parameters::{self, PgParameter};
use crate::postgres::types::{self, PgColumn, PgType};

/// A query: its statement is parsed, and its tables are not looked up yet.
#[derive(Debug, Clone)]
pub struct PgQuery {
    pub(super) text: Arc<str>,
    pub(super) statement: Arc<Statement>,
    /// The highest parameter number in the text, including parts that are not planned.
    pub(super) parameters: usize,
}

impl PgQuery {
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn statement(&self) -> &Statement {
        &self.statement
    }
}

/// The properties of a session that queries can read.
#[derive(Debug, Clone, Default)]
pub struct PgSession {
    /// The name of the database.
    pub database: String,
    /// The name of the account that is signed in.
    pub user: String,
    /// What `version()` returns.
    pub version: String,
    /// The number of the session.
    pub process_id: i32,
    /// The settings, by their names in lower case.
    pub settings: BTreeMap<String, String>,
}

/// The parameters and the columns of a query.
#[derive(Debug, Clone)]
pub struct PgDescription {
    /// The types of its parameters.
    pub parameters: Vec<PgType>,
    /// Its columns.
    pub columns: Vec<PgColumn>,
}

/// The highest number of a parameter in a statement, 0 if there is none.
pub(super) fn highest_parameter(statement: &Statement) -> Result<usize> {
    let mut highest = 0;
    let visited = visit_expressions(statement, |expr| {
        if let ParsedExpr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            match parameter_number(name) {
                Ok(number) => highest = highest.max(number),
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    });
    match visited {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(highest),
    }
}

/// Calls `visit` with the number and the place of each parameter of a function in `FROM`.
fn visit_table_parameters(
    statement: &mut Statement,
    visit: impl FnMut(usize, &mut ParsedExpr) -> Result<()>,
) -> Result<()> {
    match statement.visit(&mut TableParameters { visit }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct TableParameters<F> {
    visit: F,
}

impl<F: FnMut(usize, &mut ParsedExpr) -> Result<()>> VisitorMut for TableParameters<F> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let TableFactor::Table { args: Some(args), .. } = table else { return ControlFlow::Continue(()) };
        for arg in &mut args.args {
            let visited = visit_expressions_mut(arg, |expr| {
                let ParsedExpr::Value(value) = &*expr else { return ControlFlow::Continue(()) };
                let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
                match parameter_number(name).and_then(|number| (self.visit)(number, expr)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                }
            });
            visited?;
        }
        ControlFlow::Continue(())
    }
}

/// The number of a parameter, from 1, by its name: `$1`.
pub(super) fn parameter_number(name: &str) -> Result<usize> {
    let number = name.strip_prefix('$').and_then(|digits| digits.parse().ok());
    number.filter(|number| (1..=PARAMETERS_MAX).contains(number)).ok_or_else(|| {
        let message = format!("there is no parameter {name}: parameters are $1, $2 …, up to ${PARAMETERS_MAX}");
        DataFusionError::Plan(message)
    })
}

/// Maximum number of parameters of a query.
const PARAMETERS_MAX: usize = 10_000;

/// A query of a client with everything that its plan depends on.
#[derive(Debug, Clone)]
pub(crate) struct PgQueryContext {
    pub(crate) query: PgQuery,
    pub(crate) session: Arc<PgSession>,
    /// The types of its parameters; none for those that the client has not declared.
    pub(crate) declared: Vec<Option<PgType>>,
    /// The values of the parameters; none if not known yet.
    pub(crate) parameters: Option<Vec<PgParameter>>,
}

impl PgQueryContext {
    /// The sizes of the values of its parameters. Unit: bytes.
    pub(crate) fn parameter_sizes(&self) -> Vec<usize> {
        let parameters = self.parameters.iter().flatten();
        parameters.map(|parameter| parameter.value.as_ref().map_or(0, |value| value.len())).collect()
    }

    /// Returns the statement with the values of parameters of functions in `FROM`, which the engine needs for planning;
    /// 1 for values that are not known yet.
    pub(crate) fn statement(&self) -> Result<Statement> {
        let mut statement = Statement::clone(&self.query.statement);
        let visited = visit_table_parameters(&mut statement, |number, expr| {
            *expr = match &self.parameters {
                None => ParsedExpr::value(Value::Number("1".to_owned(), false)),
                Some(parameters) => self.table_number(parameters, number)?,
            };
            Ok(())
        });
        visited.map(|()| statement)
    }

    /// Returns the value of an integer parameter of a function in `FROM`.
    fn table_number(&self, parameters: &[PgParameter], number: usize) -> Result<ParsedExpr> {
        let pg_type = self.declared.get(number - 1).copied().flatten().unwrap_or(PgType::INT8);
        let value = parameters.get(number - 1).map(|parameter| parameters::scalar(parameter, pg_type, number));
        match value.transpose()?.map(|value| value.cast_to(&DataType::Int64)) {
            Some(Ok(ScalarValue::Int64(Some(value)))) => {
                let digits = ParsedExpr::value(Value::Number(value.unsigned_abs().to_string(), false));
                let minus = || ParsedExpr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(digits.clone()) };
                Ok(if value < 0 { minus() } else { digits })
            }
            _ => {
                let message = format!("parameter ${number}: a function in FROM takes a whole number");
                Err(DataFusionError::Execution(message))
            }
        }
    }

    /// Replaces the parameters of a plan with their values.
    pub(crate) fn bound(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let Some(parameters) = &self.parameters else { return Ok(plan) };
        let types = self.parameter_types(&plan)?;
        if types.len() != parameters.len() {
            let (needed, given) = (types.len(), parameters.len());
            return Err(DataFusionError::Plan(format!("the query has {needed} parameters, but {given} were given")));
        }
        if types.is_empty() {
            return Ok(plan);
        }
        let values: Vec<ScalarValue> = (parameters.iter().zip(types).enumerate())
            .map(|(index, (parameter, pg_type))| parameters::scalar(parameter, pg_type, index + 1))
            .collect::<Result<_>>()?;
        plan.replace_params_with_values(&ParamValues::from(values))
    }

    /// Returns the parameters and the columns of a plan.
    pub(crate) fn description(&self, plan: &LogicalPlan) -> Result<PgDescription> {
        let parameters = self.parameter_types(plan)?;
        Ok(PgDescription { parameters, columns: types::columns(plan.schema().as_arrow()) })
    }

    /// Returns the types of all parameters: the declared type, or else the type of the values that the parameter is
    /// compared with, or else text.
    fn parameter_types(&self, plan: &LogicalPlan) -> Result<Vec<PgType>> {
        let mut inferred = BTreeMap::new();
        for (name, data_type) in plan.get_parameter_types()? {
            inferred.insert(parameter_number(&name)?, data_type.map(|data_type| PgType::of(&data_type)));
        }
        infer_more(plan, &mut inferred)?;
        if self.query.parameters > 0 {
            visit_table_parameters(&mut Statement::clone(&self.query.statement), |number, _| {
                inferred.insert(number, Some(PgType::INT8));
                Ok(())
            })?;
        }
        let count =
            inferred.keys().next_back().copied().unwrap_or(0).max(self.declared.len()).max(self.query.parameters);
        let pg_type = |number: usize| {
            let declared = self.declared.get(number - 1).copied().flatten();
            let inferred = || inferred.get(&number).copied().flatten();
            declared.or_else(inferred).unwrap_or(PgType::TEXT)
        };
        Ok((1..=count).map(pg_type).collect())
    }
}

/// Infers types of parameters that the engine does not infer: in `x = ANY ($1)`, an array of the type of `x`, and in
/// `$1::bigint`, the type of the cast.
fn infer_more(plan: &LogicalPlan, inferred: &mut BTreeMap<usize, Option<PgType>>) -> Result<()> {
    let number = |expr: &Expr| match expr {
        Expr::Placeholder(parameter) => parameter_number(&parameter.id).ok(),
        _ => None,
    };
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Limit(limit) = plan {
            for number in limit.skip.iter().chain(&limit.fetch).filter_map(|expr| number(expr)) {
                inferred.entry(number).or_default().get_or_insert(PgType::INT8);
            }
        }
        let inputs = plan.inputs();
        let schema = inputs.first().map_or_else(|| plan.schema(), |input| input.schema());
        for expr in plan.expressions() {
            expr.apply(|expr| {
                let known = match expr {
                    Expr::ScalarFunction(function) if function.func.name() == "array_has" => {
                        match function.args.as_slice() {
                            [array, element] => number(array)
                                .zip(element.get_type(schema).ok())
                                .map(|(number, element)| (number, PgType::of(&element).array())),
                            _ => None,
                        }
                    }
                    Expr::Cast(cast) => number(&cast.expr).map(|number| (number, PgType::of(&cast.data_type))),
                    _ => None,
                };
                if let Some((number, pg_type)) = known
                    && let Some(inferred @ None) = inferred.get_mut(&number)
                {
                    *inferred = Some(pg_type);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
