//! Limits of the size of a query, checked on its text, its parsed statement and its plan, each before any step whose
//! recursion depth or running time grows with the query.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as ParsedExpr, Ident, ObjectNamePart, Query, Statement as ParsedStatement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::too_large;
use crate::parser::engine_statement;

/// Maximum length of a query. Unit: bytes.
pub(crate) const QUERY_BYTES_MAX: usize = 256 << 10;

/// Maximum number of tokens of a query. A list of 9,000 IDs fits.
const TOKENS_MAX: usize = 20_000;

/// Maximum number of parts of set operations such as `UNION`, and maximum number of `SELECT`s.
const SELECTS_MAX: usize = 128;

/// Maximum depth of an expression; each `AND`, `OR`, `+` or `||` of a chain adds one level. The stacks of
/// [`crate::threads`] are large enough for this depth.
const DEPTH_MAX: usize = 300;

/// Maximum nesting depth of subqueries within expressions: planning time doubles with each level.
const SUBQUERY_DEPTH_MAX: usize = 8;

/// Maximum number of tables of a query, where each name of a `WITH` counts as its definition: planning time grows
/// quadratically.
const TABLES_MAX: usize = 64;

/// Maximum number of steps of the plan.
const STEPS_MAX: usize = 2_000;

/// Maximum number of parts of all expressions, where each column name counts as its definition: conditions are pushed
/// down to the tables, where names are replaced with their definitions.
const PARTS_MAX: u64 = 100_000;

/// A constant counts as one more part for each this many bytes. Unit: bytes.
const PART_BYTES: usize = 256;

/// Maximum size of the values of all parameters, each counted as often as the query refers to it. Unit: bytes.
const PARAMETER_BYTES_MAX: usize = 8 << 20;

/// Parses a query in the engine's dialect. Fails if the query is too large.
pub(crate) fn parsed(query: &str) -> Result<Statement> {
    check_text(query, &GenericDialect {})?;
    let statement = engine_statement(query)?;
    let mut count = Count::default();
    match count_in(&statement, &mut count) {
        ControlFlow::Break(()) => Err(too_large(count.reason)),
        ControlFlow::Continue(()) => Ok(statement),
    }
}

/// Fails if a statement exceeds a size limit.
pub(crate) fn check_parsed(statement: &ParsedStatement) -> Result<()> {
    let mut count = Count::default();
    match statement.visit(&mut count) {
        ControlFlow::Break(()) => Err(too_large(count.reason)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Fails if the text of a query exceeds a size limit. The dialect must be that of the parser: dialects differ in where
/// a comment ends.
pub(crate) fn check_text(query: &str, dialect: &dyn Dialect) -> Result<()> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(too_large(format!("it has more than {QUERY_BYTES_MAX} bytes")));
    }
    // Text that cannot be tokenised is left to the parser, which reports the position.
    let Ok(tokens) = Tokenizer::new(dialect, query).tokenize() else { return Ok(()) };
    let is_said = |token: &&Token| !matches!(token, Token::Whitespace(_));
    if tokens.iter().filter(is_said).count() > TOKENS_MAX {
        return Err(too_large(format!("it has more than {TOKENS_MAX} tokens")));
    }
    let is_select = |token: &&Token| match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::SELECT | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS
        ),
        _ => false,
    };
    if tokens.iter().filter(is_select).count() > 2 * SELECTS_MAX {
        return Err(too_large(format!("it has more than {SELECTS_MAX} parts with SELECT or UNION")));
    }
    Ok(())
}

#[derive(Default)]
struct Count {
    depth: usize,
    /// Number of expression subqueries around the visited node.
    subqueries: usize,
    tables: usize,
    /// The queries around the visited node, outermost first.
    queries: Vec<QueryCount>,
    reason: String,
}

/// The size of a query including the definitions of all `WITH` names that it uses: each use is planned separately.
#[derive(Default)]
struct QueryCount {
    /// The names of its `WITH` whose definitions were not visited yet, last first.
    undefined: Vec<String>,
    defined: HashMap<String, Size>,
    size: Size,
}

/// A lower bound of the size of the plan.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    tables: usize,
    steps: usize,
}

impl Size {
    fn add(&mut self, more: Self) {
        self.tables = self.tables.saturating_add(more.tables);
        self.steps = self.steps.saturating_add(more.steps);
    }
}

impl Count {
    /// Adds to the size of the innermost query.
    fn add(&mut self, size: Size) -> ControlFlow<()> {
        let Some(query) = self.queries.last_mut() else { return ControlFlow::Continue(()) };
        query.size.add(size);
        self.reason = if query.size.tables > TABLES_MAX {
            too_many_tables()
        } else if query.size.steps > STEPS_MAX {
            too_many_steps()
        } else {
            return ControlFlow::Continue(());
        };
        ControlFlow::Break(())
    }

    /// Returns the size of the definition of a `WITH` name, from the innermost query that defines it.
    fn definition(&self, name: &str) -> Option<Size> {
        self.queries.iter().rev().find_map(|query| query.defined.get(name)).copied()
    }
}

fn count_in(statement: &Statement, count: &mut Count) -> ControlFlow<()> {
    match statement {
        Statement::Statement(statement) => statement.visit(count),
        Statement::Explain(explain) => count_in(&explain.statement, count),
        _ => ControlFlow::Continue(()),
    }
}

impl Visitor for Count {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ParsedExpr) -> ControlFlow<()> {
        self.depth += 1;
        self.subqueries += usize::from(is_subquery(expr));
        if self.subqueries > SUBQUERY_DEPTH_MAX {
            self.reason = format!("subqueries of expressions are nested more than {SUBQUERY_DEPTH_MAX} deep");
            return ControlFlow::Break(());
        }
        if self.depth > DEPTH_MAX {
            self.reason = format!(
                "an expression is more than {DEPTH_MAX} deep; a chain of AND, OR, + or || counts by its length, a list \
                 (x IN (…), concat(…)) does not"
            );
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &ParsedExpr) -> ControlFlow<()> {
        self.depth -= 1;
        self.subqueries -= usize::from(is_subquery(expr));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| planned(&cte.alias.name));
        let mut undefined: Vec<String> = names.collect();
        undefined.reverse();
        let itself = Size { tables: 0, steps: 1 };
        self.queries.push(QueryCount { undefined, size: itself, ..QueryCount::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let size = self.queries.pop().unwrap_or_default().size;
        // The definitions of a WITH are visited in order, before the rest of the query.
        let around = self.queries.last_mut();
        match around.and_then(|around| around.undefined.pop().map(|name| (name, &mut around.defined))) {
            Some((name, defined)) => {
                defined.insert(name, size);
                ControlFlow::Continue(())
            }
            None => self.add(size),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        self.tables += 1;
        if self.tables > TABLES_MAX {
            self.reason = too_many_tables();
            return ControlFlow::Break(());
        }
        let TableFactor::Table { name, .. } = table else { return ControlFlow::Continue(()) };
        // The planner also looks up `a.b` among the names of a WITH, in the form `"a.b"`; and `pg_catalog.b` becomes
        // `b`.
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(planned).collect();
        let definitions = [parts.join("."), parts.last().cloned().unwrap_or_default()];
        let known = definitions.iter().filter_map(|name| self.definition(name)).max_by_key(|size| size.steps);
        self.add(known.unwrap_or(Size { tables: 1, steps: 1 }))
    }
}

fn is_subquery(expr: &ParsedExpr) -> bool {
    matches!(expr, ParsedExpr::Subquery(_) | ParsedExpr::Exists { .. } | ParsedExpr::InSubquery { .. })
}

/// Returns a name as the planner compares it: only unquoted names are case-insensitive.
fn planned(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

fn too_many_steps() -> String {
    format!("it takes more than {STEPS_MAX} steps, counting the definition of each name")
}

fn too_many_tables() -> String {
    format!("it reads more than {TABLES_MAX} tables, counting the definition of each name of a WITH")
}

/// Fails if a plan exceeds a size limit.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let (mut steps, mut tables) = (0, 0);
    let mut reason = None;
    plan.apply_with_subqueries(|plan| {
        steps += 1;
        tables += usize::from(matches!(plan, LogicalPlan::TableScan(_) | LogicalPlan::Values(_)));
        if tables > TABLES_MAX {
            reason = Some(too_many_tables());
        } else if steps > STEPS_MAX {
            reason = Some(too_many_steps());
        }
        Ok(if reason.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if let Some(reason) = reason {
        return Err(too_large(reason));
    }
    let mut parts = Parts::default();
    parts.of_columns(plan)?;
    Ok(())
}

/// Counts the parts of expressions.
#[derive(Default)]
struct Parts {
    total: u64,
}

impl Parts {
    /// The number of parts behind each column that a step produces.
    fn of_columns(&mut self, plan: &LogicalPlan) -> Result<Vec<u64>> {
        let mut inputs = Vec::new();
        for input in plan.inputs() {
            inputs.push((input.schema().as_ref(), self.of_columns(input)?));
        }
        let mut parts = Vec::new();
        for expr in plan.expressions() {
            let behind = self.of_expr(&expr, &inputs)?;
            self.total = self.total.saturating_add(behind);
            if self.total > PARTS_MAX {
                return Err(too_large(format!(
                    "its expressions have more than {PARTS_MAX} parts, counting the definition of each name"
                )));
            }
            parts.push(behind);
        }
        let count = plan.schema().fields().len();
        let mut columns: Vec<u64> = match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => parts,
            LogicalPlan::Union(_) => (0..count)
                .map(|index| inputs.iter().filter_map(|(_, parts)| parts.get(index).copied()).max().unwrap_or(1))
                .collect(),
            _ => inputs.iter().flat_map(|(_, parts)| parts.iter().copied()).collect(),
        };
        // Columns added by a grouping set or a window count as many parts as the largest other column.
        let most = columns.iter().copied().max().unwrap_or(1);
        columns.resize(count, most);
        Ok(columns)
    }

    fn of_expr(&mut self, expr: &Expr, inputs: &[(&DFSchema, Vec<u64>)]) -> Result<u64> {
        let mut count: u64 = 0;
        let mut subqueries = Vec::new();
        expr.apply(|expr| {
            let behind = match expr {
                Expr::Column(column) => behind(column, inputs),
                Expr::Literal(value, _) => 1 + u64::try_from(value.size() / PART_BYTES).unwrap_or(u64::MAX - 1),
                Expr::ScalarSubquery(subquery) => {
                    subqueries.push(subquery.subquery.clone());
                    1
                }
                Expr::Exists(exists) => {
                    subqueries.push(exists.subquery.subquery.clone());
                    1
                }
                Expr::InSubquery(within) => {
                    subqueries.push(within.subquery.subquery.clone());
                    1
                }
                _ => 1,
            };
            count = count.saturating_add(behind);
            Ok(TreeNodeRecursion::Continue)
        })?;
        for subquery in subqueries {
            self.of_columns(&subquery)?;
        }
        Ok(count)
    }
}

fn behind(column: &Column, inputs: &[(&DFSchema, Vec<u64>)]) -> u64 {
    let found = inputs
        .iter()
        .find_map(|(schema, parts)| schema.maybe_index_of_column(column).and_then(|index| parts.get(index).copied()));
    found.unwrap_or(1)
}

/// Fails if parameter values of these sizes exceed the limit: each use gets its own copy.
pub(crate) fn check_parameters(plan: &LogicalPlan, sizes: &[usize]) -> Result<()> {
    let mut total: usize = 0;
    plan.apply_with_subqueries(|plan| {
        for expr in plan.expressions() {
            expr.apply(|expr| {
                if let Expr::Placeholder(parameter) = expr {
                    let number = parameter.id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                    let size = number.and_then(|number| sizes.get(number.checked_sub(1)?));
                    total = total.saturating_add(size.copied().unwrap_or(0));
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match total > PARAMETER_BYTES_MAX {
        true => Err(too_large(format!(
            "the values of its parameters have more than {PARAMETER_BYTES_MAX} bytes, each counted as often as the query \
             names it; send shorter values, or name them less often"
        ))),
        false => Ok(()),
    }
}

/// Returns the size of the constants of a query, which are materialized for each row. Unit: bytes per row.
pub(crate) fn bytes_a_row(plan: &LogicalPlan) -> Result<usize> {
    let mut bytes: usize = 0;
    plan.apply_with_subqueries(|plan| {
        for expr in plan.expressions() {
            bytes = bytes.saturating_add(16);
            expr.apply(|expr| {
                if let Expr::Literal(value, _) = expr {
                    bytes = bytes.saturating_add(value.size());
                }
                // The values of an `IN` list are compared, not materialized.
                Ok(match expr {
                    Expr::InList(_) => TreeNodeRecursion::Jump,
                    _ => TreeNodeRecursion::Continue,
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}
