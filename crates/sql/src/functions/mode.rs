//! `mode() WITHIN GROUP (ORDER BY value)`: the value that occurs most often.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// Returns the aggregates that replace `mode()` in the plan, one for each sort direction: of values that occur equally
/// often, the first one is returned.
pub(crate) fn modes() -> [Arc<AggregateUDF>; 2] {
    [("mode_ascending", false), ("mode_descending", true)].map(|(name, is_descending)| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Mode { name, is_descending, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mode {
    name: &'static str,
    is_descending: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Mode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        kinds.first().cloned().ok_or_else(|| DataFusionError::Plan("mode() takes one value".to_owned()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name: &str, kind: DataType| {
            Arc::new(Field::new(format_state_name(args.name, name), DataType::new_list(kind, true), true))
        };
        Ok(vec![list("values", args.return_field.data_type().clone()), list("counts", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = args.return_field.data_type().clone();
        Ok(Box::new(Counts { kind, is_descending: self.is_descending, counts: HashMap::new(), bytes: 0 }))
    }
}

/// How often each value has occurred.
#[derive(Debug)]
struct Counts {
    kind: DataType,
    is_descending: bool,
    counts: HashMap<ScalarValue, i64>,
    /// Memory of the values. Unit: bytes.
    bytes: usize,
}

impl Counts {
    fn add(&mut self, value: ScalarValue, count: i64) {
        // A copy, which does not keep the whole batch in memory.
        let value = value.compacted();
        let bytes = value.size() + size_of::<(ScalarValue, i64)>();
        let known = self.counts.len();
        *self.counts.entry(value).or_default() += count;
        if self.counts.len() > known {
            self.bytes += bytes;
        }
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = &values[0];
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            self.add(ScalarValue::try_from_array(values, row)?, 1);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let (values, counts) = (values.value(row), counts.value(row));
            let counts = counts.as_primitive::<Int64Type>();
            for index in 0..values.len() {
                self.add(ScalarValue::try_from_array(&values, index)?, counts.value(index));
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts): (Vec<ScalarValue>, Vec<ScalarValue>) =
            self.counts.drain().map(|(value, count)| (value, ScalarValue::Int64(Some(count)))).unzip();
        let list = |values: &[ScalarValue], kind| ScalarValue::List(ScalarValue::new_list(values, kind, true));
        Ok(vec![list(&values, &self.kind), list(&counts, &DataType::Int64)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let order = |left: &ScalarValue, right: &ScalarValue| {
            let order = left.partial_cmp(right).unwrap_or(Ordering::Equal);
            if self.is_descending { order } else { order.reverse() }
        };
        let most =
            self.counts.iter().max_by(|(value, count), (other, others)| count.cmp(others).then(order(value, other)));
        most.map_or_else(|| ScalarValue::try_from(&self.kind), |(value, _)| Ok(value.clone()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}
