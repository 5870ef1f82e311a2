//! The names of output columns, as PostgreSQL gives them: `count` and not `count(*)`, and the same for several columns if
//! need be, which the engine does not permit.

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{Expr, Function, Ident, SelectItem, SetExpr, Statement};

/// Separates a name from the number that makes it unique. Clients cannot write it: queries with it are taken as they are,
/// and shown without what follows.
const SEPARATOR: char = '\u{1}';

/// The name as clients see it.
pub(super) fn shown(name: &str) -> &str {
    name.split_once(SEPARATOR).map_or(name, |(name, _)| name)
}

/// Names the output columns of a statement.
pub(super) fn name_columns(statement: &mut Statement) {
    let Statement::Query(query) = statement else { return };
    name_parts(&mut query.body);
}

fn name_parts(part: &mut SetExpr) {
    match part {
        SetExpr::SetOperation { left, right, .. } => {
            name_parts(left);
            name_parts(right);
        }
        SetExpr::Query(query) => name_parts(&mut query.body),
        SetExpr::Select(select) => name_items(&mut select.projection),
        _ => {}
    }
}

fn name_items(items: &mut [SelectItem]) {
    let mut taken = HashSet::new();
    // The last number of each name: thousands of columns may have the same.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for item in items {
        let name = match item {
            SelectItem::UnnamedExpr(expr) => name_of(expr),
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            _ => continue,
        };
        let is_column = matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let mut unique = name.clone();
        while !taken.insert(unique.clone()) {
            let number = numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{name}{SEPARATOR}{number}");
        }
        if is_column && unique == name {
            continue;
        }
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let alias = Ident::with_quote('"', unique);
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            SelectItem::ExprWithAlias { alias, .. } if unique != name => *alias = Ident::with_quote('"', unique),
            _ => {}
        }
    }
}

fn name_of(expr: &Expr) -> String {
    let folded = |name: &Ident| match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    };
    match expr {
        Expr::Identifier(name) => folded(name),
        Expr::CompoundIdentifier(names) => names.last().map(folded).unwrap_or_default(),
        Expr::Function(Function { name, .. }) => {
            name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default()
        }
        Expr::Cast { expr, data_type, .. } => match name_of(expr) {
            name if name == UNNAMED => {
                let name = data_type.to_string().to_lowercase();
                name.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned()
            }
            name => name,
        },
        Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

/// The name of a column without a name of its own.
const UNNAMED: &str = "?column?";
