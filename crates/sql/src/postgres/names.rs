//! The names of output columns as in PostgreSQL: `count` and not `count(*)`. Several columns may have the same name,
//! which the engine does not permit.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    Value, VisitMut, VisitorMut,
};

/// Separates a name from the number that makes it unique. Clients cannot enter it: a column name that contains it is
/// left unchanged, and shown without the part after it.
const SEPARATOR: char = '\u{1}';

/// The name of a column without a name of its own.
const UNNAMED: &str = "?column?";

/// Returns the name as shown to clients.
pub(crate) fn shown(name: &str) -> &str {
    name.split_once(SEPARATOR).map_or(name, |(name, _)| name)
}

/// Returns the columns of an answer with unique names as shown to readers: the second `status` becomes `status_2`.
pub(crate) fn with_unique_names(schema: &SchemaRef) -> SchemaRef {
    // Each used name, with the last number that was appended to it.
    let mut taken: HashMap<String, usize> = HashMap::new();
    let fields = schema.fields().iter().map(|field| {
        let name = shown(field.name());
        let mut unique = name.to_owned();
        if let Some(mut number) = taken.get(name).copied() {
            while taken.contains_key(&unique) {
                number += 1;
                unique = format!("{name}_{number}");
            }
            taken.insert(name.to_owned(), number);
        }
        taken.insert(unique.clone(), 1);
        Field::clone(field).with_name(unique)
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Names the output columns of a statement, and those of the queries within it.
pub(super) fn name_columns(statement: &mut Statement) {
    let _ = statement.visit(&mut Namer { depth: 0 });
}

struct Namer {
    /// Number of queries around the visited node.
    depth: usize,
}

impl VisitorMut for Namer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_terms(query);
        name_query(query, self.depth == 0);
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Names the columns of a recursive `WITH t(n)` in its first `SELECT`, where the recursive query looks them up.
fn name_terms(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for table in &mut with.cte_tables {
        let columns = &table.alias.columns;
        let Some(items) = first_items(&mut table.query.body) else { continue };
        if columns.len() != items.len() || items.iter().any(is_wildcard) {
            continue;
        }
        for (item, column) in items.iter_mut().zip(columns) {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name.clone() };
            }
        }
    }
}

/// The output columns of the first `SELECT`, which name those of all.
fn first_items(part: &mut SetExpr) -> Option<&mut Vec<SelectItem>> {
    match part {
        SetExpr::SetOperation { left, .. } => first_items(left),
        SetExpr::Query(query) => first_items(&mut query.body),
        SetExpr::Select(select) => Some(&mut select.projection),
        _ => None,
    }
}

/// Names the columns of a query. Within another query, a name that the outer query may refer to is kept.
fn name_query(query: &mut Query, is_outermost: bool) {
    let named = name_parts(&mut query.body, is_outermost);
    let Some(OrderByKind::Expressions(exprs)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    for by in exprs {
        let Expr::Identifier(name) = &by.expr else { continue };
        let name = folded(name);
        if let Some(found) = named.iter().find(|named| named.name == name) {
            by.expr = found.place.clone();
        }
    }
}

/// A computed column that `ORDER BY` finds by its name, with precedence over columns of tables.
struct Named {
    name: String,
    /// Its number, or its name if a `*` makes numbers unknown.
    place: Expr,
}

/// Names the columns of all parts of a set operation, and returns those of the first.
fn name_parts(part: &mut SetExpr, is_outermost: bool) -> Vec<Named> {
    match part {
        SetExpr::SetOperation { left, right, .. } => {
            let named = name_parts(left, is_outermost);
            name_parts(right, is_outermost);
            named
        }
        SetExpr::Query(query) => name_parts(&mut query.body, is_outermost),
        SetExpr::Select(select) => name_items(select, is_outermost),
        _ => Vec::new(),
    }
}

fn name_items(select: &mut Select, is_outermost: bool) -> Vec<Named> {
    let has_wildcard = select.projection.iter().any(is_wildcard);
    let (mut taken, mut named) = (HashSet::new(), Vec::new());
    for index in 0..select.projection.len() {
        let item = &select.projection[index];
        let (expr, name, has_alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, name_of(expr), false),
            SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias), true),
            _ => continue,
        };
        let is_column = !has_alias && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let is_again = match has_wildcard {
            true if is_outermost => true,
            true => is_column && is_in_wildcard(expr, select),
            false => false,
        };
        // A computed column may have the name of a table column, with which the engine would confuse it.
        let is_computed = is_outermost && !has_alias && !is_column;
        let is_hidden = is_again || is_computed || taken.contains(&name);
        taken.insert(name.clone());
        let alias = match is_hidden {
            true => Ident::with_quote('"', format!("{name}{SEPARATOR}{}", index + 1)),
            false => Ident::with_quote('"', name.clone()),
        };
        if !is_column && !named.iter().any(|named: &Named| named.name == name) {
            let place = match has_wildcard {
                true => Expr::Identifier(alias.clone()),
                false => Expr::value(Value::Number((index + 1).to_string(), false)),
            };
            named.push(Named { name, place });
        }
        if is_hidden || !is_column && !has_alias {
            let expr = expr.clone();
            select.projection[index] = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    named
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Whether a `*` of the same query contains a column.
fn is_in_wildcard(column: &Expr, select: &Select) -> bool {
    select.projection.iter().any(|item| match (item, column) {
        (SelectItem::Wildcard(_), _) => true,
        (SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _), column) => {
            let table = table.0.last().and_then(|part| part.as_ident()).map(folded);
            match column {
                Expr::CompoundIdentifier(names) => names.iter().rev().nth(1).map(folded) == table,
                _ => select.from.len() == 1 && select.from.iter().all(|from| from.joins.is_empty()),
            }
        }
        _ => false,
    })
}

/// Returns a name in its lookup form: in lower case unless it is quoted.
pub(super) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(names) => names.last().map(folded).unwrap_or_default(),
        Expr::Function(Function { name, .. }) => {
            name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default()
        }
        Expr::Cast { expr, data_type, .. } => match name_of(expr) {
            name if name == UNNAMED => {
                let name = data_type.to_string().to_lowercase();
                let name = name.split('(').next().unwrap_or_default();
                name.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned()
            }
            name => name,
        },
        Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of(expr),
        Expr::CompoundFieldAccess { root, .. } => name_of(root),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(expr)) => name_of(expr),
                Some(SelectItem::ExprWithAlias { alias, .. }) => folded(alias),
                _ => UNNAMED.to_owned(),
            },
            _ => UNNAMED.to_owned(),
        },
        Expr::TypedString(typed) => typed.data_type.to_string().to_lowercase(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => "bool".to_owned(),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::DataType;

    fn unique(names: &[&str]) -> Vec<String> {
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Null, true)).collect();
        let schema = with_unique_names(&Arc::new(Schema::new(fields)));
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn thousands_of_columns_of_one_name_are_numbered_in_time() {
        assert_eq!(unique(&["a", "a_2", "a", "a_2", "b", "a"]), ["a", "a_2", "a_3", "a_2_2", "b", "a_4"]);
        let names = unique(&["n"; 100_000]);
        assert_eq!((names[0].as_str(), names[99_999].as_str()), ("n", "n_100000"));
    }
}
