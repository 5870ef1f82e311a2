//! The primitives of the structures that several tasks or processes use at once.
//!
//! `tests/interleavings` compiles the files of these structures with primitives of the same names, behind which a
//! scheduler decides which task runs next.

pub(crate) use std::fs;
