//! Functions and operators of PostgreSQL that the engine has under another name or by other means.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, ObjectName, OrderByExpr, TimezoneInfo, UnaryOperator, Value, WindowType,
};

use crate::postgres::expressions::{Copies, binary, call, cast, constant, null, number, taken, text};
use crate::postgres::parameters::array_elements;

/// Most patterns of `LIKE ANY`: each is one more condition.
const PATTERNS_MAX: usize = 100;

/// Stands between the parts of a text that is split by an expression. Unicode assigns no letter to it.
const BETWEEN: &str = "\u{10ffff}";

/// An operator of PostgreSQL as a call of a function; none for others.
pub(super) fn operator(left: &mut Expr, op: &BinaryOperator, right: &mut Expr) -> Option<Expr> {
    let name = match op {
        // The second is the sign of the first in other dialects.
        BinaryOperator::PGExp | BinaryOperator::BitwiseXor => "power",
        BinaryOperator::Arrow => "json_get",
        BinaryOperator::LongArrow => "json_get_text",
        BinaryOperator::HashArrow => "json_path",
        BinaryOperator::HashLongArrow => "json_path_text",
        _ => return None,
    };
    Some(call(name, vec![taken(left), taken(right)]))
}

/// A call as another expression; none for what the engine has itself. The error says what cannot be done.
pub(super) fn function(function: &mut Function, copies: &mut Copies) -> Result<Option<Expr>> {
    let [name] = function.name.0.as_slice() else { return Ok(None) };
    let Some(name) = name.as_ident().map(|name| name.value.to_lowercase()) else { return Ok(None) };
    if name == "percentile_disc" {
        return percentile_disc(function, copies);
    }
    let is_plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    let renamed = match name.as_str() {
        "every" => "bool_and",
        "variance" => "var_samp",
        "sign" => "signum",
        "clock_timestamp" | "statement_timestamp" | "transaction_timestamp" => "now",
        "json_extract_path" => "json_path",
        "json_extract_path_text" => "json_path_text",
        _ => "",
    };
    if !renamed.is_empty() {
        function.name = ObjectName::from(vec![renamed.into()]);
        return Ok(None);
    }
    if name == "format" && is_plain {
        let args = arguments(function).unwrap_or_default().into_iter().map(taken).collect();
        return formatted(args).map(Some).map_err(DataFusionError::NotImplemented);
    }
    if !is_plain {
        return Ok(None);
    }
    Ok(match (name.as_str(), arguments(function).unwrap_or_default().as_mut_slice()) {
        ("mod", [left, right]) => Some(binary(taken(left), BinaryOperator::Modulo, taken(right))),
        // A quotient of whole numbers stays one.
        ("div", [left, right]) => {
            let rest = binary(copies.of(&**left)?, BinaryOperator::Modulo, copies.of(&**right)?);
            let whole = binary(taken(left), BinaryOperator::Minus, rest);
            Some(binary(whole, BinaryOperator::Divide, taken(right)))
        }
        ("date_trunc", [precision, time, zone]) => {
            let local = call("timezone", vec![copies.of(&**zone)?, taken(time)]);
            Some(call("timezone", vec![taken(zone), call("date_trunc", vec![taken(precision), local])]))
        }
        ("age", [time]) => {
            Some(call("age", vec![call("date_trunc", vec![text("day"), call("now", vec![])]), taken(time)]))
        }
        ("quote_literal", [value]) => Some(quoted(taken(value))),
        ("localtimestamp", _) => Some(cast(call("now", vec![]), DataType::Timestamp(None, TimezoneInfo::None))),
        ("localtime", _) => Some(cast(call("now", vec![]), DataType::Time(None, TimezoneInfo::None))),
        ("regexp_substr", [value, pattern]) => {
            let grouped = joined(vec![text("("), taken(pattern), text(")")]);
            Some(matched(taken(value), grouped))
        }
        ("regexp_split_to_array", [value, pattern]) => {
            let args = vec![taken(value), taken(pattern), text(BETWEEN), text("g")];
            Some(call("string_to_array", vec![call("regexp_replace", args), text(BETWEEN)]))
        }
        _ => None,
    })
}

/// `substring(text FROM 'expression')`: the first group that fits, or all that fits.
pub(super) fn matched(value: Expr, pattern: Expr) -> Expr {
    call("array_element", vec![call("regexp_match", vec![value, pattern]), number("1")])
}

/// The arguments of a call; none if one of them is no expression.
fn arguments(function: &mut Function) -> Option<Vec<&mut Expr>> {
    match &mut function.args {
        FunctionArguments::List(list) => list
            .args
            .iter_mut()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
        _ => Some(Vec::new()),
    }
}

fn joined(parts: Vec<Expr>) -> Expr {
    let parts = parts.into_iter().reduce(|left, right| binary(left, BinaryOperator::StringConcat, right));
    parts.unwrap_or_else(|| text(""))
}

fn as_text(value: Expr) -> Expr {
    cast(value, DataType::Text)
}

fn quoted(value: Expr) -> Expr {
    joined(vec![text("'"), call("replace", vec![as_text(value), text("'"), text("''")]), text("'")])
}

/// `format('%s %I %L', …)`, whose form must be written in the query.
fn formatted(args: Vec<Expr>) -> std::result::Result<Expr, String> {
    let refused =
        || "format takes a form that is written in the query, with %s, %I, %L and %%, and a value for each".to_owned();
    let mut args = args.into_iter();
    let form = args.next().ok_or_else(refused)?;
    let mut rest = constant(&form).ok_or_else(refused)?;
    let mut parts = Vec::new();
    while let Some((before, after)) = rest.split_once('%') {
        parts.push(text(before));
        let kind = after.chars().next().ok_or_else(refused)?;
        let mut value = || args.next().ok_or_else(refused);
        parts.push(match kind {
            '%' => text("%"),
            's' => call("coalesce", vec![as_text(value()?), text("")]),
            'I' => call("quote_ident", vec![as_text(value()?)]),
            'L' => call("coalesce", vec![quoted(value()?), text("NULL")]),
            _ => return Err(refused()),
        });
        rest = &after[kind.len_utf8()..];
    }
    parts.push(text(rest));
    Ok(joined(parts))
}

/// `percentile_disc(p) WITHIN GROUP (ORDER BY x)`: the first value at which so large a part of all is reached.
fn percentile_disc(function: &mut Function, copies: &mut Copies) -> Result<Option<Expr>> {
    if function.within_group.len() != 1 {
        return Ok(None);
    }
    let percentile = match arguments(function).unwrap_or_default().as_mut_slice() {
        [percentile] => taken(percentile),
        _ => return Ok(None),
    };
    let Some(order) = function.within_group.pop() else { return Ok(None) };
    let over = function.over.take();
    let is_known = Expr::IsNotNull(Box::new(copies.of(&order.expr)?));
    let filter = match function.filter.take() {
        Some(filter) => binary(*filter, BinaryOperator::And, is_known),
        None => is_known,
    };
    let copied = over.as_ref().map(|over| copies.of(over)).transpose()?;
    let count = aggregate("count", copies.of(&order.expr)?, copies.of(&filter)?, copied, None);
    let values = aggregate("array_agg", copies.of(&order.expr)?, filter, over, Some(order));
    let place = binary(percentile, BinaryOperator::Multiply, count);
    let place = cast(call("ceil", vec![place]), DataType::BigInt(None));
    let place = call("greatest", vec![number("1"), place]);
    Ok(Some(call("array_element", vec![values, place])))
}

/// `name(value ORDER BY order) FILTER (WHERE filter) OVER over`.
fn aggregate(name: &str, value: Expr, filter: Expr, over: Option<WindowType>, order: Option<OrderByExpr>) -> Expr {
    let mut aggregate = call(name, vec![value]);
    if let Expr::Function(function) = &mut aggregate {
        function.filter = Some(Box::new(filter));
        function.over = over;
        if let FunctionArguments::List(list) = &mut function.args {
            list.clauses.extend(order.map(|order| FunctionArgumentClause::OrderBy(vec![order])));
        }
    }
    aggregate
}

/// Takes the patterns out of `LIKE ANY (ARRAY[…])`; none if they are not written in the query, or are too many.
pub(super) fn patterns(list: &mut Expr) -> Option<Vec<Expr>> {
    let is_few = |patterns: &Vec<Expr>| (1..=PATTERNS_MAX).contains(&patterns.len());
    match list {
        Expr::Nested(inner) => patterns(inner),
        Expr::Array(Array { elem, .. }) | Expr::Tuple(elem) => is_few(elem).then(|| std::mem::take(elem)),
        list => elements(constant(list)?).filter(is_few),
    }
}

/// The elements of an array that is written as a text: `'{a,b}'`.
pub(super) fn elements(array: &str) -> Option<Vec<Expr>> {
    let elements = array_elements(array)?;
    let are_numbers = elements.iter().flatten().all(|element| element.parse::<i64>().is_ok());
    let element = |element: Option<String>| match element {
        None => null(),
        Some(element) if are_numbers => match element.strip_prefix('-') {
            Some(digits) => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(digits)) },
            None => number(&element),
        },
        Some(element) => text(&element),
    };
    Some(elements.into_iter().map(element).collect())
}

/// A decimal number that is written in the query, with all its digits: `12345678901234567890.123::numeric`.
///
/// The engine would read it as a number with 15 digits.
pub(super) fn decimal(expr: &Expr) -> Option<Expr> {
    let digits = digits(expr)?;
    let plain = digits.trim_start_matches(['-', '+']);
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let scale = i64::try_from(fraction.len()).ok()?;
    let precision = u64::try_from(whole.trim_start_matches('0').len() + fraction.len()).ok()?.max(1);
    let kind = ExactNumberInfo::PrecisionAndScale(precision, scale);
    Some(cast(text(&digits), DataType::Decimal(kind)))
}

/// Whether a number is written with a fraction.
pub(super) fn is_fraction(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => is_fraction(inner),
        Expr::Value(value) => matches!(&value.value, Value::Number(digits, _) if digits.contains('.')),
        _ => false,
    }
}

fn digits(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => digits(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => Some(format!("-{}", digits(inner)?)),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.clone()),
            Value::SingleQuotedString(text) => Some(text.trim().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Types whose values are texts here, also in arrays.
pub(super) fn known_type(data_type: &mut DataType) {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket;
    match data_type {
        DataType::Uuid | DataType::JSON | DataType::JSONB => *data_type = DataType::Text,
        DataType::Array(SquareBracket(element, _)) => known_type(element),
        _ => {}
    }
}
