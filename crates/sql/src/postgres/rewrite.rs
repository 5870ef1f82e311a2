//! Rewrites parts of the parsed statement that differ between PostgreSQL and the engine: operators with the name of
//! their schema, collations, names of functions and types, and casts to the types of names such as `regclass`.

use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, DateTimeField, ExactNumberInfo, Expr, Fetch, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint,
    JoinOperator, LimitClause, ObjectName, ObjectNamePart, OrderBy, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SetExpr, SetOperator, SetQuantifier, Statement, TableAlias, TableAliasColumnDef, TableFactor,
    TableFunctionArgs, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::postgres::expressions::{
    CopyBudget, binary, call, cast, constant, no_arguments, null, number, parsed_expr, reads_columns, take_expr, text,
};
use crate::postgres::{calls, formats, full_joins, joins, json, names, schemas};

/// Rewrites a statement from another source than a session of a PostgreSQL client.
pub(crate) fn translated(statement: Parsed) -> Result<Parsed> {
    Ok(match statement {
        Parsed::Statement(mut statement) => {
            names::name_columns(&mut statement);
            changed(&mut statement, false)?;
            Parsed::Statement(statement)
        }
        Parsed::Explain(mut explain) => {
            explain.statement = Box::new(translated(*explain.statement)?);
            Parsed::Explain(explain)
        }
        other => other,
    })
}

/// Changes a statement of PostgreSQL into one of the engine. Fails if the engine would return a different result.
pub(super) fn rewrite(statement: &mut Statement) -> Result<()> {
    changed(statement, true)
}

/// Rewrites a constant expression.
pub(super) fn rewrite_value(expr: &mut Expr) -> Result<()> {
    match expr.visit(&mut Rewriter { has_session: true, copies: CopyBudget::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(refused),
    }
}

fn changed(statement: &mut Statement, has_session: bool) -> Result<()> {
    match statement.visit(&mut Rewriter { has_session, copies: CopyBudget::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(refused),
    }
}

/// `SELECT items FROM table`.
pub(super) fn select_from(items: Vec<SelectItem>, table: ObjectName) -> Query {
    let template = Parser::new(&PostgreSqlDialect {})
        .try_with_sql("SELECT 1 FROM t")
        .and_then(|mut parser| parser.parse_query())
        .map(|query| *query);
    let mut query = template.unwrap_or_else(|error| unreachable!("a constant is parsed: {error}"));
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items;
        if let Some(from) = select.from.first_mut()
            && let TableFactor::Table { name, .. } = &mut from.relation
        {
            *name = table;
        }
    }
    query
}

struct Rewriter {
    /// Whether functions of a session and names of catalog objects are available.
    has_session: bool,
    copies: CopyBudget,
}

impl VisitorMut for Rewriter {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if let Expr::Function(function) = expr
            && function.name.0.len() == 2
            && is_named(&function.name.0[0], "pg_catalog")
        {
            function.name.0.remove(0);
        }
        if self.has_session {
            rewrite_session(expr);
        }
        match rewrite_expr(expr, &mut self.copies) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => ControlFlow::Break(refused),
        }
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<DataFusionError> {
        // Table functions, such as `pg_catalog.generate_series`.
        if let [schema, name] = relation.0.as_slice()
            && is_named(schema, "pg_catalog")
            && name.as_ident().is_some_and(|name| !schemas::is_catalog_table(&name.value))
        {
            relation.0.remove(0);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<DataFusionError> {
        match joins::check_function(table) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => ControlFlow::Break(refused),
        }
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        if returns_nothing(query) {
            query.order_by = None;
        }
        limit_fetched(query);
        let order_by = query.order_by.as_mut();
        if let Err(refused) = change_selects(&mut query.body, order_by, &mut self.copies) {
            return ControlFlow::Break(refused);
        }
        keep_names(&mut query.body);
        if let SetExpr::Select(select) = query.body.as_mut() {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    let _ = visit_expressions_mut(expr, compute_subquery);
                }
            }
            for table in &mut select.from {
                name_function(&mut table.relation);
                table.joins.iter_mut().for_each(|join| name_function(&mut join.relation));
            }
        }
        if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &mut query.order_by {
            for by in exprs {
                let _ = visit_expressions_mut(&mut by.expr, compute_subquery);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Changes the joins and the names of rows in all parts of a query.
fn change_selects(body: &mut SetExpr, order_by: Option<&mut OrderBy>, copies: &mut CopyBudget) -> Result<()> {
    match body {
        SetExpr::Select(select) => {
            full_joins::join_on_conditions(select, order_by, copies)?;
            joins::keep_common_columns(select)?;
            json::name_whole_rows(select);
            Ok(())
        }
        SetExpr::SetOperation { op: SetOperator::Intersect | SetOperator::Except, set_quantifier, .. }
            if *set_quantifier == SetQuantifier::All =>
        {
            // The engine compares rows, but does not count duplicates.
            let message = "INTERSECT ALL and EXCEPT ALL are not supported; number equal rows with row_number() OVER \
                           (PARTITION BY …), and use INTERSECT or EXCEPT";
            Err(DataFusionError::NotImplemented(message.to_owned()))
        }
        SetExpr::SetOperation { left, right, .. } => {
            change_selects(left, None, copies)?;
            change_selects(right, None, copies)
        }
        _ => Ok(()),
    }
}

/// `FETCH FIRST n ROWS ONLY`, which is `LIMIT n`.
fn limit_fetched(query: &mut Query) {
    let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else { return };
    let quantity = quantity.clone().unwrap_or_else(|| number("1"));
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, .. }) => offset,
        other => {
            query.limit_clause = other;
            return;
        }
    };
    query.fetch = None;
    query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(quantity), offset, limit_by: Vec::new() });
}

fn is_named(part: &ObjectNamePart, name: &str) -> bool {
    part.as_ident().is_some_and(|part| part.value.eq_ignore_ascii_case(name))
}

/// Rewrites functions of the session, and casts to types of object names such as `regclass`.
fn rewrite_session(expr: &mut Expr) {
    match expr {
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
            if let Some(name) = name_type(data_type) {
                let inner = take_expr(inner);
                *expr = call(&format!("pg_to_{name}"), vec![inner]);
            } else if let Expr::Function(function) = inner.as_mut()
                && matches!(function.name.0.as_slice(), [name] if is_named(name, "pg_to_regproc"))
                && matches!(data_type, DataType::Custom(name, _) if name.0.last().is_some_and(|name| is_named(name, "oid")))
            {
                // A function has an OID only if it is in the catalog.
                function.name = ObjectName::from(vec![Ident::new("pg_to_regprocedure")]);
            }
        }
        // The table of a row of the catalog: there are no comments that refer to it.
        Expr::CompoundIdentifier(names) if names.last().is_some_and(|name| name.value == "tableoid") => {
            *expr = cast(null(), DataType::BigInt(None));
        }
        // Identifiers that are functions without parentheses.
        Expr::Identifier(name) if name.quote_style.is_none() => {
            let lower = name.value.to_lowercase();
            if matches!(lower.as_str(), "current_schema" | "current_role" | "session_user" | "user" | "current_catalog")
            {
                *expr = call(&format!("pg_{lower}"), Vec::new());
            }
        }
        Expr::Function(function) => rewrite_function(function),
        _ => {}
    }
}

/// Rewrites an expression. Fails with an explanation if the engine would return a different result.
fn rewrite_expr(expr: &mut Expr, copies: &mut CopyBudget) -> Result<()> {
    match expr {
        Expr::Collate { expr: inner, .. } => *expr = take_expr(inner),
        Expr::UnaryOp { op, expr: inner } => {
            if let Some(called) = calls::sign(*op, inner) {
                *expr = called;
            }
        }
        Expr::Interval(interval) => {
            if let Some(words) = constant(&interval.value).and_then(calls::interval_in_words) {
                *interval.value = text(&words);
            }
        }
        Expr::BinaryOp { left, op, right } => {
            if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                && let Some(known) = parts.last().and_then(|name| operator(name))
            {
                *op = known;
            }
            if let Some(called) = calls::operator(left, op, right) {
                *expr = called;
            }
        }
        Expr::Subquery(query) if returns_nothing(query) => *expr = null(),
        Expr::Subquery(query) => make_single(query),
        Expr::Exists { subquery, negated } if returns_nothing(subquery) => {
            *expr = Expr::value(Value::Boolean(*negated));
        }
        Expr::Like { .. } | Expr::ILike { .. } => rewrite_like(expr, copies)?,
        Expr::SimilarTo { .. } => rewrite_similar(expr)?,
        Expr::AnyOp { right, .. } => {
            if let Some(elem) = constant(right).and_then(calls::elements) {
                **right = Expr::Array(Array { elem, named: true });
            }
        }
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } if !matches!(**right, Expr::Subquery(_)) => {
            let (left, right) = (Box::new(take_expr(left)), Box::new(take_expr(right)));
            let mut any = Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, is_some: false };
            rewrite_expr(&mut any, copies)?;
            *expr = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(any))) };
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![take_expr(time_zone), take_expr(timestamp)]);
        }
        Expr::Substring { expr: value, substring_from: Some(pattern), substring_for: None, .. }
            if constant(pattern).is_some() =>
        {
            *expr = calls::matched(take_expr(value), take_expr(pattern));
        }
        // Monday is 1; for the engine it is 0.
        Expr::Extract { field: DateTimeField::Isodow, .. } => *expr = one_more(take_expr(expr)),
        Expr::Extract { field, expr: time, .. } => {
            if let Some(computed) = calls::extracted(&field.to_string(), time) {
                *expr = computed;
            }
        }
        Expr::Function(function) if formats::is_iso_weekday(&*function) => *expr = one_more(take_expr(expr)),
        Expr::Function(function) => {
            formats::translate(function).map_err(DataFusionError::NotImplemented)?;
            match array_query(function) {
                Some(query) => *expr = array_of(query)?,
                None => {
                    if let Some(called) = calls::function(function, copies)? {
                        *expr = called;
                    }
                }
            }
        }
        Expr::TypedString(typed) if matches!(typed.data_type, DataType::JSON | DataType::JSONB) => {
            let mut value = Expr::Value(typed.value.clone());
            if let Some(called) = json::cast_to_json(&mut value, &CastKind::Cast, &typed.data_type) {
                *expr = called;
            }
        }
        Expr::Cast {
            kind: kind @ (CastKind::Cast | CastKind::DoubleColon),
            expr: inner,
            data_type: data_type @ (DataType::JSON | DataType::JSONB),
            ..
        } => {
            if let Some(called) = json::cast_to_json(inner, kind, data_type) {
                *expr = called;
            }
        }
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
            calls::known_type(data_type);
            if matches!(data_type, DataType::Interval { .. })
                && let Some(words) = constant(inner).and_then(calls::interval_in_words)
            {
                **inner = text(&words);
            }
            match data_type {
                DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None) => {
                    if let Some(exact) = calls::decimal(inner) {
                        *expr = exact;
                    }
                }
                _ if calls::is_fraction(inner) && is_whole(data_type) => {
                    if let Some(exact) = calls::decimal(inner) {
                        **inner = exact;
                    }
                }
                data_type => {
                    if let Some(length) = calls::length(data_type) {
                        let whole = cast(take_expr(inner), DataType::Text);
                        *expr = call("left", vec![whole, number(&length.to_string())]);
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int(_)
            | DataType::Integer(_)
            | DataType::Int4(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
    )
}

/// `LIKE` with another character in place of the backslash, and `LIKE ANY`.
fn rewrite_like(expr: &mut Expr, copies: &mut CopyBudget) -> Result<()> {
    let (Expr::Like { any, pattern, escape_char, .. } | Expr::ILike { any, pattern, escape_char, .. }) = expr else {
        return Ok(());
    };
    if let Some(Value::SingleQuotedString(escape)) = escape_char
        && escape != "\\"
    {
        let inner = take_expr(pattern);
        **pattern = with_backslashes(inner, escape);
        *escape_char = None;
    }
    let is_all = !*any && calls::take_list_of_all(pattern);
    if !*any && !is_all {
        return Ok(());
    }
    // For other patterns, the engine reports that they are not supported.
    let Some(patterns) = calls::patterns(pattern) else { return Ok(()) };
    (*any, **pattern) = (false, null());
    let mut conditions: Option<Expr> = None;
    for one in patterns {
        let mut like = copies.of(expr)?;
        if let Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } = &mut like {
            **pattern = one;
        }
        conditions = Some(match conditions {
            None => like,
            Some(before) => binary(before, if is_all { BinaryOperator::And } else { BinaryOperator::Or }, like),
        });
    }
    if let Some(conditions) = conditions {
        *expr = conditions;
    }
    Ok(())
}

fn rewrite_function(function: &mut Function) {
    if let [name] = function.name.0.as_slice()
        && let Some(name) = name.as_ident()
    {
        let lower = name.value.to_lowercase();
        let replaced = match lower.as_str() {
            // Names that the engine uses for something else, or does not accept.
            "version" | "current_schema" | "current_user" | "session_user" | "user" | "current_role"
            | "current_catalog" => Some(format!("pg_{lower}")),
            _ => None,
        };
        if let Some(replaced) = replaced {
            function.name = ObjectName::from(vec![Ident::new(replaced)]);
            if matches!(function.args, FunctionArguments::None) {
                function.args = FunctionArguments::List(no_arguments());
            }
        }
    }
}

fn one_more(expr: Expr) -> Expr {
    binary(expr, BinaryOperator::Plus, number("1"))
}

/// `OPERATOR(pg_catalog.~)`.
fn operator(name: &str) -> Option<BinaryOperator> {
    Some(match name {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        _ => return None,
    })
}

/// Returns the name of a type whose values are names of objects.
fn name_type(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Regclass => Some("regclass"),
        DataType::Custom(name, _) => {
            let name = name.0.last()?.as_ident()?.value.to_lowercase();
            ["regclass", "regtype", "regnamespace", "regproc", "regprocedure", "regrole"]
                .into_iter()
                .find(|known| **known == name)
        }
        _ => None,
    }
}

/// `EXISTS` and `IN` with a query as scalar subqueries: outside of filters, the engine supports only these.
fn compute_subquery(expr: &mut Expr) -> ControlFlow<()> {
    let (text, is_negated) = match expr {
        Expr::Exists { subquery, negated } => {
            (format!("SELECT (SELECT count(*) > 0 FROM ({subquery} LIMIT 1) AS found)"), *negated)
        }
        Expr::InSubquery { expr, subquery, negated } => {
            let list = format!("SELECT array_agg(value) FROM ({subquery}) AS list (value)");
            (format!("SELECT value_in_list(({list}), {expr})"), *negated)
        }
        _ => return ControlFlow::Continue(()),
    };
    if let Some(computed) = parsed_expr(&text) {
        *expr = match is_negated {
            true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(computed))) },
            false => computed,
        };
    }
    ControlFlow::Continue(())
}

/// Names the column of a function in `FROM` after the function, or with the name after `AS`. Functions that return one
/// value become queries.
fn name_function(relation: &mut TableFactor) {
    as_table(relation);
    if let TableFactor::UNNEST { alias, array_exprs, with_ordinality: false, .. } = relation
        && array_exprs.len() == 1
        && alias.as_ref().is_none_or(|alias| alias.columns.is_empty())
    {
        let name = alias.as_ref().map_or_else(|| Ident::new("unnest"), |alias| alias.name.clone());
        let columns = vec![TableAliasColumnDef { name: name.clone(), data_type: None }];
        *alias = Some(TableAlias { explicit: true, name, columns });
        return;
    }
    if let TableFactor::Table { name, args, .. } = relation
        && name.0.last().is_some_and(is_table)
    {
        *args = None;
        return;
    }
    let TableFactor::Table { name, alias, args: Some(args), .. } = relation else { return };
    // The name is inserted into SQL text, and a quoted name may contain any characters.
    let is_plain = |name: &&Ident| name.value.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    let plain = name.0.last().and_then(|name| name.as_ident()).filter(is_plain);
    let Some(function) = plain.map(|name| name.value.to_lowercase()) else { return };
    if ["generate_series", "range", "unnest"].contains(&function.as_str()) {
        if let Some(alias) = alias
            && alias.columns.is_empty()
        {
            alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
        }
        return;
    }
    let is_lateral = args.args.iter().any(reads_columns);
    let args = args.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let shown = alias.as_ref().map_or_else(|| Ident::new(function.as_str()), |alias| alias.name.clone());
    let text = format!("SELECT 1 FROM (SELECT {function}({args}) AS {shown}) AS {shown}");
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    if let Ok(parsed) = parsed
        && let SetExpr::Select(mut select) = *parsed.body
        && let Some(from) = select.from.pop()
    {
        *relation = from.relation;
        if let TableFactor::Derived { lateral, .. } = relation {
            *lateral = is_lateral;
        }
    }
}

/// `LATERAL f(x)` as `f(x)`, which may refer to the tables before it as well.
fn as_table(relation: &mut TableFactor) {
    let TableFactor::Function { lateral: true, name, args, alias } = relation else { return };
    let (name, args, alias) = (std::mem::take(&mut name.0), std::mem::take(args), alias.take());
    let is_unnest = matches!(name.as_slice(), [name] if is_named(name, "unnest"));
    let arrays = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    *relation = match arrays.collect::<Option<Vec<Expr>>>().filter(|_| is_unnest) {
        Some(array_exprs) => TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        },
        None => TableFactor::Table {
            name: ObjectName(name),
            alias,
            args: Some(TableFunctionArgs { args, settings: None }),
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        },
    };
}

/// Converts a pattern of `LIKE` with another escape character to the backslash, the only one that the engine supports.
fn with_backslashes(pattern: Expr, escape: &str) -> Expr {
    /// Stands for a literal escape character during the conversion.
    const ESCAPED: &str = "\u{1}";
    let replaced = |expr, from: &str, to: &str| call("replace", vec![expr, text(from), text(to)]);
    let pattern = replaced(pattern, "\\", "\\\\");
    if escape.is_empty() {
        return pattern;
    }
    let pattern = replaced(pattern, &escape.repeat(2), ESCAPED);
    replaced(replaced(pattern, escape, "\\"), ESCAPED, escape)
}

/// The query of `ARRAY(SELECT …)`.
fn array_query(function: &mut Function) -> Option<Query> {
    let is_array = function.name.0.len() == 1 && is_named(&function.name.0[0], "array");
    match &mut function.args {
        FunctionArguments::Subquery(query) if is_array => Some(std::mem::replace(query.as_mut(), empty_query())),
        _ => None,
    }
}

fn empty_query() -> Query {
    select_from(Vec::new(), ObjectName::from(vec![Ident::new("t")]))
}

/// Returns the values of a query as an array, with an aggregate of the engine.
fn array_of(mut query: Query) -> Result<Expr> {
    let texts = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None));
    let none = cast(Expr::Array(Array { elem: Vec::new(), named: false }), texts);
    if returns_nothing(&query) {
        return Ok(none);
    }
    let order = match query.order_by.as_ref().map(|order_by| &order_by.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(order)) => order.clone(),
        Some(OrderByKind::All(_)) => return Err(unordered_array()),
    };
    if !has_values_of_rows(&query) {
        return numbered_array(&query, order);
    }
    if let SetExpr::Select(select) = query.body.as_mut()
        && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
            select.projection.as_mut_slice()
    {
        query.order_by = None;
        let mut array = call("array_agg", vec![item.clone()]);
        if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut array
            && !order.is_empty()
        {
            let order = order.into_iter().map(|mut by| {
                // The only output column, by its number.
                if matches!(&by.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
                    by.expr = item.clone();
                }
                by
            });
            list.clauses.push(FunctionArgumentClause::OrderBy(order.collect()));
        }
        *item = array;
    }
    Ok(or_empty(Expr::Subquery(Box::new(query))))
}

/// The array, or an empty one where there are no rows, for which the aggregate returns NULL.
fn or_empty(array: Expr) -> Expr {
    call("coalesce", vec![array, call("make_array", Vec::new())])
}

/// Whether a query returns a value for each row of its tables.
fn has_values_of_rows(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = select.projection.as_slice()
    else {
        return false;
    };
    let is_limited = query.limit_clause.is_some() || query.fetch.is_some();
    !is_limited && !is_grouped && select.distinct.is_none() && select.having.is_none() && !has_aggregate(item)
}

/// Returns the array of a query that must be computed as a whole, in the order of the query.
fn numbered_array(query: &Query, order: Vec<OrderByExpr>) -> Result<Expr> {
    let is_limited = query.limit_clause.is_some() || query.fetch.is_some();
    let is_set = matches!(query.body.as_ref(), SetExpr::SetOperation { .. });
    let is_distinct = matches!(query.body.as_ref(), SetExpr::Select(select) if select.distinct.is_some());
    let by = match order.as_slice() {
        [] => "number".to_owned(),
        // The engine keeps the order of a subquery only if it has a limit.
        _ if is_limited => "number".to_owned(),
        // The order can only be that of the values.
        [by] if is_set || is_distinct => {
            let mut by = by.clone();
            by.expr = Expr::Identifier(Ident::new("value"));
            by.to_string()
        }
        _ => return Err(unordered_array()),
    };
    let text = format!(
        "SELECT (SELECT array_agg(value ORDER BY {by}) FROM (SELECT value, row_number() OVER () AS number \
         FROM ({query}) AS list (value)) AS numbered)"
    );
    parsed_expr(&text).map(or_empty).ok_or_else(unordered_array)
}

fn unordered_array() -> DataFusionError {
    let message = "this ARRAY(SELECT …) with ORDER BY is not supported; write array_agg(x ORDER BY y) in the query";
    DataFusionError::NotImplemented(message.to_owned())
}

/// `x SIMILAR TO 'pattern'` as `x ~ 'expression'`: the engine treats the pattern as a regular expression.
fn rewrite_similar(expr: &mut Expr) -> Result<()> {
    let Expr::SimilarTo { negated, expr: value, pattern, escape_char } = expr else { return Ok(()) };
    let escape = match escape_char {
        None => Some('\\'),
        Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
        Some(_) => None,
    };
    let Some(expression) = constant(pattern).map(|pattern| calls::similar_expression(pattern, escape)) else {
        let message = "SIMILAR TO requires a literal pattern; use ~ with a regular expression";
        return Err(DataFusionError::NotImplemented(message.to_owned()));
    };
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    *expr = binary(take_expr(value), op, text(&expression));
    Ok(())
}

/// Reduces queries without rows to the names of their columns. Their expressions would never be computed, and the
/// engine does not support all of them.
fn keep_names(part: &mut SetExpr) {
    let select = match part {
        SetExpr::Select(select) if selects_nothing(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            keep_names(left);
            return keep_names(right);
        }
        _ => return,
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            *expr = null();
        }
    }
    select.selection = Some(Expr::value(Value::Boolean(false)));
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        if let JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) = &mut join.join_operator
            && matches!(constraint, JoinConstraint::On(_))
        {
            *constraint = JoinConstraint::On(Expr::value(Value::Boolean(true)));
        }
    }
}

/// Whether a query never has rows, regardless of its conditions, because it joins a table that never has any. The
/// engine cannot plan some of these queries where they refer to the rows of an outer one.
fn returns_nothing(query: &Query) -> bool {
    match query.body.as_ref() {
        SetExpr::Select(select) => query.with.is_none() && selects_nothing(select),
        _ => false,
    }
}

fn selects_nothing(select: &Select) -> bool {
    let is_empty = |relation: &TableFactor| match relation {
        TableFactor::Table { name, args: None, .. } => match name.0.as_slice() {
            [schema, name] => is_named(schema, "pg_catalog") && is_empty_table(name),
            [name] => is_empty_table(name),
            _ => false,
        },
        // All arrays of the catalog are null.
        TableFactor::Table { name, args: Some(args), .. }
            if name.0.last().is_some_and(|name| is_named(name, "unnest")) =>
        {
            matches!(args.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] if is_catalog_array(expr))
        }
        TableFactor::Derived { subquery, .. } => returns_nothing(subquery),
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_catalog_array),
        _ => false,
    };
    let is_inner = |join: &Join| {
        matches!(join.join_operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let has_empty = select.from.iter().any(|table| match table.joins.iter().all(is_inner) {
        true => is_empty(&table.relation) || table.joins.iter().any(|join| is_empty(&join.relation)),
        // For left joins, only the first table matters.
        false => {
            let is_left = |join: &Join| {
                is_inner(join) || matches!(join.join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
            };
            table.joins.iter().all(is_left) && is_empty(&table.relation)
        }
    });
    let aggregates = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => has_aggregate(expr),
        _ => false,
    });
    has_empty && !aggregates
}

fn is_catalog_array(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => schemas::is_catalog_array(&name.value),
        Expr::CompoundIdentifier(names) => names.last().is_some_and(|name| schemas::is_catalog_array(&name.value)),
        _ => false,
    }
}

fn is_empty_table(name: &ObjectNamePart) -> bool {
    name.as_ident().is_some_and(|name| schemas::is_always_empty(&name.value))
}

/// Whether an expression has an aggregate, other than those of its subqueries.
fn has_aggregate(expr: &Expr) -> bool {
    expr.visit(&mut AggregateFinder { depth: 0 }).is_break()
}

struct AggregateFinder {
    /// Number of queries around the visited node.
    depth: usize,
}

impl Visitor for AggregateFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 && is_aggregate(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Changes a subquery over the catalog that returns one row for each outer row into an aggregate, as required by the
/// engine. Applies only to subqueries whose tables are all in the catalog, where PostgreSQL's own conditions ensure
/// that there is one row.
fn make_single(query: &mut Query) {
    if query.with.is_some() || query.limit_clause.is_some() || query.order_by.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Select { projection, from, group_by, .. } = select.as_mut();
    let is_of_catalog = !from.is_empty()
        && from.iter().all(|table| {
            std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)).all(|relation| {
                match relation {
                    TableFactor::Table { name, args: None, .. } => match name.0.as_slice() {
                        [schema, name] => is_named(schema, "pg_catalog") && is_table(name),
                        [name] => is_table(name),
                        _ => false,
                    },
                    _ => false,
                }
            })
        });
    let is_grouped = !matches!(group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = projection.as_mut_slice()
    else {
        return;
    };
    if !is_of_catalog || is_grouped || is_aggregate(item) {
        return;
    }
    let inner = std::mem::replace(item, null());
    *item = call("max", vec![inner]);
}

fn is_table(name: &ObjectNamePart) -> bool {
    name.as_ident().is_some_and(|name| schemas::is_catalog_table(&name.value))
}

fn is_aggregate(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    let name = function.name.0.last().and_then(|name| name.as_ident()).map(|name| name.value.to_lowercase());
    matches!(
        name.as_deref(),
        Some(
            "max"
                | "min"
                | "count"
                | "bool_and"
                | "every"
                | "sum"
                | "avg"
                | "array_agg"
                | "string_agg"
                | "bool_or"
                | "json_agg"
                | "jsonb_agg"
                | "json_object_agg"
                | "jsonb_object_agg"
        )
    )
}
