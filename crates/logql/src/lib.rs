//! LogQL, the query language of Grafana Loki: its parser, and the evaluation of queries on records that are handed in.
//!
//! ```text
//! text ▸ lexer ▸ parser ▸ Expr ─┬─▶ Pipeline: one record ▸ line and labels, or nothing
//!                               └─▶ MetricPlan ▸ a SampleSet for each range ▸ series
//! ```
//!
//! Nothing here reads records or knows where they are stored. A caller asks an expression which labels and which texts a
//! record needs ([`Selection`], [`Needs`]), reads those, and passes each through a [`Pipeline`]. Samples of a metric query
//! are added up as they come, in any order: no record is kept.
//!
//! What Loki has and this crate has not is refused by the parser, with its name and its place in the query.

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
