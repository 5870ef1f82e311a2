//! Rewrites joins and functions in `FROM` whose columns the engine would take from the wrong side, or omit.

use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use crate::postgres::expressions::reads_columns;
use crate::postgres::names::folded;

/// Changes the joins of a query whose common columns have the values of the right table: the engine takes them from the
/// left one, where they may be NULL. Fails for joins that cannot be expressed in another way.
pub(super) fn keep_common_columns(select: &mut Select) -> Result<()> {
    let has_all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    select.from.iter_mut().try_for_each(|tables| keep_common_columns_of(tables, has_all))?;
    let columns: Vec<CommonColumn> = select.from.iter().flat_map(common_columns).collect();
    if let Some(condition) = select.selection.as_mut().filter(|_| !columns.is_empty()) {
        let _ = condition.visit(&mut Qualifier { columns, depth: 0 });
    }
    Ok(())
}

/// A column that is common to the tables of a join, and the table from which it is taken.
struct CommonColumn {
    table: Ident,
    name: String,
}

/// The columns after `USING` of the first join. For further joins, the query does not show which of the tables has the
/// column.
fn common_columns(tables: &TableWithJoins) -> Vec<CommonColumn> {
    let using = |operator: &JoinOperator| match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => match constraint {
            JoinConstraint::Using(names) => {
                names.iter().filter_map(|name| Some(folded(name.0.last()?.as_ident()?))).collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let (Some(join), Some(table)) = (tables.joins.first(), name_of(&tables.relation)) else { return Vec::new() };
    using(&join.join_operator).into_iter().map(|name| CommonColumn { table: table.clone(), name }).collect()
}

/// The name under which the columns of a table can be read.
pub(super) fn name_of(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, alias: None, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// Qualifies common columns in a condition, which the engine would report as ambiguous. Subqueries are left unchanged,
/// because there the names may refer to other tables.
struct Qualifier {
    columns: Vec<CommonColumn>,
    depth: usize,
}

impl VisitorMut for Qualifier {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = expr
            && let Some(column) = self.columns.iter().find(|column| column.name == folded(name))
        {
            *expr = Expr::CompoundIdentifier(vec![column.table.clone(), name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Fails for `WITH ORDINALITY`, which the engine ignores, and for a series whose arguments are columns.
pub(super) fn check_function(table: &TableFactor) -> Result<()> {
    match table {
        TableFactor::Table { with_ordinality: true, .. } | TableFactor::UNNEST { with_ordinality: true, .. } => {
            let message = "WITH ORDINALITY is not supported; use row_number() OVER ()";
            Err(DataFusionError::NotImplemented(message.to_owned()))
        }
        TableFactor::Table { name, args: Some(args), .. } if is_series(name) && args.args.iter().any(reads_columns) => {
            let message = "the arguments of generate_series and range cannot be columns of other tables; join a series that \
                           is long enough: JOIN generate_series(1, 1000) AS s ON s <= t.n";
            Err(DataFusionError::NotImplemented(message.to_owned()))
        }
        _ => Ok(()),
    }
}

fn is_series(name: &ObjectName) -> bool {
    let name = name.0.last().and_then(|name| name.as_ident()).map(folded);
    name.is_some_and(|name| ["generate_series", "range"].contains(&name.as_str()))
}

fn keep_common_columns_of(tables: &mut TableWithJoins, has_all: bool) -> Result<()> {
    let relations = std::iter::once(&mut tables.relation).chain(tables.joins.iter_mut().map(|join| &mut join.relation));
    for relation in relations {
        if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
            // All of its columns may be selected by the name of the join.
            keep_common_columns_of(table_with_joins, true)?;
        }
    }
    for at in 0..tables.joins.len() {
        let join = &mut tables.joins[at];
        match &join.join_operator {
            JoinOperator::FullOuter(JoinConstraint::Using(_) | JoinConstraint::Natural) => {
                let message = "FULL JOIN with USING or NATURAL is not supported; write ON a.x = b.x, and coalesce(a.x, b.x) \
                               for the column";
                return Err(DataFusionError::NotImplemented(message.to_owned()));
            }
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint)
                if matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural) =>
            {
                // The order of all columns depends on that of the tables.
                if at > 0 || has_all {
                    let message = "this RIGHT JOIN with USING or NATURAL is not supported; write a LEFT JOIN with the tables \
                                   exchanged";
                    return Err(DataFusionError::NotImplemented(message.to_owned()));
                }
                join.join_operator = JoinOperator::LeftOuter(constraint.clone());
                std::mem::swap(&mut tables.relation, &mut join.relation);
            }
            _ => {}
        }
    }
    Ok(())
}
