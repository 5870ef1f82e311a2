//! Functions that create texts and lists, with their memory reserved in advance.
//!
//! The engine counts what sorting, grouping and joining retain, but not what a function creates: nested calls of
//! `replace` took 6 GB. Here each function first estimates the maximum size of its values, and reserves it, while it
//! creates them, from separate memory: sorts and groups fill theirs until they spill, and would leave nothing for
//! functions.

use std::any::Any;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, GenericStringArray, Int64Array, OffsetSizeTrait, RecordBatch, StringViewArray,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::functions::regex::regexp_count;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Documentation, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr as PhysicalBinary, Column};

use crate::functions::ages::age;
use crate::functions::in_subquery::value_in_list;
use crate::functions::times::{WideFunction, is_replaced, wide};
use crate::functions::zones::timezone;
use crate::functions::{json, json_values, row_functions};
use crate::postgres::functions::PgFunction;

/// Functions that are not available: each creates a value of any requested size in a single step, beyond the memory
/// limit, which would crash the process. The tables `range` and `generate_series` produce their rows batch by batch.
pub(crate) const LEFT_OUT: [&str; 6] =
    ["array_repeat", "array_resize", "generate_series", "list_repeat", "list_resize", "range"];

/// Maximum size of the texts of one batch: their offsets are 32-bit numbers, and the engine panics when these overflow.
/// Unit: bytes.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Below this size, the matches of a regular expression are not counted: the maximum possible number is used. Unit:
/// bytes.
const COUNTED_FROM_BYTES: usize = 16 << 20;

/// Maximum number of pairs of characters that `levenshtein` compares for one batch: a few seconds.
const PAIRS_MAX: usize = 4 << 30;

/// How the size of a function's results depends on its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// A number, time or boolean: its size is that of its type.
    Fixed,
    /// At most as long as an argument.
    NotLonger,
    /// At most this many times as long as all arguments together.
    Times(usize),
    /// The texts of all elements, with separators.
    Joined,
    /// One text is replaced with another.
    Replaced,
    /// The matches of a regular expression are replaced with a text.
    RegexReplaced,
    /// The matches of a regular expression.
    RegexMatched,
    /// Elements are replaced with another one.
    ElementsReplaced,
    /// A time in a given format.
    Formatted,
    /// Lists of the groups of all matches in a text.
    AllMatched,
    /// A text that is padded to a length, or repeated.
    Sized,
    /// JSON of the values of all arguments.
    Json,
    /// JSON that is normalized.
    JsonRewritten,
    /// Compares each character with each other one.
    EachWithEach,
    /// Creates a value of a type whose name contains its size.
    OfNamedKind,
}

/// The available scalar functions of the engine, with the growth of their results.
///
/// A function that is not listed here is not available: after an update of the engine, new functions must be reviewed.
static GROWTH: LazyLock<HashMap<&'static str, Growth>> = LazyLock::new(|| {
    let kinds: [(Growth, &[&str]); 13] = [
        (
            Growth::Fixed,
            &[
                "abs",
                "acos",
                "acosh",
                "array_any_value",
                "array_dims",
                "array_distance",
                "array_element",
                "array_has",
                "array_has_all",
                "array_has_any",
                "array_length",
                "array_max",
                "array_min",
                "array_ndims",
                "array_position",
                "array_positions",
                "arrow_metadata",
                "arrow_typeof",
                "ascii",
                "asin",
                "asinh",
                "atan",
                "atan2",
                "atanh",
                "bit_length",
                "cardinality",
                "cbrt",
                "ceil",
                "character_length",
                "chr",
                "contains",
                "cos",
                "cosh",
                "cot",
                "current_date",
                "current_time",
                "date_bin",
                "date_part",
                "date_trunc",
                "degrees",
                "empty",
                "ends_with",
                "exp",
                "factorial",
                "find_in_set",
                "floor",
                "from_unixtime",
                "gcd",
                "get_field",
                "isnan",
                "iszero",
                "lcm",
                "ln",
                "log",
                "log10",
                "log2",
                "make_date",
                "make_time",
                "nanvl",
                "now",
                "octet_length",
                "pi",
                "power",
                "radians",
                "random",
                "regexp_count",
                "regexp_instr",
                "regexp_like",
                "round",
                "signum",
                "sin",
                "sinh",
                "sqrt",
                "starts_with",
                "strpos",
                "tan",
                "tanh",
                "to_date",
                "to_hex",
                "to_local_time",
                "to_time",
                "to_timestamp",
                "to_timestamp_micros",
                "to_timestamp_millis",
                "to_timestamp_nanos",
                "to_timestamp_seconds",
                "to_unixtime",
                "trunc",
                "union_extract",
                "union_tag",
                "uuid",
                "version",
            ],
        ),
        (
            Growth::NotLonger,
            &[
                "array_distinct",
                "array_except",
                "array_intersect",
                "array_pop_back",
                "array_pop_front",
                "array_remove",
                "array_remove_all",
                "array_remove_n",
                "array_reverse",
                "array_slice",
                "array_sort",
                "btrim",
                "coalesce",
                "flatten",
                "greatest",
                "least",
                "left",
                "ltrim",
                "map_extract",
                "map_keys",
                "map_values",
                "nullif",
                "nvl",
                "nvl2",
                "reverse",
                "right",
                "rtrim",
                "split_part",
                "substr",
                "substr_index",
            ],
        ),
        (
            Growth::Times(1),
            &[
                "array_append",
                "array_concat",
                "array_prepend",
                "array_union",
                "concat",
                "concat_ws",
                "make_array",
                "map",
                "map_entries",
                "named_struct",
                "overlay",
                "struct",
                JOINED_TEXT,
            ],
        ),
        // Each byte may become two hexadecimal digits, and two digits a byte.
        (Growth::Times(2), &["decode", "encode"]),
        // A letter may become three letters, a byte four bytes, and an element of a list has an offset of four bytes.
        (Growth::Times(4), &["arrays_zip", "initcap", "lower", "translate", "upper"]),
        (Growth::Times(8), &["string_to_array"]),
        (Growth::Joined, &["array_to_string"]),
        (Growth::Replaced, &["replace"]),
        (Growth::RegexReplaced, &["regexp_replace"]),
        (Growth::RegexMatched, &["regexp_match"]),
        (Growth::ElementsReplaced, &["array_replace", "array_replace_all", "array_replace_n"]),
        (Growth::Formatted, &["to_char"]),
        (Growth::Sized, &["lpad", "repeat", "rpad"]),
    ];
    let more = [("levenshtein", Growth::EachWithEach), ("arrow_cast", Growth::OfNamedKind)];
    let named = kinds.into_iter().flat_map(|(growth, names)| names.iter().map(move |name| (*name, growth)));
    named.chain(more).collect()
});

/// The name of the measured function for `a || b`.
const JOINED_TEXT: &str = "joined_text";

/// The functions of a query, which reserve their memory from a pool.
#[derive(Debug, Clone)]
pub(crate) struct Functions {
    named: HashMap<String, Arc<ScalarUDF>>,
    joined_text: Arc<ScalarUDF>,
}

impl Functions {
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let consumer = MemoryConsumer::new("what functions make");
        let account = Arc::new(Account { pool: Arc::clone(pool), constants: consumer.register(pool) });
        let measured = |inner: Arc<dyn ScalarUDFImpl>, growth| {
            let measured = ReservingFunction { inner, growth, account: Arc::clone(&account) };
            Arc::new(ScalarUDF::new_from_impl(measured))
        };
        let offered = SessionStateDefaults::default_scalar_functions().into_iter().filter_map(|function| {
            let growth = GROWTH.get(function.name()).filter(|_| !LEFT_OUT.contains(&function.name()))?;
            let (name, function) = (function.name().to_owned(), wide(function));
            Some((
                name,
                if *growth == Growth::Fixed { function } else { measured(Arc::clone(function.inner()), *growth) },
            ))
        });
        let mut named: HashMap<String, Arc<ScalarUDF>> = offered.collect();
        let grouped = [
            (json::functions(), Growth::NotLonger),
            (row_functions::small(), Growth::Fixed),
            (row_functions::formatting(), Growth::Formatted),
            // Each element of a list takes some bytes in addition to its text.
            (row_functions::splitting(), Growth::Times(8)),
            (row_functions::matching(), Growth::AllMatched),
            (json_values::making(), Growth::Json),
            (json_values::rewriting(), Growth::JsonRewritten),
            (json_values::marking(), Growth::NotLonger),
        ];
        let grouped = grouped
            .into_iter()
            .flat_map(|(functions, growth)| functions.into_iter().map(move |function| (function, growth)));
        let parts: Vec<Arc<ScalarUDF>> = grouped.map(|(function, growth)| measured(function, growth)).collect();
        named.extend(
            parts
                .into_iter()
                .chain([timezone(), age(), value_in_list()])
                .map(|function| (function.name().to_owned(), function)),
        );
        Self { named, joined_text: measured(Arc::new(JoinedText::default()), Growth::Times(1)) }
    }

    /// Adds functions whose values are small.
    pub(crate) fn with(mut self, more: Vec<Arc<ScalarUDF>>) -> Self {
        self.named.extend(more.into_iter().map(|function| (function.name().to_owned(), function)));
        self
    }

    pub(crate) fn all(&self) -> Vec<Arc<ScalarUDF>> {
        self.named.values().map(Arc::clone).collect()
    }

    /// Replaces the functions of a plan with measured ones, including those written as operators or special syntax.
    pub(crate) fn measured(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| self.measured_call(expr))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        })
        .data()
    }

    fn measured_call(&self, expr: Expr) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
                Ok(Transformed::yes(self.joined_text.call(vec![*left, *right])))
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                let inner = func.inner().as_any();
                let is_fixed = GROWTH.get(func.name()) == Some(&Growth::Fixed) && !is_replaced(func.name());
                if inner.is::<ReservingFunction>() || inner.is::<WideFunction>() || inner.is::<PgFunction>() || is_fixed
                {
                    return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
                }
                match self.named.get(func.name()) {
                    Some(func) => {
                        let func = Arc::clone(func);
                        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
                    }
                    None => Err(DataFusionError::Plan(format!("invalid function '{}'", func.name()))),
                }
            }
            expr => Ok(Transformed::no(expr)),
        }
    }
}

/// The sources of memory.
#[derive(Debug)]
struct Account {
    pool: Arc<dyn MemoryPool>,
    /// For values that are the same for all rows: they become part of the plan, and are retained until the query ends.
    constants: MemoryReservation,
}

/// A function that reserves memory before it creates values.
#[derive(Debug)]
struct ReservingFunction {
    inner: Arc<dyn ScalarUDFImpl>,
    growth: Growth,
    account: Arc<Account>,
}

impl PartialEq for ReservingFunction {
    fn eq(&self, other: &Self) -> bool {
        self.inner.dyn_eq(other.inner.as_any())
    }
}

impl Eq for ReservingFunction {}

impl Hash for ReservingFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.dyn_hash(state);
    }
}

impl ScalarUDFImpl for ReservingFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn simplify(
        &self,
        args: Vec<Expr>,
        info: &datafusion::logical_expr::simplify::SimplifyContext,
    ) -> Result<datafusion::logical_expr::simplify::ExprSimplifyResult> {
        // Other functions would be simplified to the engine's own functions, which are not measured.
        match self.growth {
            Growth::NotLonger | Growth::OfNamedKind if !self.names_a_size(&args) => self.inner.simplify(args, info),
            _ => Ok(datafusion::logical_expr::simplify::ExprSimplifyResult::Original(args)),
        }
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.bytes(&args)?;
        if bytes > BATCH_BYTES_MAX {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} would create {bytes} bytes at once; the limit is {BATCH_BYTES_MAX}",
                self.name()
            )));
        }
        if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            self.account.constants.try_grow(bytes)?;
            return self.inner.invoke_with_args(args);
        }
        let reservation = MemoryConsumer::new(self.name()).register(&self.account.pool);
        reservation.try_grow(bytes)?;
        // The reservation ends with the call: an operator that retains the values, such as a sort, counts them itself.
        self.inner.invoke_with_args(args)
    }
}

impl ReservingFunction {
    fn names_a_size(&self, args: &[Expr]) -> bool {
        let names_one = |arg: &Expr| match arg {
            Expr::Literal(value, _) => value.to_string().contains("FixedSize"),
            _ => false,
        };
        self.growth == Growth::OfNamedKind && args.iter().skip(1).any(names_one)
    }

    /// Returns the maximum size of the results of a call. Unit: bytes.
    fn bytes(&self, call: &ScalarFunctionArgs) -> Result<usize> {
        let (args, rows) = (call.args.as_slice(), call.number_rows);
        let sum =
            |args: &[ColumnarValue]| args.iter().fold(0_usize, |sum, arg| sum.saturating_add(total_bytes(arg, rows)));
        Ok(match self.growth {
            Growth::Fixed => 0,
            // Arguments that are columns are in memory already.
            Growth::NotLonger => {
                let constants = args.iter().filter(|arg| matches!(arg, ColumnarValue::Scalar(_)));
                constants.map(|arg| total_bytes(arg, rows)).fold(0, usize::saturating_add)
            }
            Growth::Times(times) => {
                // The separator of `concat_ws` is between all others.
                let again = if self.name() == "concat_ws" { args.len() } else { 1 };
                let separators = args.first().map_or(0, |first| total_bytes(first, rows)).saturating_mul(again);
                sum(args).saturating_add(separators).saturating_mul(times)
            }
            Growth::Joined => {
                let elements = args.first().map_or(0, |list| list_elements(list, rows));
                let between: usize = args.iter().skip(1).map(longest).fold(0, usize::saturating_add);
                let texts = args.first().map_or(0, |list| total_bytes(list, rows));
                texts.saturating_mul(4).saturating_add(elements.saturating_mul(between.saturating_add(1)))
            }
            Growth::Replaced => match args {
                [text, from, to] => replaced_bytes(text, from, to, rows)?,
                _ => sum(args),
            },
            Growth::RegexReplaced => regex_replaced_bytes(call)?,
            Growth::RegexMatched => {
                let groups = args.get(1).map_or(0, longest);
                args.first().map_or(0, |text| total_bytes(text, rows)).saturating_mul(groups.saturating_add(1))
            }
            Growth::AllMatched => all_matched_bytes(args, rows)?,
            Growth::ElementsReplaced => {
                let elements = args.first().map_or(0, |list| list_elements(list, rows));
                let to = args.get(2).map_or(0, longest);
                sum(args).saturating_add(elements.saturating_mul(to))
            }
            Growth::Formatted => args.get(1).map_or(0, |form| total_bytes(form, rows)).saturating_mul(32),
            Growth::Json => json_values::made_bytes(call),
            Growth::JsonRewritten => json_values::binary_bytes(sum(args), args.first().map_or(0, longest)),
            Growth::Sized => sized_bytes(self.name() == "repeat", args, rows)?,
            Growth::EachWithEach => {
                let [left, right] = args else { return Ok(0) };
                let (left, right) = (Texts::of(left)?, Texts::of(right)?);
                let pairs = (0..rows).map(|row| left.at(row).len().saturating_mul(right.at(row).len()));
                if pairs.fold(0, usize::saturating_add) > PAIRS_MAX {
                    let message = format!("{} of texts of this length takes too long", self.name());
                    return Err(DataFusionError::ResourcesExhausted(message));
                }
                0
            }
            Growth::OfNamedKind => {
                let names = args.iter().skip(1).any(|kind| match kind {
                    ColumnarValue::Scalar(kind) => kind.to_string().contains("FixedSize"),
                    ColumnarValue::Array(_) => true,
                });
                if names || call.return_field.data_type().to_string().contains("FixedSize") {
                    let message = format!("{} makes no values of a fixed size", self.name());
                    return Err(DataFusionError::Plan(message));
                }
                sum(args)
            }
        })
    }
}

/// Returns the size of the values of an argument, one for each row. Unit: bytes.
fn total_bytes(value: &ColumnarValue, rows: usize) -> usize {
    match value {
        ColumnarValue::Array(array) => array_bytes(array),
        ColumnarValue::Scalar(_) => longest(value).saturating_mul(rows),
    }
}

fn array_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().iter().flatten().map(str::len).sum(),
        DataType::Utf8 => text_bytes::<i32>(array),
        DataType::LargeUtf8 => text_bytes::<i64>(array),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn text_bytes<O: OffsetSizeTrait>(array: &ArrayRef) -> usize {
    let offsets = array.as_string::<O>().value_offsets();
    offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (*last - *first).as_usize())
}

/// Returns an upper bound of the length of the longest value of an argument. Unit: bytes.
fn longest(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Scalar(value) => match value.try_as_str() {
            Some(text) => text.map_or(0, str::len),
            None => value.size(),
        },
        ColumnarValue::Array(array) => match Texts::of(value) {
            Ok(texts) => (0..array.len()).map(|row| texts.at(row).len()).max().unwrap_or(0),
            Err(_) => array_bytes(array),
        },
    }
}

/// Returns the number of elements of the lists of an argument, including those of nested lists.
fn list_elements(value: &ColumnarValue, rows: usize) -> usize {
    fn leaves(array: &ArrayRef) -> usize {
        match array.data_type() {
            DataType::List(_) => leaves(array.as_list::<i32>().values()),
            DataType::LargeList(_) => leaves(array.as_list::<i64>().values()),
            DataType::FixedSizeList(..) => leaves(array.as_fixed_size_list().values()),
            _ => array.len(),
        }
    }
    match value {
        ColumnarValue::Array(array) => leaves(array),
        ColumnarValue::Scalar(value) => value.to_array().map_or(0, |array| leaves(&array)).saturating_mul(rows),
    }
}

/// The texts of an argument, one for each row.
enum Texts<'a> {
    One(&'a str),
    Short(&'a GenericStringArray<i32>),
    Long(&'a GenericStringArray<i64>),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    fn of(value: &'a ColumnarValue) -> Result<Self> {
        let other = |kind: &DataType| DataFusionError::Internal(format!("a text was expected, not {kind}"));
        match value {
            ColumnarValue::Scalar(ScalarValue::Null) => Ok(Self::One("")),
            ColumnarValue::Scalar(value) => {
                let text = value.try_as_str().ok_or_else(|| other(&value.data_type()))?;
                Ok(Self::One(text.unwrap_or_default()))
            }
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 => Ok(Self::Short(array.as_string())),
                DataType::LargeUtf8 => Ok(Self::Long(array.as_string())),
                DataType::Utf8View => Ok(Self::View(array.as_string_view())),
                kind => Err(other(kind)),
            },
        }
    }

    fn at(&self, row: usize) -> &'a str {
        match self {
            Self::One(text) => text,
            Self::Short(texts) => texts.value(row),
            Self::Long(texts) => texts.value(row),
            Self::View(texts) => texts.value(row),
        }
    }
}

/// Returns the maximum size of the results of `repeat(text, count)`, `lpad(text, length, fill)` and `rpad`. Unit:
/// bytes.
fn sized_bytes(is_repeated: bool, args: &[ColumnarValue], rows: usize) -> Result<usize> {
    let [text, size, ..] = args else { return Ok(0) };
    let sizes = size.cast_to(&DataType::Int64, None)?.into_array(rows)?;
    let sizes = sizes.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    let texts = Texts::of(text)?;
    let bytes = (0..rows).map(|row| {
        let size = usize::try_from(sizes.value(row)).unwrap_or(0);
        match is_repeated {
            true => texts.at(row).len().saturating_mul(size),
            // A letter has up to four bytes.
            false => size.saturating_mul(4),
        }
    });
    Ok(bytes.fold(0, usize::saturating_add))
}

/// Returns the maximum size of the results of `all_matches(text, pattern, flags)`. Unit: bytes.
fn all_matched_bytes(args: &[ColumnarValue], rows: usize) -> Result<usize> {
    /// Memory of a group in addition to its text, including spare capacity. Unit: bytes.
    const GROUP_BYTES: usize = 32;
    let [text, pattern, flags] = args else { return Ok(0) };
    let texts = total_bytes(text, rows);
    // Each group begins with a parenthesis of the expression.
    let groups = longest(pattern).saturating_add(1);
    let most = texts.saturating_add(rows).saturating_mul(GROUP_BYTES).saturating_add(texts).saturating_mul(groups);
    if most <= COUNTED_FROM_BYTES {
        return Ok(most);
    }
    let (text, pattern, flags) = (Texts::of(text)?, Texts::of(pattern)?, Texts::of(flags)?);
    (0..rows).try_fold(0_usize, |sum, row| {
        let count = row_functions::groups_count(text.at(row), pattern.at(row), flags.at(row))?;
        let brackets = pattern.at(row).matches('(').count().max(1);
        let bytes = count.saturating_mul(GROUP_BYTES).saturating_add(text.at(row).len().saturating_mul(brackets));
        Ok(sum.saturating_add(bytes))
    })
}

fn replaced_bytes(text: &ColumnarValue, from: &ColumnarValue, to: &ColumnarValue, rows: usize) -> Result<usize> {
    let (text, from, to) = (Texts::of(text)?, Texts::of(from)?, Texts::of(to)?);
    let bytes = (0..rows).map(|row| {
        let (text, from, to) = (text.at(row), from.at(row), to.at(row));
        if to.len() <= from.len() {
            return text.len();
        }
        let count = if from.is_empty() {
            text.chars().count() + 1
        } else {
            memchr::memmem::find_iter(text.as_bytes(), from.as_bytes()).count()
        };
        text.len().saturating_add(count.saturating_mul(to.len() - from.len()))
    });
    Ok(bytes.fold(0, usize::saturating_add))
}

fn regex_replaced_bytes(call: &ScalarFunctionArgs) -> Result<usize> {
    let rows = call.number_rows;
    let [text, pattern, to, flags @ ..] = call.args.as_slice() else { return Ok(0) };
    // Each reference to a group repeats at most the whole match.
    let mentions = match to {
        ColumnarValue::Scalar(to) => to.to_string().matches(['\\', '$']).count(),
        ColumnarValue::Array(_) => longest(to),
    };
    let repeated = total_bytes(text, rows).saturating_mul(mentions.saturating_add(1));
    let texts = Texts::of(text)?;
    let most: usize = (0..rows).map(|row| texts.at(row).len() + 1).fold(0, usize::saturating_add);
    let (most, each) = (most, longest(to));
    let bytes = repeated.saturating_add(most.saturating_mul(each));
    if bytes <= COUNTED_FROM_BYTES {
        return Ok(bytes);
    }
    let flags: Vec<ColumnarValue> = match flags {
        [] => return Ok(repeated.saturating_add(rows.saturating_mul(each))),
        [ColumnarValue::Scalar(flags)] => {
            let flags = flags.try_as_str().flatten().unwrap_or_default();
            if !flags.contains('g') {
                return Ok(repeated.saturating_add(rows.saturating_mul(each)));
            }
            vec![ColumnarValue::Scalar(ScalarValue::Utf8(Some(flags.replace('g', ""))))]
        }
        _ => Vec::new(),
    };
    let like_text = |value: &ColumnarValue| value.cast_to(&DataType::Utf8View, None);
    let mut args = vec![like_text(text)?, like_text(pattern)?];
    args.push(ColumnarValue::Scalar(ScalarValue::Int64(Some(1))));
    args.extend(flags.iter().map(like_text).collect::<Result<Vec<_>>>()?);
    let fields = args.iter().map(|arg| Arc::new(Field::new("", arg.data_type(), true)) as FieldRef).collect();
    let counted = regexp_count().invoke_with_args(ScalarFunctionArgs {
        args,
        arg_fields: fields,
        number_rows: rows,
        return_field: Arc::new(Field::new("", DataType::Int64, true)),
        config_options: Arc::clone(&call.config_options),
    })?;
    let counted = counted.into_array(rows)?;
    let counts = counted.as_any().downcast_ref::<Int64Array>();
    let places: i64 = counts.map_or(0, |counts| counts.iter().flatten().fold(0, i64::saturating_add));
    let places = usize::try_from(places).unwrap_or(usize::MAX);
    Ok(repeated.saturating_add(places.saturating_mul(each)))
}

/// `a || b`, as the engine joins texts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JoinedText {
    signature: Signature,
}

impl Default for JoinedText {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JoinedText {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        JOINED_TEXT
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>().join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = arg_types else {
            return Err(DataFusionError::Internal("two texts are joined".to_owned()));
        };
        let (left, right) = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [left, right] = arg_types else {
            return Err(DataFusionError::Internal("two texts are joined".to_owned()));
        };
        BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = call.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { call.number_rows };
        let columns = call.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new("", column.data_type().clone(), true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let column = |index| Arc::new(Column::new("", index)) as Arc<dyn PhysicalExpr>;
        let joined = PhysicalBinary::new(column(0), Operator::StringConcat, column(1)).evaluate(&batch)?;
        match joined {
            ColumnarValue::Array(array) if is_constant => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            joined => Ok(joined),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_of_the_engine_is_known_or_left_out() {
        let unknown: Vec<String> = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .map(|function| function.name().to_owned())
            .filter(|name| !GROWTH.contains_key(name.as_str()) && !LEFT_OUT.contains(&name.as_str()))
            .collect();
        assert_eq!(unknown, Vec::<String>::new(), "say how much each makes");
    }

    #[test]
    fn no_function_is_known_that_the_engine_has_not() {
        let names: Vec<String> = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .map(|function| function.name().to_owned())
            .collect();
        let gone: Vec<&&str> =
            GROWTH.keys().filter(|name| **name != JOINED_TEXT && !names.iter().any(|known| known == **name)).collect();
        assert_eq!(gone, Vec::<&&str>::new());
    }
}
