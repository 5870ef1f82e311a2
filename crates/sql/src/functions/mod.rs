//! Functions of SQL that DataFusion lacks, or whose values it does not bound.

mod ages;
pub(crate) mod arithmetic;
mod casts;
mod json;
pub(crate) mod measured;
pub(crate) mod ntile;
pub(crate) mod times;
pub(crate) mod whole_sum;
pub(crate) mod workarounds;
mod zones;
