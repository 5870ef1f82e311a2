//! `+`, `-` and `*` of integers that fail on overflow; the operators of the engine wrap around.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// The functions for `+`, `-` and `*`, shared by all queries, so that equal expressions stay equal.
static CHECKED: LazyLock<[(Operator, Arc<ScalarUDF>); 3]> = LazyLock::new(|| {
    [Operator::Plus, Operator::Minus, Operator::Multiply].map(|op| {
        let signature = Signature::user_defined(Volatility::Immutable);
        (op, Arc::new(ScalarUDF::new_from_impl(Checked { op, signature })))
    })
});

/// Replaces an operator that may overflow with a checked function. The types of its operands have already been coerced.
pub(crate) fn with_checked_sign(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Transformed::no(expr) };
    let Some((_, checked)) = CHECKED.iter().find(|checked| checked.0 == *op) else { return Transformed::no(expr) };
    match (left.get_type(schema), right.get_type(schema)) {
        (Ok(left_kind), Ok(right_kind)) if left_kind == right_kind && left_kind.is_integer() => {
            Transformed::yes(checked.call(vec![left.as_ref().clone(), right.as_ref().clone()]))
        }
        _ => Transformed::no(expr),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "checked_plus",
            Operator::Minus => "checked_minus",
            _ => "checked_times",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        Ok(kinds.to_vec())
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        kinds.first().cloned().ok_or_else(|| DataFusionError::Internal("two numbers".to_owned()))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = call.args.as_slice() else {
            return Err(DataFusionError::Internal("two numbers".to_owned()));
        };
        match self.op {
            Operator::Plus => apply(left, right, add),
            Operator::Minus => apply(left, right, sub),
            _ => apply(left, right, mul),
        }
    }
}
