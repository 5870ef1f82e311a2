//! Casts, comparisons and aggregates whose values differ between the engine and PostgreSQL.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray, Float64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TryCast, Volatility, cast, create_udf, lit,
};

use crate::functions::times::{by_array, is_text};
use crate::postgres::{NUMERIC, PgTexts, array_of_text, bytes_of_text, time_with_seconds, truth_of_text};

/// The type of an integer as `numeric`.
const WHOLE_NUMERIC: DataType = DataType::Decimal128(20, 0);

/// Rounds to the nearest integer, and halves to the even one, like PostgreSQL's casts of `float8` to integers.
static ROUNDED: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let round = |args: &[ColumnarValue]| {
        by_array(&args[0], |numbers| {
            let rounded: Float64Array = numbers.as_primitive::<Float64Type>().unary(f64::round_ties_even);
            Ok(Arc::new(rounded))
        })
    };
    create_udf("rounded", vec![DataType::Float64], DataType::Float64, Volatility::Immutable, Arc::new(round))
});

/// Changes an expression so that it has the same values as in PostgreSQL. Fixed types, as in `VALUES`, are kept.
pub(crate) fn with_postgres_values(expr: Expr, schema: &DFSchema, has_fixed_kinds: bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(mut cast) => {
            if has_whole_numeric(&cast.expr, &cast.data_type, schema) && !has_fixed_kinds {
                cast.data_type = WHOLE_NUMERIC;
                return Ok(Transformed::yes(Expr::Cast(cast)));
            }
            match before_cast(&cast.expr, &cast.data_type, schema)? {
                Some(inner) => {
                    *cast.expr = inner;
                    Ok(Transformed::yes(Expr::Cast(cast)))
                }
                None => Ok(Transformed::no(Expr::Cast(cast))),
            }
        }
        Expr::TryCast(mut cast) => match before_cast(&cast.expr, &cast.data_type, schema)? {
            Some(inner) => {
                *cast.expr = inner;
                Ok(Transformed::yes(Expr::TryCast(cast)))
            }
            None => Ok(Transformed::no(Expr::TryCast(cast))),
        },
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) => {
            let is_changed = match op {
                Operator::Divide => !has_fixed_kinds && divides_numeric(&mut left, &right, schema),
                _ => compares_truth(&left, &mut right, schema) || compares_truth(&right, &mut left, schema),
            };
            let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(if is_changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        expr if has_fixed_kinds => Ok(Transformed::no(expr)),
        expr => Ok(with_exact_mean(expr, schema)),
    }
}

/// Changes a cast to text so that it returns the same text as PostgreSQL: `2026-01-02 03:04:05`, `1 day 02:00:00`,
/// `{a,b}`, `1`.
pub(crate) fn with_postgres_texts(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (Expr::Cast(Cast { expr: value, data_type: to }) | Expr::TryCast(TryCast { expr: value, data_type: to })) =
        &expr
    else {
        return Transformed::no(expr);
    };
    let is_other = value.get_type(schema).is_ok_and(|kind| {
        let is_list = matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
        let is_time = matches!(kind, DataType::Timestamp(..) | DataType::Interval(_) | DataType::Duration(_));
        is_list || is_time || kind.is_floating() || kind.is_decimal()
    });
    if !is_text(to) || !is_other {
        return Transformed::no(expr);
    }
    let text = TEXT.call(vec![Expr::clone(value)]);
    Transformed::yes(if *to == DataType::Utf8 { text } else { cast(text, to.clone()) })
}

static TEXT: LazyLock<ScalarUDF> =
    LazyLock::new(|| ScalarUDF::new_from_impl(PgText { signature: Signature::any(1, Volatility::Immutable) }));

/// `pg_text(x)`: the text of a value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PgText {
    signature: Signature,
}

impl ScalarUDFImpl for PgText {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "pg_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        by_array(&call.args[0], |values| {
            let texts = PgTexts::new(values)?;
            let text = |row| values.is_valid(row).then(|| texts.text(row)).transpose();
            let texts = (0..values.len()).map(text).collect::<Result<StringArray>>()?;
            Ok(Arc::new(texts))
        })
    }
}

fn has_whole_numeric(expr: &Expr, kind: &DataType, schema: &DFSchema) -> bool {
    *kind == NUMERIC && expr.get_type(schema).is_ok_and(|kind| kind.is_integer())
}

/// Extends the scale of the dividend of a `numeric` quotient: the engine returns only four digits more than the scale
/// of the dividend.
fn divides_numeric(dividend: &mut Expr, divisor: &Expr, schema: &DFSchema) -> bool {
    let (Ok(from), Ok(by)) = (dividend.get_type(schema), divisor.get_type(schema)) else { return false };
    let is_numeric = from.is_decimal() && (by.is_decimal() || by.is_integer()) || from.is_integer() && by.is_decimal();
    if !is_numeric || !has_few_digits(&from) {
        return false;
    }
    *dividend = cast(std::mem::take(dividend), NUMERIC);
    true
}

/// Whether an integer or decimal type has a smaller scale than [`NUMERIC`], and its integer digits fit into that type.
fn has_few_digits(kind: &DataType) -> bool {
    match kind {
        DataType::Decimal128(precision, scale) => *scale < 10 && i16::from(*precision) - i16::from(*scale) <= 30,
        kind => kind.is_integer(),
    }
}

/// Returns the expression to cast instead of the given one; none to cast the given one.
fn before_cast(expr: &Expr, kind: &DataType, schema: &DFSchema) -> Result<Option<Expr>> {
    let Ok(from) = expr.get_type(schema) else { return Ok(None) };
    if !is_text(&from) {
        return Ok(match (from, kind) {
            (from, kind) if from.is_floating() && kind.is_integer() => {
                Some(ROUNDED.call(vec![cast(expr.clone(), DataType::Float64)]))
            }
            // Halves are rounded away from zero.
            (DataType::Decimal256(_, 1..), kind) if kind.is_integer() => {
                Some(cast(expr.clone(), DataType::Decimal256(76, 0)))
            }
            (from, kind) if from.is_decimal() && kind.is_integer() => {
                Some(cast(expr.clone(), DataType::Decimal128(38, 0)))
            }
            _ => None,
        });
    }
    let Expr::Literal(value, _) = expr else {
        return match kind {
            DataType::List(_) => {
                let message = "only a literal can be cast to an array; use string_to_array";
                Err(DataFusionError::NotImplemented(message.to_owned()))
            }
            _ => Ok(None),
        };
    };
    let Some(text) = value.try_as_str().flatten() else { return Ok(None) };
    let wrong = |what: &str| DataFusionError::Execution(format!("the text is not {what}"));
    match kind {
        DataType::List(element) => {
            let array = array_of_text(text, element.data_type()).ok_or_else(|| wrong("an array such as {a,b}"))?;
            Ok(Some(lit(array)))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = bytes_of_text(text).ok_or_else(|| wrong("bytes in hexadecimal digits such as \\x6869"))?;
            Ok(Some(lit(ScalarValue::Binary(Some(bytes)))))
        }
        DataType::Timestamp(..) => Ok(time_with_seconds(text).map(lit)),
        _ => Ok(None),
    }
}

/// Converts a text that is compared with a boolean into a boolean: `is_final = 't'`.
fn compares_truth(truth: &Expr, text: &mut Expr, schema: &DFSchema) -> bool {
    let Expr::Literal(value, _) = &*text else { return false };
    let read = value.try_as_str().flatten().and_then(truth_of_text);
    match (read, truth.get_type(schema)) {
        (Some(read), Ok(DataType::Boolean)) => {
            *text = lit(read);
            true
        }
        _ => false,
    }
}

/// Makes the median of integers fractional, as it may be between two of them, and gives an average the scale of a
/// quotient.
fn with_exact_mean(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (name, args) = match &mut expr {
        Expr::AggregateFunction(call) => (call.func.name().to_owned(), &mut call.params.args),
        Expr::WindowFunction(call) => (call.fun.name().to_owned(), &mut call.params.args),
        _ => return Transformed::no(expr),
    };
    let Some(value) = args.first_mut() else { return Transformed::no(expr) };
    let Ok(kind) = value.get_type(schema) else { return Transformed::no(expr) };
    let wider = match name.as_str() {
        "median" | "approx_median" | "approx_percentile_cont" if kind.is_integer() => DataType::Float64,
        "avg" if kind.is_decimal() && has_few_digits(&kind) => NUMERIC,
        _ => return Transformed::no(expr),
    };
    *value = cast(std::mem::take(value), wider);
    Transformed::yes(expr)
}
