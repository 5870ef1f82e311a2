//! Rewrites `FULL JOIN … USING` with conditions: the engine takes the common columns from the left table, where they
//! may be NULL.

use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::postgres::expressions::{CopyBudget, binary, call};
use crate::postgres::joins::name_of;
use crate::postgres::names::folded;

/// A common column of several tables: its value is that of the first table in which it is not NULL.
struct MergedColumn {
    name: Ident,
    tables: Vec<Ident>,
}

impl MergedColumn {
    fn value(&self) -> Expr {
        let mut columns: Vec<Expr> = self.tables.iter().map(|table| column(table, &self.name)).collect();
        match columns.len() {
            1 => columns.remove(0),
            _ => call("coalesce", columns),
        }
    }
}

fn column(table: &Ident, name: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![table.clone(), name.clone()])
}

/// Changes `a FULL JOIN b USING (x)` into `a FULL JOIN b ON a.x = b.x`, and `x` into `coalesce(a.x, b.x)`. Fails if
/// this requires knowledge of the columns of the tables.
pub(super) fn join_on_conditions(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    copies: &mut CopyBudget,
) -> Result<()> {
    let mut columns = Vec::new();
    for tables in &mut select.from {
        columns.extend(merged_columns(tables)?);
    }
    if columns.is_empty() {
        return Ok(());
    }
    list_all_columns(select, &columns)?;
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr @ Expr::Identifier(_)) = item
            && let Expr::Identifier(name) = &*expr
            && columns.iter().any(|column| folded(&column.name) == folded(name))
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.clone() };
        }
    }
    let mut merger = Merger { columns, copies, depth: 0 };
    if let ControlFlow::Break(refused) = select.visit(&mut merger) {
        return Err(refused);
    }
    let Some(OrderByKind::Expressions(exprs)) = order_by.map(|order_by| &mut order_by.kind) else { return Ok(()) };
    for by in exprs {
        // The names of output columns have precedence over those of table columns.
        let is_output = match &by.expr {
            Expr::Identifier(name) => select.projection.iter().any(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => folded(alias) == folded(name),
                _ => false,
            }),
            _ => false,
        };
        if !is_output && let ControlFlow::Break(refused) = by.expr.visit(&mut merger) {
            return Err(refused);
        }
    }
    Ok(())
}

/// Changes the joins of some tables, and returns their merged columns.
fn merged_columns(tables: &mut TableWithJoins) -> Result<Vec<MergedColumn>> {
    let mut merged: Vec<MergedColumn> = Vec::new();
    let full = |operator: &JoinOperator| matches!(operator, JoinOperator::FullOuter(JoinConstraint::Using(_)));
    if !tables.joins.iter().any(|join| full(&join.join_operator)) {
        return Ok(merged);
    }
    for at in 0..tables.joins.len() {
        let right = name_of(&tables.joins[at].relation);
        let (constraint, is_full) = match &mut tables.joins[at].join_operator {
            JoinOperator::FullOuter(constraint) => (constraint, true),
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (constraint, false),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (constraint, false),
            _ => continue,
        };
        let JoinConstraint::Using(names) = &*constraint else { continue };
        let names: Option<Vec<Ident>> = names.iter().map(|name| name.0.last()?.as_ident().cloned()).collect();
        let (Some(right), Some(names)) = (right, names) else { return Err(unknown()) };
        let mut condition: Option<Expr> = None;
        for name in names {
            let known = merged.iter().position(|column| folded(&column.name) == folded(&name));
            let known = match (known, name_of(&tables.relation)) {
                (Some(known), _) => known,
                // For further joins, the query does not show which of the tables has the column.
                (None, Some(first)) if at == 0 => {
                    merged.push(MergedColumn { name: name.clone(), tables: vec![first] });
                    merged.len() - 1
                }
                _ => return Err(unknown()),
            };
            let equal = binary(merged[known].value(), BinaryOperator::Eq, column(&right, &name));
            condition = Some(match condition {
                None => equal,
                Some(before) => binary(before, BinaryOperator::And, equal),
            });
            if is_full {
                merged[known].tables.push(right.clone());
            }
        }
        if let Some(condition) = condition {
            *constraint = JoinConstraint::On(condition);
        }
    }
    Ok(merged)
}

fn unknown() -> DataFusionError {
    let message = "this FULL JOIN with USING is not supported: which table has the column is not known; write \
                   ON a.x = b.x, and coalesce(a.x, b.x) for the column";
    DataFusionError::NotImplemented(message.to_owned())
}

/// Expands `*` to the merged columns, followed by the other columns of each table.
fn list_all_columns(select: &mut Select, columns: &[MergedColumn]) -> Result<()> {
    let is_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    if !select.projection.iter().any(is_all) {
        return Ok(());
    }
    let [tables] = select.from.as_slice() else { return Err(no_all()) };
    let relations = std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation));
    let relations: Vec<Ident> = relations.map(name_of).collect::<Option<_>>().ok_or_else(no_all)?;
    // Columns that only some of the tables have would be in another order.
    if columns.iter().any(|column| column.tables.len() != relations.len()) {
        return Err(no_all());
    }
    let mut items = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if options == WildcardAdditionalOptions::default() => {
                let names = columns.iter().map(|column| column.name.clone());
                items.extend(names.clone().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name))));
                items.extend(relations.iter().map(|table| {
                    let excluded = ExcludeSelectItem::Multiple(names.clone().collect());
                    let options = WildcardAdditionalOptions {
                        opt_exclude: Some(excluded),
                        ..WildcardAdditionalOptions::default()
                    };
                    let table = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![table.clone()]));
                    SelectItem::QualifiedWildcard(table, options)
                }));
            }
            SelectItem::Wildcard(_) => return Err(no_all()),
            item => items.push(item),
        }
    }
    select.projection = items;
    Ok(())
}

fn no_all() -> DataFusionError {
    let message = "SELECT * over this FULL JOIN with USING is not supported; name the columns";
    DataFusionError::NotImplemented(message.to_owned())
}

/// Replaces merged columns with their values. Subqueries are left unchanged, because there the names may refer to other
/// tables.
struct Merger<'a> {
    columns: Vec<MergedColumn>,
    copies: &'a mut CopyBudget,
    depth: usize,
}

impl VisitorMut for Merger<'_> {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<DataFusionError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<DataFusionError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if self.depth == 0
            && let Expr::Identifier(name) = expr
            && let Some(column) = self.columns.iter().find(|column| folded(&column.name) == folded(name))
        {
            match self.copies.of(&column.value()) {
                Ok(value) => *expr = value,
                Err(refused) => return ControlFlow::Break(refused),
            }
        }
        ControlFlow::Continue(())
    }
}
