//! Functions of SQL that DataFusion lacks, or whose values it does not bound.

pub(crate) mod measured;
pub(crate) mod times;
pub(crate) mod workarounds;
