//! `ntile` with the larger buckets first, as required by SQL: the engine distributes them differently.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, Signature, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

/// Replaces the `ntile` of the engine with this one.
pub(crate) fn with_ntile(functions: Vec<Arc<WindowUDF>>) -> Vec<Arc<WindowUDF>> {
    let replaced = |function: Arc<WindowUDF>| match function.name() {
        "ntile" => Arc::new(WindowUDF::new_from_impl(Ntile { signature: function.signature().clone() })),
        _ => function,
    };
    functions.into_iter().map(replaced).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ntile {
    signature: Signature,
}

impl WindowUDFImpl for Ntile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "ntile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let literal = args.input_exprs().first().and_then(|arg| arg.as_any().downcast_ref::<Literal>());
        let count = literal.and_then(|literal| match literal.value().cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(count))) => u64::try_from(count).ok().filter(|count| *count > 0),
            _ => None,
        });
        let count = count.ok_or_else(|| DataFusionError::Execution("ntile takes a number from 1".to_owned()))?;
        Ok(Box::new(Parts { count }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::UInt64, false)))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Parts {
    count: u64,
}

impl PartitionEvaluator for Parts {
    fn evaluate_all(&mut self, _: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let (size, larger) = (rows / self.count, rows % self.count);
        let of_larger = larger * (size + 1);
        let part = |row: u64| match row < of_larger {
            true => row / (size + 1) + 1,
            false => (row - of_larger) / size.max(1) + larger + 1,
        };
        Ok(Arc::new(UInt64Array::from_iter_values((0..rows).map(part))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_larger_come_first() {
        let parts = |count, rows| {
            let parts = Parts { count }.evaluate_all(&[], rows).unwrap();
            let parts = parts.as_any().downcast_ref::<UInt64Array>().unwrap();
            parts.values().iter().map(ToString::to_string).collect::<Vec<_>>().join("")
        };
        assert_eq!(parts(4, 10), "1112223344");
        assert_eq!(parts(4, 8), "11223344");
        assert_eq!(parts(5, 2), "12");
        assert_eq!(parts(1, 3), "111");
        assert_eq!(parts(3, 0), "");
    }
}
