//! Functions and operators of PostgreSQL that the engine provides under another name or in another way.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CharacterLength, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, ObjectName, OrderByExpr, TimezoneInfo, UnaryOperator, Value, WindowType,
};

use crate::postgres::expressions::{
    CopyBudget, arguments, binary, call, cast, constant, null, number, take_expr, text,
};
use crate::postgres::parameters::array_elements;
use crate::postgres::{formats, json};

/// Maximum number of patterns of `LIKE ANY`: each becomes a condition.
const PATTERNS_MAX: usize = 100;

/// Separates the parts of a text that is split by a regular expression. Unicode assigns no character to this code
/// point.
const BETWEEN: &str = "\u{10ffff}";

/// Returns the function call for an operator of PostgreSQL; none for other operators.
pub(super) fn operator(left: &mut Expr, op: &BinaryOperator, right: &mut Expr) -> Option<Expr> {
    let name = match op {
        // Other dialects parse `^` as the second one.
        BinaryOperator::PGExp | BinaryOperator::BitwiseXor => "power",
        BinaryOperator::Arrow => "json_get",
        BinaryOperator::LongArrow => "json_get_text",
        BinaryOperator::HashArrow => "json_path",
        BinaryOperator::HashLongArrow => "json_path_text",
        BinaryOperator::PGOverlap => "array_has_any",
        BinaryOperator::Multiply if is_interval(left) => "interval_times",
        BinaryOperator::Multiply if is_interval(right) => {
            return Some(call("interval_times", vec![take_expr(right), take_expr(left)]));
        }
        BinaryOperator::Divide if is_interval(left) => {
            let share = binary(cast(number("1"), DataType::DoublePrecision), BinaryOperator::Divide, take_expr(right));
            return Some(call("interval_times", vec![take_expr(left), share]));
        }
        _ => return None,
    };
    let left = if name.starts_with("json_") { json::uncast(take_expr(left)) } else { take_expr(left) };
    Some(call(name, vec![left, take_expr(right)]))
}

/// Returns the replacement of a prefix operator; none if the engine supports the operator.
pub(super) fn sign(op: UnaryOperator, expr: &mut Expr) -> Option<Expr> {
    let name = match op {
        UnaryOperator::PGSquareRoot => "sqrt",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::BitwiseNot => {
            let negative =
                Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(Expr::Nested(Box::new(take_expr(expr)))) };
            return Some(binary(negative, BinaryOperator::Minus, number("1")));
        }
        _ => return None,
    };
    Some(call(name, vec![take_expr(expr)]))
}

/// Whether an expression is written as an interval.
fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Nested(inner) => is_interval(inner),
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        Expr::TypedString(typed) => matches!(typed.data_type, DataType::Interval { .. }),
        Expr::Function(function) => function.name.to_string() == "interval_times",
        _ => false,
    }
}

/// Returns the text of an interval with a time part (`1 day 02:03:04`) in words; none if it has no such part.
pub(super) fn interval_in_words(text: &str) -> Option<String> {
    if !text.contains(':') {
        return None;
    }
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let Some((hours, rest)) = part.split_once(':') else {
            words.push(part.to_owned());
            continue;
        };
        let (is_negative, hours) = match hours.strip_prefix('-') {
            Some(hours) => (true, hours),
            None => (false, hours.strip_prefix('+').unwrap_or(hours)),
        };
        let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
        let sign = if is_negative { "-" } else { "" };
        for (number, unit) in [(hours, "hours"), (minutes, "minutes"), (seconds, "seconds")] {
            number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
            words.push(format!("{sign}{number} {unit}"));
        }
    }
    Some(words.join(" "))
}

/// Returns the replacement of a call; none if the engine supports the function. The error describes the unsupported
/// use.
pub(super) fn function(function: &mut Function, copies: &mut CopyBudget) -> Result<Option<Expr>> {
    let [name] = function.name.0.as_slice() else { return Ok(None) };
    let Some(name) = name.as_ident().map(|name| name.value.to_lowercase()) else { return Ok(None) };
    match name.as_str() {
        "percentile_disc" => return percentile_disc(function, copies),
        "mode" => return Ok(mode(function)),
        "make_interval" => name_interval_parts(function),
        _ => {}
    }
    if let Some(made) = json::function(&name, function)? {
        return Ok(Some(made));
    }
    // In PostgreSQL, the values of DISTINCT aggregates are sorted.
    if ["array_agg", "string_agg"].contains(&name.as_str()) && function.over.is_none() && json::is_distinct(function) {
        let by = arguments(function).and_then(|args| args.first().map(|value| Expr::clone(value)));
        by.into_iter().for_each(|by| json::order(function, by));
    }
    let is_plain = function.over.is_none() && function.filter.is_none() && function.within_group.is_empty();
    let renamed = match name.as_str() {
        "every" => "bool_and",
        "variance" => "var_samp",
        "sign" => "signum",
        "clock_timestamp" | "statement_timestamp" | "transaction_timestamp" => "now",
        "json_extract_path" | "jsonb_extract_path" => "json_path",
        "json_extract_path_text" | "jsonb_extract_path_text" => "json_path_text",
        "jsonb_array_length" => "json_array_length",
        "jsonb_typeof" => "json_typeof",
        // The engine's functions with these names change only the first matching element.
        "array_remove" => "array_remove_all",
        "array_replace" => "array_replace_all",
        _ => "",
    };
    if !renamed.is_empty() {
        function.name = ObjectName::from(vec![renamed.into()]);
        return Ok(None);
    }
    if name == "format" && is_plain {
        let args = arguments(function).unwrap_or_default().into_iter().map(take_expr).collect();
        return formatted(args, copies).map(Some).map_err(DataFusionError::NotImplemented);
    }
    if !is_plain {
        return Ok(None);
    }
    Ok(match (name.as_str(), arguments(function).unwrap_or_default().as_mut_slice()) {
        ("mod", [left, right]) => Some(binary(take_expr(left), BinaryOperator::Modulo, take_expr(right))),
        // The quotient of integers stays an integer.
        ("div", [left, right]) => {
            let rest = binary(copies.of(&**left)?, BinaryOperator::Modulo, copies.of(&**right)?);
            let whole = binary(take_expr(left), BinaryOperator::Minus, rest);
            Some(binary(whole, BinaryOperator::Divide, take_expr(right)))
        }
        ("date_trunc", [precision, time, zone]) => {
            let local = call("timezone", vec![copies.of(&**zone)?, take_expr(time)]);
            Some(call("timezone", vec![take_expr(zone), call("date_trunc", vec![take_expr(precision), local])]))
        }
        ("age", [time]) => {
            Some(call("age", vec![call("date_trunc", vec![text("day"), call("now", vec![])]), take_expr(time)]))
        }
        ("quote_literal", [value]) => Some(quoted(take_expr(value))),
        ("quote_nullable", [value]) => Some(call("coalesce", vec![quoted(take_expr(value)), text("NULL")])),
        ("to_char", [value, format]) if !formats::is_strftime(format) => {
            Some(call("formatted_text", vec![take_expr(value), take_expr(format)]))
        }
        ("atan2", [y, x]) => {
            let double = |expr: &mut Expr| cast(take_expr(expr), DataType::DoublePrecision);
            Some(call("atan2", vec![double(y), double(x)]))
        }
        ("array_dims", [array]) => {
            let length = as_text(call("array_length", vec![take_expr(array)]));
            Some(joined(vec![text("[1:"), length, text("]")]))
        }
        ("trim_array", [array, count]) => {
            let length = call("array_length", vec![copies.of(&**array)?]);
            let length = cast(length, DataType::BigInt(None));
            let end = binary(length, BinaryOperator::Minus, take_expr(count));
            Some(call("array_slice", vec![take_expr(array), number("1"), end]))
        }
        // Functions that return several rows.
        ("regexp_matches", [value, pattern]) => {
            Some(rows(call("all_matches", vec![take_expr(value), take_expr(pattern), text("")])))
        }
        ("regexp_matches", [value, pattern, flags]) => {
            Some(rows(call("all_matches", vec![take_expr(value), take_expr(pattern), take_expr(flags)])))
        }
        ("string_to_table", [value, separator]) => {
            Some(rows(call("string_to_array", vec![take_expr(value), take_expr(separator)])))
        }
        ("regexp_split_to_table", [value, pattern]) => Some(rows(split(take_expr(value), take_expr(pattern)))),
        ("json_array_elements" | "jsonb_array_elements", [value]) => {
            Some(rows(call("json_elements", vec![take_expr(value)])))
        }
        ("json_array_elements_text" | "jsonb_array_elements_text", [value]) => {
            Some(rows(call("json_elements_text", vec![take_expr(value)])))
        }
        ("json_object_keys" | "jsonb_object_keys", [value]) => Some(rows(call("json_keys", vec![take_expr(value)]))),
        ("date_part", [field, time]) => {
            let field = constant(field).unwrap_or_default().to_owned();
            extracted(&field, time)
        }
        ("isfinite", [time]) => Some(Expr::IsNotNull(Box::new(take_expr(time)))),
        ("localtimestamp", _) => Some(cast(call("now", vec![]), DataType::Timestamp(None, TimezoneInfo::None))),
        ("localtime", _) => Some(cast(call("now", vec![]), DataType::Time(None, TimezoneInfo::None))),
        ("regexp_substr", [value, pattern]) => {
            let grouped = joined(vec![text("("), take_expr(pattern), text(")")]);
            Some(matched(take_expr(value), grouped))
        }
        ("regexp_split_to_array", [value, pattern]) => Some(split(take_expr(value), take_expr(pattern))),
        _ => None,
    })
}

/// Returns an expression with one row for each element of an array.
fn rows(array: Expr) -> Expr {
    call("unnest", vec![array])
}

fn split(value: Expr, pattern: Expr) -> Expr {
    let args = vec![value, pattern, text(BETWEEN), text("g")];
    call("string_to_array", vec![call("regexp_replace", args), text(BETWEEN)])
}

/// `mode() WITHIN GROUP (ORDER BY x)`: the value that occurs most often.
fn mode(function: &mut Function) -> Option<Expr> {
    if function.within_group.len() != 1 || !arguments(function).unwrap_or_default().is_empty() {
        return None;
    }
    let order = function.within_group.pop()?;
    let name = if order.options.asc == Some(false) { "mode_descending" } else { "mode_ascending" };
    let mut counted = call(name, vec![order.expr]);
    if let Expr::Function(counted) = &mut counted {
        counted.filter = function.filter.take();
        counted.over = function.over.take();
    }
    Some(counted)
}

/// `make_interval(days => 3)` as `make_interval(0, 0, 0, 3)`.
fn name_interval_parts(function: &mut Function) {
    const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let FunctionArguments::List(list) = &mut function.args else { return };
    let mut parts: Vec<Expr> = Vec::new();
    for (position, arg) in list.args.iter_mut().enumerate() {
        let (index, expr) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => (position, expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                match NAMES.iter().position(|known| name.value.eq_ignore_ascii_case(known)) {
                    Some(index) => (index, expr),
                    None => return,
                }
            }
            _ => return,
        };
        while parts.len() <= index {
            parts.push(number("0"));
        }
        parts[index] = expr.clone();
    }
    if !parts.is_empty() {
        list.args = parts.into_iter().map(|part| FunctionArg::Unnamed(FunctionArgExpr::Expr(part))).collect();
    }
}

/// `substring(text FROM 'expression')`: the first group of the match, or the whole match.
pub(super) fn matched(value: Expr, pattern: Expr) -> Expr {
    call("array_element", vec![call("regexp_match", vec![value, pattern]), number("1")])
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

/// `format('%s %I %2$L', …)`, whose format must be a literal.
fn formatted(args: Vec<Expr>, copies: &mut CopyBudget) -> std::result::Result<Expr, String> {
    let refused = || {
        "format takes a form that is written in the query, with %s, %I, %L and %%, and a value for each; positions such as \
         %1$s are supported, and widths are not"
            .to_owned()
    };
    let mut args = args.into_iter();
    let form = args.next().ok_or_else(refused)?;
    let values: Vec<Expr> = args.collect();
    let mut next = 0;
    let mut rest = constant(&form).ok_or_else(refused)?;
    let mut parts = Vec::new();
    while let Some((before, after)) = rest.split_once('%') {
        parts.push(text(before));
        let position = after.split_once('$').and_then(|(number, after)| Some((number.parse::<usize>().ok()?, after)));
        let (index, after) = match position {
            Some((number, after)) => (number.checked_sub(1).ok_or_else(refused)?, after),
            None => (next, after),
        };
        let kind = after.chars().next().ok_or_else(refused)?;
        if kind != '%' {
            next = index + 1;
        }
        let mut value = || {
            let value = values.get(index).ok_or_else(refused)?;
            copies.of(value).map_err(|error| error.to_string())
        };
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

/// `percentile_disc(p) WITHIN GROUP (ORDER BY x)`: the first value at which this fraction of all values is reached.
fn percentile_disc(function: &mut Function, copies: &mut CopyBudget) -> Result<Option<Expr>> {
    if function.within_group.len() != 1 {
        return Ok(None);
    }
    let percentile = match arguments(function).unwrap_or_default().as_mut_slice() {
        [percentile] => take_expr(percentile),
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

/// Whether a pattern is `ALL (ARRAY[…])`, which is then replaced with the array.
pub(super) fn take_list_of_all(pattern: &mut Expr) -> bool {
    let Expr::Function(function) = pattern else { return false };
    if !function.name.to_string().eq_ignore_ascii_case("all") {
        return false;
    }
    let Some([list]) = arguments(function).and_then(|args| <[_; 1]>::try_from(args).ok()) else { return false };
    *pattern = take_expr(list);
    true
}

/// `extract(century FROM time)` and similar fields, which the engine does not support.
pub(super) fn extracted(field: &str, time: &mut Expr) -> Option<Expr> {
    let years = match field.to_ascii_lowercase().as_str() {
        "decade" | "decades" => 10,
        "century" | "centuries" => 100,
        "millennium" | "millenniums" | "millennia" => 1_000,
        "julian" => {
            let day = call("date_part", vec![text("epoch"), call("date_trunc", vec![text("day"), take_expr(time)])]);
            let days = binary(day, BinaryOperator::Divide, number("86400"));
            return Some(cast(binary(days, BinaryOperator::Plus, number("2440588")), DataType::BigInt(None)));
        }
        _ => return None,
    };
    let year = cast(call("date_part", vec![text("year"), take_expr(time)]), DataType::DoublePrecision);
    let share = binary(year, BinaryOperator::Divide, number(&years.to_string()));
    // The first century begins with the year 1, a decade with a year that is a multiple of ten.
    let rounded = call(if years == 10 { "floor" } else { "ceil" }, vec![share]);
    Some(cast(rounded, DataType::BigInt(None)))
}

/// Takes the patterns out of `LIKE ANY (ARRAY[…])`; none if they are not literals, or are too many.
pub(super) fn patterns(list: &mut Expr) -> Option<Vec<Expr>> {
    let is_few = |patterns: &Vec<Expr>| (1..=PATTERNS_MAX).contains(&patterns.len());
    match list {
        Expr::Nested(inner) => patterns(inner),
        Expr::Array(Array { elem, .. }) | Expr::Tuple(elem) => is_few(elem).then(|| std::mem::take(elem)),
        list => elements(constant(list)?).filter(is_few),
    }
}

/// Returns the regular expression that is equivalent to a pattern of `SIMILAR TO`.
pub(super) fn similar_expression(pattern: &str, escape: Option<char>) -> String {
    let mut expression = String::from("^(?s:");
    let mut letters = pattern.chars();
    let mut is_in_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == escape => {
                expression.extend(letters.next().map(|letter| regex::escape(&letter.to_string())));
            }
            '[' | ']' => {
                is_in_class = letter == '[';
                expression.push(letter);
            }
            letter if is_in_class => expression.push(letter),
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            '.' | '^' | '$' | '\\' => expression.extend(['\\', letter]),
            letter => expression.push(letter),
        }
    }
    expression.push_str(")$");
    expression
}

/// Returns the elements of an array literal: `'{a,b}'`.
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

/// Returns a decimal literal with all its digits: `12345678901234567890.123::numeric`.
///
/// The engine would parse it as a number with 15 digits.
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

/// Whether a number literal has a fraction.
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

/// The maximum length of the texts of a type, in characters; none for other types.
pub(super) fn length(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Char(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Character(Some(CharacterLength::IntegerLength { length, .. })) => Some(*length),
        _ => None,
    }
}

/// Replaces types whose values are texts here, also in arrays.
pub(super) fn known_type(data_type: &mut DataType) {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket;
    match data_type {
        DataType::Uuid | DataType::JSON | DataType::JSONB => *data_type = DataType::Text,
        DataType::Array(SquareBracket(element, _)) => known_type(element),
        _ => {}
    }
}
