//! Functions that are evaluated row by row.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::postgres::functions::by_row;

/// Returns the types to which a function converts its arguments; none if it does not accept them.
type Kinds = fn(&[DataType]) -> Option<Vec<DataType>>;

/// A function whose value depends on one row alone. The value is NULL if any argument is NULL.
#[derive(Debug)]
pub(super) struct RowFunction {
    name: &'static str,
    /// A description of the arguments, for error messages.
    takes: &'static str,
    kinds: Kinds,
    /// Returns the type of the values for these argument types.
    returns: fn(&[DataType]) -> DataType,
    value: fn(&[ScalarValue]) -> Result<ScalarValue>,
    signature: Signature,
}

impl RowFunction {
    pub(super) fn shared(
        name: &'static str,
        takes: &'static str,
        kinds: Kinds,
        returns: fn(&[DataType]) -> DataType,
        value: fn(&[ScalarValue]) -> Result<ScalarValue>,
    ) -> Arc<dyn ScalarUDFImpl> {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(Self { name, takes, kinds, returns, value, signature })
    }
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let message = || DataFusionError::Plan(format!("function {} takes {}", self.name, self.takes));
        (self.kinds)(kinds).ok_or_else(message)
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok((self.returns)(kinds))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        by_row(&call, |args| match args.iter().any(ScalarValue::is_null) {
            true => ScalarValue::try_from(call.return_field.data_type()),
            false => (self.value)(args),
        })
    }
}

/// The text of an argument.
pub(super) fn text(value: &ScalarValue) -> &str {
    value.try_as_str().flatten().unwrap_or_default()
}

/// The whole number of an argument.
pub(super) fn whole(value: &ScalarValue) -> i64 {
    match value {
        ScalarValue::Int64(Some(number)) => *number,
        _ => 0,
    }
}

/// The number of an argument.
pub(super) fn float(value: &ScalarValue) -> f64 {
    match value {
        ScalarValue::Float64(Some(number)) => *number,
        _ => 0.0,
    }
}

/// An error for the values of a row.
pub(super) fn wrong(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}
