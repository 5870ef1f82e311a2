//! A query of a client, its session, and what it will return.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::Statement;

use crate::postgres::parameters::{self, PgParameter};
use crate::postgres::types::{self, PgColumn, PgType};

/// A query: its statement is parsed, and its tables are not looked up yet.
#[derive(Debug, Clone)]
pub struct PgQuery {
    pub(super) text: Arc<str>,
    pub(super) statement: Arc<Statement>,
}

impl PgQuery {
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn statement(&self) -> &Statement {
        &self.statement
    }
}

/// What a query may ask about its session.
#[derive(Debug, Clone)]
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

/// What a query takes and returns.
#[derive(Debug, Clone)]
pub struct PgDescription {
    /// The types of its parameters.
    pub parameters: Vec<PgType>,
    /// Its columns.
    pub columns: Vec<PgColumn>,
}

/// Maximum number of parameters of a query.
const PARAMETERS_MAX: usize = 10_000;

/// A query of a client with everything that its plan depends on.
#[derive(Debug, Clone)]
pub(crate) struct PgQuestion {
    pub(crate) query: PgQuery,
    pub(crate) session: Arc<PgSession>,
    /// The types of its parameters as far as the client has declared them.
    pub(crate) declared: Vec<Option<PgType>>,
    /// Their values; none if they are not known yet.
    pub(crate) parameters: Option<Vec<PgParameter>>,
}

impl PgQuestion {
    /// The sizes of the values of its parameters. Unit: bytes.
    pub(crate) fn parameter_sizes(&self) -> Vec<usize> {
        let parameters = self.parameters.iter().flatten();
        parameters.map(|parameter| parameter.value.as_ref().map_or(0, |value| value.len())).collect()
    }

    /// The plan with the values of its parameters.
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

    /// What a plan takes and returns.
    pub(crate) fn description(&self, plan: &LogicalPlan) -> Result<PgDescription> {
        let parameters = self.parameter_types(plan)?;
        Ok(PgDescription { parameters, columns: types::columns(plan.schema().as_arrow()) })
    }

    /// The types of all parameters: those that are declared, then those of what they are compared with, then text.
    fn parameter_types(&self, plan: &LogicalPlan) -> Result<Vec<PgType>> {
        let mut inferred = BTreeMap::new();
        for (name, data_type) in plan.get_parameter_types()? {
            let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            let number = number.filter(|number| (1..=PARAMETERS_MAX).contains(number)).ok_or_else(|| {
                DataFusionError::Plan(format!(
                    "there is no parameter {name}: parameters are $1, $2 …, up to ${PARAMETERS_MAX}"
                ))
            })?;
            inferred.insert(number, data_type.map(|data_type| PgType::of(&data_type)));
        }
        infer_more(plan, &mut inferred)?;
        let count = inferred.keys().next_back().copied().unwrap_or(0).max(self.declared.len());
        let pg_type = |number: usize| {
            let declared = self.declared.get(number - 1).copied().flatten();
            let inferred = || inferred.get(&number).copied().flatten();
            declared.or_else(inferred).unwrap_or(PgType::TEXT)
        };
        Ok((1..=count).map(pg_type).collect())
    }
}

/// The types of parameters that the engine does not infer: in `x = ANY ($1)`, arrays of what they are compared with, and in
/// `$1::bigint`, that of the cast.
fn infer_more(plan: &LogicalPlan, inferred: &mut BTreeMap<usize, Option<PgType>>) -> Result<()> {
    let number = |expr: &Expr| match expr {
        Expr::Placeholder(parameter) => parameter.id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()),
        _ => None,
    };
    plan.apply_with_subqueries(|plan| {
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
