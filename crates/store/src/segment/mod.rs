//! Segments: objects of records as Parquet, written and read. This module does not depend on the catalog's other rows.

pub(crate) mod caseless_text;
pub(crate) mod code_index;
pub(crate) mod columns;
pub(crate) mod file_statistics;
pub(crate) mod reader;
pub(crate) mod record_file_writer;
pub(crate) mod sealed_writer;
mod sorted_dictionary;
pub(crate) mod term_list;
pub(crate) mod values;
pub(crate) mod word_index;
pub(crate) mod writer;

pub(crate) use writer::{FilePurpose, RunRows, encode, schema, times_column};
