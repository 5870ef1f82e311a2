//! Functions that create JSON: their aggregates are lists whose elements are JSON, and `jsonb` is normalized JSON.

use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, ObjectName, OrderByExpr, OrderByOptions, Query, Select,
    SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
};

use crate::postgres::expressions::{arguments, binary, call, cast, take_expr, text};
use crate::postgres::joins::name_of;
use crate::postgres::names::folded;

/// The functions registered in the engine that return JSON.
const MAKERS: [&str; 12] = [
    "as_json",
    "json_build_array",
    "json_build_object",
    "json_get",
    "json_of_elements",
    "json_of_list",
    "json_of_members",
    "json_path",
    "json_row",
    "jsonb",
    "json_element",
    "to_json",
];

/// The function of a whole row, whose columns are filled in once they are known.
const WHOLE_ROW: &str = "json_row";

/// Returns the engine's expression for a call of a function that creates JSON; none for other functions.
pub(super) fn function(name: &str, function: &mut Function) -> Result<Option<Expr>> {
    let (made, is_binary) = match name {
        "json_agg" | "jsonb_agg" => (collected_array(name, function)?, name == "jsonb_agg"),
        "json_object_agg" | "jsonb_object_agg" => (collected_object(name, function)?, name == "jsonb_object_agg"),
        "row_to_json" => (of_values("to_json", function), false),
        "json_build_array" | "json_build_object" | "to_json" => (of_values(name, function), false),
        "jsonb_build_array" => (of_values("json_build_array", function), true),
        "jsonb_build_object" => (of_values("json_build_object", function), true),
        "to_jsonb" => (of_values("to_json", function), true),
        _ => return Ok(None),
    };
    Ok(Some(if is_binary { call("jsonb", vec![made]) } else { made }))
}

/// Returns a call whose JSON arguments are kept as JSON.
fn of_values(name: &str, function: &mut Function) -> Expr {
    for arg in arguments(function).unwrap_or_default() {
        keep_json(arg);
    }
    function.name = ObjectName::from(vec![Ident::new(name)]);
    Expr::Function(take_function(function))
}

/// `json_agg(x ORDER BY y) FILTER (WHERE z)`.
fn collected_array(name: &str, function: &mut Function) -> Result<Expr> {
    let is_distinct = is_distinct(function);
    let mut args = arguments(function).unwrap_or_default();
    let [value] = args.as_mut_slice() else { return Err(takes(name, "one value")) };
    let made = match is_distinct && !is_json(value) {
        // Duplicates are removed before the values become texts, and the values are sorted.
        true => {
            let by = value.clone();
            order(function, by);
            "json_of_list"
        }
        false => {
            keep_json(value);
            let whole = is_whole_row(value);
            let element = call("json_element", vec![take_expr(value)]);
            **value = match whole {
                true => binary(text("\n "), BinaryOperator::StringConcat, element),
                false => element,
            };
            "json_of_elements"
        }
    };
    Ok(call(made, vec![collected(function)]))
}

/// `json_object_agg(name, value ORDER BY y) FILTER (WHERE z)`.
fn collected_object(name: &str, function: &mut Function) -> Result<Expr> {
    let mut args = arguments(function).unwrap_or_default();
    let [key, value] = args.as_mut_slice() else { return Err(takes(name, "a name and a value")) };
    keep_json(value);
    let member = call("json_member", vec![take_expr(key), take_expr(value)]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(member))];
    }
    Ok(call("json_of_members", vec![collected(function)]))
}

fn takes(name: &str, what: &str) -> DataFusionError {
    DataFusionError::Plan(format!("{name} takes {what}"))
}

pub(super) fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

/// Sets the order of the values of an aggregate, unless the query specifies one.
pub(super) fn order(function: &mut Function, by: Expr) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let is_ordered = |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    if !list.clauses.iter().any(is_ordered) {
        let options = OrderByOptions { asc: None, nulls_first: None };
        let by = OrderByExpr { expr: by, options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
    }
}

/// Returns the list of the values of an aggregate.
fn collected(function: &mut Function) -> Expr {
    function.name = ObjectName::from(vec![Ident::new("array_agg")]);
    Expr::Function(take_function(function))
}

fn take_function(function: &mut Function) -> Function {
    let Expr::Function(empty) = call("", Vec::new()) else { unreachable!("a call is a function") };
    std::mem::replace(function, empty)
}

/// Marks an argument as JSON, or as a text, if this is visible in the query but not in the engine's plan.
fn keep_json(arg: &mut Expr) {
    let mark = match &*arg {
        Expr::Cast { data_type: DataType::Text | DataType::Varchar(_), .. } => "json_as_text",
        json if is_json(json) && maker(json).is_none() => "as_json",
        _ => return,
    };
    *arg = call(mark, vec![take_expr(arg)]);
}

fn is_whole_row(expr: &Expr) -> bool {
    maker(expr) == Some(WHOLE_ROW)
}

/// The function that an expression calls, if its values are JSON.
fn maker(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Nested(inner) => maker(inner),
        Expr::Function(function) => {
            let [name] = function.name.0.as_slice() else { return None };
            let name = &name.as_ident()?.value;
            MAKERS.into_iter().find(|maker| maker.eq_ignore_ascii_case(name))
        }
        _ => None,
    }
}

/// Whether the values of an expression are JSON, according to the query text.
fn is_json(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_json(inner),
        Expr::Case { conditions, else_result, .. } => {
            conditions.iter().any(|branch| is_json(&branch.result)) || else_result.as_deref().is_some_and(is_json)
        }
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] => is_json(item),
                _ => false,
            },
            _ => false,
        },
        Expr::Function(function) if is_choice(function) => match &function.args {
            FunctionArguments::List(list) => list.args.iter().any(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => is_json(arg),
                _ => false,
            }),
            _ => false,
        },
        expr => maker(expr).is_some(),
    }
}

/// Whether a function returns one of its arguments. `max` is used around subqueries of one row.
fn is_choice(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    ["coalesce", "nullif", "nvl", "max"].contains(&name.as_str())
}

/// `x::json` and `x::jsonb`, which fail for a text that is not JSON; none for casts to other types.
pub(super) fn cast_to_json(value: &mut Expr, kind: &CastKind, data_type: &DataType) -> Option<Expr> {
    let name = match (kind, data_type) {
        (CastKind::Cast | CastKind::DoubleColon, DataType::JSON) => "as_json",
        (CastKind::Cast | CastKind::DoubleColon, DataType::JSONB) => "jsonb",
        _ => return None,
    };
    let value = take_expr(value);
    let value = if is_json(&value) { value } else { cast(value, DataType::Text) };
    Some(call(name, vec![value]))
}

/// Returns the text of a cast to JSON. Its members are NULL if it is not JSON, so that the cast can be removed.
pub(super) fn uncast(value: Expr) -> Expr {
    match value {
        Expr::Nested(inner) => uncast(*inner),
        Expr::Function(mut function) if ["as_json", "jsonb"].contains(&function.name.to_string().as_str()) => {
            match arguments(&mut function).unwrap_or_default().as_mut_slice() {
                [inner] => take_expr(inner),
                _ => Expr::Function(function),
            }
        }
        value => value,
    }
}

/// Changes the names of tables that are arguments of functions of JSON, such as `row_to_json(t)`, into their rows.
pub(super) fn name_whole_rows(select: &mut Select) {
    let tables = select
        .from
        .iter()
        .flat_map(|tables| std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation)));
    let tables: Vec<Ident> = tables.filter_map(row_name).collect();
    if !tables.is_empty() {
        let _ = select.visit(&mut WholeRows { tables, depth: 0 });
    }
}

/// Returns the name that stands for the whole row of a table; none if a column has this name.
fn row_name(table: &TableFactor) -> Option<Ident> {
    if matches!(table, TableFactor::Table { args: Some(_), .. }) {
        return None;
    }
    let name = name_of(table)?;
    let (TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. }) = table else { return None };
    let mut columns: Vec<String> =
        alias.iter().flat_map(|alias| &alias.columns).map(|column| folded(&column.name)).collect();
    if let TableFactor::Derived { subquery, .. } = table
        && let SetExpr::Select(select) = subquery.body.as_ref()
    {
        columns.extend(select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(column)) => Some(folded(column)),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(folded),
            _ => None,
        }));
    }
    (!columns.contains(&folded(&name))).then_some(name)
}

struct WholeRows {
    tables: Vec<Ident>,
    /// Number of queries around the visited node.
    depth: usize,
}

impl VisitorMut for WholeRows {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.0.last().and_then(|name| name.as_ident()).map(folded).unwrap_or_default();
        let takes_rows = ["json", "jsonb"].iter().any(|kind| {
            [format!("{kind}_agg"), format!("to_{kind}"), format!("row_to_{kind}")].contains(&name)
                || name
                    .strip_prefix(kind)
                    .is_some_and(|rest| ["_build_array", "_build_object", "_object_agg"].contains(&rest))
        });
        if self.depth > 0 || !takes_rows {
            return ControlFlow::Continue(());
        }
        for arg in arguments(function).unwrap_or_default() {
            if let Expr::Identifier(name) = arg
                && let Some(table) = self.tables.iter().find(|table| folded(table) == folded(name))
            {
                let columns = FunctionArgExpr::QualifiedWildcard(ObjectName::from(vec![table.clone()]));
                let mut row = call(WHOLE_ROW, Vec::new());
                if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut row {
                    list.args.push(FunctionArg::Unnamed(columns));
                }
                *arg = row;
            }
        }
        ControlFlow::Continue(())
    }
}
