//! Workarounds for bugs of the engine, with equivalent plans.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionImplementation, TableScan,
    Union, Volatility, cast, create_udf, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::functions::arithmetic::with_checked_sign;
use crate::functions::casts::{with_postgres_texts, with_postgres_values};
use crate::functions::guards::with_guards;
use crate::functions::in_subquery::with_three_valued_lists;
use crate::functions::intervals::{with_postgres_intervals, with_sorted_intervals};
use crate::functions::single_row::with_single_row;
use crate::functions::subqueries::with_subqueries_first;
use crate::functions::times::{is_utc, with_wide_times};

/// Nanoseconds of an instant.
const INSTANT_NS: i128 = 1_000_000;

/// Applies the workarounds to a plan.
pub(crate) fn with_workarounds(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = with_recursive_terms(plan)?;
    let plan = plan.transform_up_with_subqueries(|plan| {
        let (names, schema) = (NamePreserver::new(&plan), input_schema(&plan)?);
        let is_values = matches!(plan, LogicalPlan::Values(_));
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| {
                with_postgres_values(expr, &schema, is_values)?
                    .transform_data(with_strict_filter)?
                    .transform_data(with_single_row)?
                    .transform_data(|expr| {
                        Ok(if is_values { Transformed::no(expr) } else { with_postgres_intervals(expr, &schema) })
                    })?
                    .transform_data(|expr| with_counted_list(expr, &schema))?
                    .transform_data(|expr| Ok(with_whole_instants(expr, &schema)))?
                    // The types of `VALUES` are fixed when the query is parsed.
                    .transform_data(|expr| {
                        Ok(if is_values { Transformed::no(expr) } else { with_wide_times(expr, &schema) })
                    })
            })?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?
        .map_data(with_recomputed_schema)?
        .transform_data(with_sorted_intervals)?
        .transform_data(with_three_valued_lists)?
        .transform_data(with_subqueries_first)?
        .transform_data(with_guards)
    })?;
    Ok(plan.data)
}

/// Updates the table that a recursive query reads from itself: its types were fixed when the query was parsed, and
/// those of its first rows may have changed since.
fn with_recursive_terms(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|plan| {
        let LogicalPlan::RecursiveQuery(mut query) = plan else { return Ok(Transformed::no(plan)) };
        let first = with_workarounds(Arc::unwrap_or_clone(query.static_term))?;
        let kinds: SchemaRef = Arc::clone(first.schema().inner());
        let further = Arc::unwrap_or_clone(query.recursive_term).transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::TableScan(scan)
                if scan.table_name.table() == query.name
                    && source_as_provider(&scan.source)?.as_any().is::<CteWorkTable>() =>
            {
                let table = Arc::new(CteWorkTable::new(&query.name, Arc::clone(&kinds)));
                let TableScan { table_name, projection, filters, fetch, .. } = scan;
                let scan = TableScan::try_new(table_name, provider_as_source(table), projection, filters, fetch)?;
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            plan => with_recomputed_schema(plan).map(Transformed::yes),
        })?;
        query.recursive_term = Arc::new(with_workarounds(further.data)?);
        query.static_term = Arc::new(first);
        Ok(Transformed::new(LogicalPlan::RecursiveQuery(query), true, TreeNodeRecursion::Jump))
    })?;
    Ok(plan.data)
}

/// Recomputes the column types of a plan after its expressions were changed.
fn with_recomputed_schema(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Union(union) => Ok(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?)),
        plan => plan.recompute_schema(),
    }
}

fn input_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = DFSchema::empty();
    plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
    Ok(schema)
}

/// `count(*) FILTER (WHERE x)` also counts rows for which `x` is unknown (null): its accumulators check the bit of each
/// value but not its validity. `FILTER (WHERE x IS TRUE)` is equivalent and never unknown. To be removed when
/// tests/sql/run passes without it.
fn with_strict_filter(mut expr: Expr) -> Result<Transformed<Expr>> {
    let filter = match &mut expr {
        Expr::AggregateFunction(call) => call.params.filter.as_mut(),
        Expr::WindowFunction(call) => call.params.filter.as_mut(),
        _ => None,
    };
    let Some(filter) = filter else { return Ok(Transformed::no(expr)) };
    **filter = std::mem::take(&mut **filter).is_true();
    Ok(Transformed::yes(expr))
}

/// `array_agg` counts only the views of the collected texts, not their buffers, so that a query for all messages of an
/// archive exhausts the memory. For contiguous texts, everything is counted. To be removed when the state of functions
/// counts as memory without it (`tests/sql.rs`).
fn with_counted_list(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(call) = &mut expr else { return Ok(Transformed::no(expr)) };
    match call.params.args.first_mut() {
        Some(text) if call.func.name() == "array_agg" && text.get_type(schema)? == DataType::Utf8View => {
            *text = cast(std::mem::take(text), DataType::LargeUtf8);
            Ok(Transformed::yes(expr))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// A time between two instants is rounded down before it is compared with a column of whole instants, so that `time <
/// '….123456'` loses the record of .123. Here it is rounded in the direction that preserves the meaning. To be removed
/// when the tests of finer times pass without it (`tests/sql.rs`).
fn with_whole_instants(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if let Some(around) = instants_around(left, right, schema) {
                compared(left, *op, around)
            } else if let Some(around) = instants_around(right, left, schema) {
                compared(right, op.swap().unwrap_or(*op), around)
            } else {
                None
            }
        }
        Expr::Between(between) => {
            let low = instants_around(&between.expr, &between.low, schema);
            let high = instants_around(&between.expr, &between.high, schema);
            if low.is_none() && high.is_none() {
                return Transformed::no(expr);
            }
            if let Some(around) = low {
                *between.low = around.later;
            }
            if let Some(around) = high {
                *between.high = around.earlier;
            }
            return Transformed::yes(expr);
        }
        Expr::InList(list) => {
            let count = list.list.len();
            let time = list.expr.as_ref();
            list.list.retain(|value| instants_around(time, value, schema).is_none());
            if list.list.len() == count {
                return Transformed::no(expr);
            }
            if !list.list.is_empty() {
                return Transformed::yes(expr);
            }
            Some(unless_unknown(time, list.negated))
        }
        _ => None,
    };
    match changed {
        Some(changed) => Transformed::yes(changed),
        None => Transformed::no(expr),
    }
}

/// The instants before and after a time between them.
struct Around {
    earlier: Expr,
    later: Expr,
}

fn compared(time: &Expr, op: Operator, around: Around) -> Option<Expr> {
    let side = match op {
        Operator::Lt | Operator::GtEq => around.later,
        Operator::LtEq | Operator::Gt => around.earlier,
        Operator::Eq => return Some(unless_unknown(time, false)),
        Operator::NotEq => return Some(unless_unknown(time, true)),
        Operator::IsDistinctFrom => return Some(lit(true)),
        Operator::IsNotDistinctFrom => return Some(lit(false)),
        _ => return None,
    };
    Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(time.clone()), op, Box::new(side))))
}

/// Returns an expression that is always `always`, but null if the time is null.
fn unless_unknown(time: &Expr, always: bool) -> Expr {
    let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
    if always { time.clone().is_not_null().or(unknown) } else { time.clone().is_null().and(unknown) }
}

/// Returns the neighbouring instants of a constant that is compared with a time column of whole instants; none if the
/// constant is an instant itself.
fn instants_around(time: &Expr, value: &Expr, schema: &DFSchema) -> Option<Around> {
    if !value.column_refs().is_empty() || !is_whole_instant(time, schema) {
        return None;
    }
    let DataType::Timestamp(_, zone) = time.get_type(schema).ok()? else { return None };
    // Expressions without a value, such as parameters or invalid ones, are left to the engine, which reports errors.
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let ns_of = |value: Expr| -> Option<i128> {
        let value = simplifier.coerce(value, &DFSchema::empty()).and_then(|value| simplifier.simplify(value)).ok()?;
        match value {
            Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), _), _) => Some(ns.into()),
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(us), _), _) => Some(i128::from(us) * 1_000),
            _ => None,
        }
    };
    let ns = match value.get_type(schema).ok()? {
        // Times out of the range of nanoseconds are parsed in microseconds.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let in_units = |unit| ns_of(cast(value.clone(), DataType::Timestamp(unit, zone.clone())));
            in_units(TimeUnit::Nanosecond).or_else(|| in_units(TimeUnit::Microsecond))?
        }
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => ns_of(value.clone())?,
        _ => return None,
    };
    if ns.rem_euclid(INSTANT_NS) == 0 {
        return None;
    }
    let earlier = i64::try_from(ns.div_euclid(INSTANT_NS)).ok()?;
    let instant = |ms: i64| Expr::Literal(ScalarValue::TimestampMillisecond(Some(ms), zone.clone()), None);
    Some(Around { earlier: instant(earlier), later: instant(earlier.checked_add(1)?) })
}

/// Whether a time has no parts finer than a millisecond, regardless of its unit.
fn is_whole_instant(time: &Expr, schema: &DFSchema) -> bool {
    match time.get_type(schema) {
        Ok(DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _)) => true,
        Ok(DataType::Timestamp(_, _)) => match time {
            Expr::Cast(cast) => is_whole_instant(&cast.expr, schema),
            _ => false,
        },
        _ => false,
    }
}

/// Workarounds that are applied after type coercion: operators that may overflow, shifts of times, and texts of values.
#[derive(Debug)]
pub(crate) struct AfterTypeCoercion;

impl AnalyzerRule for AfterTypeCoercion {
    fn name(&self) -> &str {
        "after_type_coercion"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            // The engine reads the numbers of a limit from its expressions, which therefore stay unchanged.
            if matches!(plan, LogicalPlan::Limit(_)) {
                return Ok(Transformed::no(plan));
            }
            let (names, schema) = (NamePreserver::new(&plan), input_schema(&plan)?);
            let mut kept = |expr: Expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| {
                    with_kept_shift(expr, &schema)
                        .transform_data(|expr| Ok(with_checked_sign(expr, &schema)))?
                        .transform_data(|expr| Ok(with_postgres_texts(expr, &schema)))
                })?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            };
            plan.map_expressions(|expr| match expr {
                // The parts of a grouping set have names, but not the set itself.
                Expr::GroupingSet(_) => expr.map_children(&mut kept),
                _ => kept(expr),
            })
        })?;
        if !plan.transformed {
            return Ok(plan.data);
        }
        let plan = plan.data.transform_up_with_subqueries(|plan| plan.recompute_schema().map(Transformed::yes))?;
        Ok(plan.data)
    }
}

/// Keeps the shift of a time without a zone that gets one: the optimizer removes any cast of a time that is compared
/// with a constant, as if the cast only changed the unit. It does not change the result of a function. To be removed
/// when the tests of zones pass without it (`tests/sql.rs`).
fn with_kept_shift(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (inner, to) = match &expr {
        Expr::Cast(cast) => (&cast.expr, &cast.data_type),
        Expr::TryCast(cast) => (&cast.expr, &cast.data_type),
        _ => return Transformed::no(expr),
    };
    let shifts = match (inner.get_type(schema), to) {
        (Ok(DataType::Timestamp(_, None)), DataType::Timestamp(_, Some(zone))) => !is_utc(zone),
        _ => false,
    };
    if !shifts {
        return Transformed::no(expr);
    }
    let kind = to.clone();
    let shifted = create_udf("shifted", vec![kind.clone()], kind, Volatility::Immutable, Arc::clone(&AS_IT_IS));
    Transformed::yes(shifted.call(vec![expr]))
}

/// Shared by all calls, so that equal expressions stay equal.
static AS_IT_IS: LazyLock<ScalarFunctionImplementation> = LazyLock::new(|| Arc::new(as_it_is));

fn as_it_is(values: &[ColumnarValue]) -> Result<ColumnarValue> {
    Ok(values[0].clone())
}
