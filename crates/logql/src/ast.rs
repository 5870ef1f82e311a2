//! The parsed form of a query.

use regex::Regex;

use crate::ip::IpFilter;
use crate::template::Template;

/// A query.
#[derive(Debug, Clone)]
pub enum Expr {
    /// A query that returns records.
    Log(LogExpr),
    /// A query that returns numbers.
    Metric(MetricExpr),
}

/// A selector of streams, and the stages that each of their records passes.
#[derive(Debug, Clone)]
pub struct LogExpr {
    /// Conditions on the labels of the stream.
    pub matchers: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

/// A condition on the text of a label.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// The comparison.
    pub op: MatchOp,
    /// The value to compare with.
    pub value: String,
    /// The regular expression of `=~` and `!~`, which must match the whole value.
    pub(crate) regex: Option<Regex>,
}

impl Matcher {
    /// Returns true if a value matches; an absent label has an empty value.
    pub fn fits(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Matches => self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            MatchOp::NotMatches => !self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }
}

/// A step of a pipeline.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    Line(LineFilter),
    Json(Vec<JsonField>),
    Logfmt(LogfmtFields),
    Pattern(Vec<PatternPart>),
    Regexp(Regex),
    Unpack,
    Labels(LabelFilter),
    LineFormat(Template),
    LabelFormat(Vec<(String, LabelValue)>),
    Drop(Vec<LabelRef>),
    Keep(Vec<LabelRef>),
    Decolorize,
}

/// What `logfmt` extracts.
#[derive(Debug, Clone)]
pub(crate) struct LogfmtFields {
    /// `--strict`: a line that is not logfmt is an error.
    pub(crate) is_strict: bool,
    /// `--keep-empty`: fields without a value become labels without one.
    pub(crate) keeps_empty: bool,
    /// Labels and the fields they are read from; all fields if empty.
    pub(crate) wanted: Vec<(String, String)>,
}

/// Lines with, or without, one of some texts.
#[derive(Debug, Clone)]
pub(crate) struct LineFilter {
    pub(crate) texts: Vec<LineText>,
    pub(crate) is_negated: bool,
}

/// The text to search for in a line.
#[derive(Debug, Clone)]
pub(crate) enum LineText {
    Plain(String),
    Regex(Regex),
    /// The pieces between the `<_>` of `|>`; the whole line must fit.
    Pattern(Regex),
    /// `ip("10.0.0.0/8")`.
    Ip(IpFilter),
}

/// A value that `json` extracts, and its path.
#[derive(Debug, Clone)]
pub(crate) struct JsonField {
    pub(crate) label: String,
    pub(crate) path: Vec<JsonStep>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonStep {
    Key(String),
    Index(usize),
}

/// A piece of the expression of `pattern`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PatternPart {
    Text(String),
    /// `<name>`, or `<_>` without a name.
    Capture(Option<String>),
}

/// A condition on labels.
#[derive(Debug, Clone)]
pub(crate) enum LabelFilter {
    All(Vec<LabelFilter>),
    Any(Vec<LabelFilter>),
    Text(Matcher),
    Number { name: String, op: CompareOp, value: f64, unit: NumberUnit },
    Ip { name: String, filter: IpFilter, is_negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl CompareOp {
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberUnit {
    None,
    /// A duration; compared in seconds.
    Duration,
    Bytes,
}

#[derive(Debug, Clone)]
pub(crate) enum LabelValue {
    /// The value of another label, which is removed.
    Rename(String),
    Template(Template),
}

/// A label that `drop` or `keep` names, perhaps only with some values.
#[derive(Debug, Clone)]
pub(crate) enum LabelRef {
    Name(String),
    Matching(Matcher),
}

/// An expression whose value is a number for each series.
#[derive(Debug, Clone)]
pub enum MetricExpr {
    /// A number.
    #[doc(hidden)]
    Literal(f64),
    /// `vector(1)`.
    #[doc(hidden)]
    VectorLiteral(f64),
    /// `rate({…}[5m])` and similar functions.
    #[doc(hidden)]
    Range(Box<RangeExpr>),
    /// `sum by (…) (…)` and similar aggregations.
    #[doc(hidden)]
    Aggregate(Box<AggregateExpr>),
    /// `… / …` and similar operations.
    #[doc(hidden)]
    Binary(Box<BinaryExpr>),
    /// `label_replace(…)`.
    #[doc(hidden)]
    LabelReplace(Box<LabelReplaceExpr>),
}

/// A function of the records of a range of time.
#[derive(Debug, Clone)]
pub struct RangeExpr {
    pub(crate) op: RangeOp,
    /// The first argument of `quantile_over_time`.
    pub(crate) parameter: Option<f64>,
    pub(crate) log: LogExpr,
    pub(crate) unwrap: Option<Unwrap>,
    pub(crate) range_ns: i64,
    pub(crate) offset_ns: i64,
    pub(crate) grouping: Option<Grouping>,
}

/// The label whose value is the number, and the conditions after it.
#[derive(Debug, Clone)]
pub(crate) struct Unwrap {
    pub(crate) label: String,
    pub(crate) unit: NumberUnit,
    pub(crate) filters: Vec<LabelFilter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
    Sum,
    Avg,
    Min,
    Max,
    StdDev,
    StdVar,
    Quantile,
    First,
    Last,
    /// The rate of a counter, which may start again at zero.
    RateCounter,
    Absent,
}

/// Which labels of a series remain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) is_without: bool,
    pub(crate) labels: Vec<String>,
}

impl Grouping {
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.labels.iter().any(|label| label == name) != self.is_without
    }
}

/// An aggregation of series.
#[derive(Debug, Clone)]
pub struct AggregateExpr {
    pub(crate) op: AggregateOp,
    /// Number of series that `topk` and `bottomk` keep.
    pub(crate) count: usize,
    pub(crate) grouping: Option<Grouping>,
    pub(crate) inner: MetricExpr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    StdDev,
    StdVar,
    TopK,
    BottomK,
    Sort,
    SortDesc,
}

/// An operation on two expressions.
#[derive(Debug, Clone)]
pub struct BinaryExpr {
    pub(crate) op: BinaryOp,
    pub(crate) left: MetricExpr,
    pub(crate) right: MetricExpr,
    /// `bool`: the result of a comparison is 0 or 1.
    pub(crate) is_bool: bool,
    pub(crate) matching: Matching,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Compare(CompareOp),
    And,
    Or,
    Unless,
}

/// The matching of the series of two sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matching {
    /// `on (…)`: only these labels; `ignoring (…)`: all but these.
    pub(crate) labels: Option<(bool, Vec<String>)>,
    pub(crate) group: Option<Group>,
}

/// `group_left` and `group_right`: several series of one side match one of the other.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) is_left: bool,
    /// Labels that are taken from the one side.
    pub(crate) include: Vec<String>,
}

/// `label_replace(inner, "target", "replacement", "source", "regex")`.
#[derive(Debug, Clone)]
pub struct LabelReplaceExpr {
    pub(crate) inner: MetricExpr,
    pub(crate) target: String,
    pub(crate) replacement: String,
    pub(crate) source: String,
    pub(crate) regex: Regex,
}
