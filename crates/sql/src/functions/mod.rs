//! Functions of SQL that DataFusion lacks, or whose values it does not bound.

mod ages;
pub(crate) mod arithmetic;
mod casts;
pub(crate) mod checked_sum;
mod guards;
mod in_subquery;
mod intervals;
mod json;
pub(crate) mod json_values;
pub(crate) mod lateral_joins;
pub(crate) mod measured;
pub(crate) mod mode;
pub(crate) mod ntile;
mod number_formats;
pub(crate) mod ordered_lists;
mod row;
mod row_functions;
pub(crate) mod single_row;
mod subqueries;
mod time_formats;
pub(crate) mod times;
pub(crate) mod workarounds;
mod zones;
