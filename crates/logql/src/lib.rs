//! LogQL, the query language of Grafana Loki: its parser, and the evaluation of queries on records passed by the
//! caller.
//!
//! ```text
//! text ▸ lexer ▸ parser ▸ Expr ─┬─▶ Pipeline: one record ▸ line and labels, or nothing
//!                               └─▶ MetricPlan ▸ a SampleSet for each range ▸ series
//! ```
//!
//! This crate does not read records and does not depend on their storage. A caller obtains from an expression the
//! labels and texts of a record that it needs ([`Selection`], [`Needs`]), reads those, and passes each record through a
//! [`Pipeline`]. Samples of a metric query are aggregated as they arrive, in any order: no record is kept.
//!
//! The parser rejects features of Loki that this crate does not support; the error contains the name and the position
//! of the feature.

mod ast;
mod error;
mod evaluate;
mod format;
mod ip;
mod labels;
mod lexer;
mod parser;
mod pipeline;
mod plan;
mod samples;
mod series;
mod template;
mod units;

pub use ast::{Expr, LogExpr, MatchOp, Matcher, MetricExpr};
pub use error::{EvalError, ParseError};
pub use evaluate::Matrix;
pub use format::format_query;
pub use labels::{Category, Entry, LabelSet, Labels};
pub use parser::{parse, parse_selector};
pub use pipeline::{FoundField, Pipeline, json_fields, logfmt_fields};
pub use plan::{MetricPlan, Needs, RangeLeaf, Selection};
pub use samples::SampleSet;
pub use series::{Series, Steps};
pub use units::parse_duration_ns;
