//! Sums of integers that fail on overflow.
//!
//! The engine's own sum wraps around. This one adds decimal numbers of 38 digits, which no possible number of rows can
//! exceed, and only the result must fit.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// The type in which integers are added.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Replaces the sum of the engine with this one.
pub(crate) fn with_checked_sum(functions: Vec<Arc<AggregateUDF>>) -> Vec<Arc<AggregateUDF>> {
    let replaced = |function: Arc<AggregateUDF>| match function.name() {
        "sum" => Arc::new(AggregateUDF::new_from_impl(CheckedSum { inner: function })),
        _ => function,
    };
    functions.into_iter().map(replaced).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Arc<AggregateUDF>,
}

/// Returns the field of the wide state of a sum; none if the engine's own sum is used.
fn wide_field(field: &FieldRef) -> Option<FieldRef> {
    let is_whole = matches!(field.data_type(), DataType::Int64 | DataType::UInt64);
    is_whole.then(|| Arc::new(Field::clone(field).with_data_type(WIDE)))
}

fn wide_args<'a>(args: &AccumulatorArgs<'a>, return_field: FieldRef) -> AccumulatorArgs<'a> {
    AccumulatorArgs { return_field, ..args.clone() }
}

impl AggregateUDFImpl for CheckedSum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some(wide) = wide_field(&args.return_field) else { return self.inner.accumulator(args) };
        let kind = args.return_type().clone();
        let inner = self.inner.accumulator(wide_args(&args, wide))?;
        Ok(Box::new(Narrowed { inner, kind }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match wide_field(&args.return_field) {
            Some(return_field) => self.inner.state_fields(StateFieldsArgs { return_field, ..args }),
            None => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(wide) = wide_field(&args.return_field) else { return self.inner.create_groups_accumulator(args) };
        let kind = args.return_type().clone();
        let inner = self.inner.create_groups_accumulator(wide_args(&args, wide))?;
        Ok(Box::new(NarrowedGroups { inner, kind }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match wide_field(&args.return_field).filter(|_| !args.is_distinct) {
            Some(wide) => {
                let kind = args.return_type().clone();
                let inner = self.inner.create_sliding_accumulator(wide_args(&args, wide))?;
                Ok(Box::new(Narrowed { inner, kind }))
            }
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(kind)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    Ok(values.iter().map(|values| cast(values, &WIDE)).collect::<Result<_, _>>()?)
}

fn narrowed(sums: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let narrowed = cast_with_options(sums, kind, &options);
    Ok(narrowed.map_err(|_| ArrowError::ArithmeticOverflow("a sum is out of the range of its type".to_owned()))?)
}

/// The sum of one group.
#[derive(Debug)]
struct Narrowed {
    inner: Box<dyn Accumulator>,
    kind: DataType,
}

impl Accumulator for Narrowed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&narrowed(&sum, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The sums of many groups.
struct NarrowedGroups {
    inner: Box<dyn GroupsAccumulator>,
    kind: DataType,
}

impl GroupsAccumulator for NarrowedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widened(values)?, groups, filter, groups_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        narrowed(&self.inner.evaluate(emit_to)?, &self.kind)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_count: usize,
    ) -> Result<()> {
        self.inner.merge_batch(values, groups, filter, groups_count)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widened(values)?, filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
