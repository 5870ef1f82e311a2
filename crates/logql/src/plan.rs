//! The plan of a query: the records and the parts of them that it reads, and the order of its operations.

use std::collections::BTreeSet;

use crate::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, Grouping, LabelFilter, LabelRef, LabelReplaceExpr, LabelValue, LineText,
    LogExpr, Matcher, MetricExpr, RangeExpr, RangeOp, Stage,
};
use crate::error::EvalError;
use crate::labels::Entry;
use crate::pipeline::{ERROR, Pipeline, is_of_parser};
use crate::samples::SampleSet;
use crate::series::Steps;
use crate::template::Template;

/// Most ranges of records that one query reads.
const LEAVES_MAX: usize = 8;

/// Most characters of the labels of a record in a message.
const SHOWN_CHARS_MAX: usize = 2_000;

/// The records that an expression reads.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'e> {
    log: &'e LogExpr,
}

/// The parts of a record that an expression reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// The text.
    pub line: bool,
    /// All labels, because some may remain that the query does not name.
    pub all_labels: bool,
    /// The labels that the query names.
    pub named: BTreeSet<String>,
}

impl Needs {
    /// Returns true if a label is read.
    pub fn label(&self, name: &str) -> bool {
        self.all_labels || self.named.contains(name)
    }
}

impl LogExpr {
    /// Returns the parts of a record that determine whether it passes.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        self.stages.iter().for_each(|stage| add_needs(stage, &mut needs));
        needs
    }

    /// The records that it reads.
    pub fn selection(&self) -> Selection<'_> {
        Selection { log: self }
    }
}

impl<'e> Selection<'e> {
    /// Returns the conditions on the labels of the stream.
    pub fn matchers(&self) -> &'e [Matcher] {
        &self.log.matchers
    }

    /// Returns texts that each matching line contains, case-sensitively.
    pub fn required_texts(&self) -> Vec<&'e str> {
        let filters = self.log.stages.iter().map_while(|stage| match stage {
            Stage::Line(filter) => Some(filter),
            _ => None,
        });
        let one = filters.filter(|filter| !filter.is_negated && filter.texts.len() == 1);
        let texts = one.filter_map(|filter| match &filter.texts[0] {
            LineText::Plain(text) => Some(text.as_str()),
            _ => None,
        });
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// Returns texts that each matching line contains, case-insensitively: those of `|~ "(?i)text"`, which Grafana
    /// writes for a case-insensitive search.
    pub fn required_caseless_texts(&self) -> Vec<&'e str> {
        let filters = self.log.stages.iter().map_while(|stage| match stage {
            Stage::Line(filter) => Some(filter),
            _ => None,
        });
        let one = filters.filter(|filter| !filter.is_negated && filter.texts.len() == 1);
        let texts = one.filter_map(|filter| match &filter.texts[0] {
            LineText::Regex(regex) => regex.as_str().strip_prefix("(?i)"),
            _ => None,
        });
        let is_plain = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || " _-:/,=<>'\"".contains(c));
        texts.filter(is_plain).filter(|text| !text.is_empty()).collect()
    }
}

/// A query of numbers, ready to be evaluated.
#[derive(Debug, Clone)]
pub struct MetricPlan {
    pub(crate) root: Node,
    pub(crate) steps: Steps,
    leaves: Vec<RangeLeaf>,
}

/// An operation.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Number(f64),
    Vector(f64),
    Leaf(usize),
    Aggregate(AggregateOp, usize, Grouping, Box<Node>),
    Binary(Box<BinaryExpr>, Box<Node>, Box<Node>),
    LabelReplace(Box<LabelReplaceExpr>, Box<Node>),
}

/// A function over a range of records: the part of a query that reads them.
#[derive(Debug, Clone)]
pub struct RangeLeaf {
    pub(crate) range: RangeExpr,
    pipeline: Pipeline,
    /// The labels of its series.
    grouping: Option<Grouping>,
    /// True if a record with an error of a parser counts, instead of being an error of the query.
    counts_errors: bool,
    pub(crate) steps: Steps,
}

impl MetricPlan {
    /// Plans a query for some instants; `now_ns` is the time that `now` of a template returns, in nanoseconds since the
    /// epoch.
    pub fn new(expr: &MetricExpr, steps: Steps, now_ns: i64) -> Result<Self, EvalError> {
        let mut leaves = Leaves { steps, now_ns, list: Vec::new() };
        let root = leaves.node(expr, None);
        let leaves = leaves.list;
        if leaves.len() > LEAVES_MAX {
            let count = leaves.len();
            return Err(EvalError(format!("the query reads {count} ranges of records, more than {LEAVES_MAX}")));
        }
        Ok(Self { root, steps, leaves })
    }

    /// The ranges of records that it reads; each becomes a [`SampleSet`], in this order.
    pub fn leaves(&self) -> &[RangeLeaf] {
        &self.leaves
    }
}

/// The ranges of records found in a query so far.
struct Leaves {
    steps: Steps,
    now_ns: i64,
    list: Vec<RangeLeaf>,
}

impl Leaves {
    /// `outer` is the aggregation around the expression, if each of its groups can be added up record by record.
    fn node(&mut self, expr: &MetricExpr, outer: Option<(AggregateOp, &Grouping)>) -> Node {
        match expr {
            MetricExpr::Literal(number) => Node::Number(*number),
            MetricExpr::VectorLiteral(number) => Node::Vector(*number),
            MetricExpr::Range(range) => {
                let adds_up = |op: AggregateOp| match range.op {
                    RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum => {
                        op == AggregateOp::Sum
                    }
                    RangeOp::Max => op == AggregateOp::Max,
                    RangeOp::Min => op == AggregateOp::Min,
                    _ => false,
                };
                let pushed = outer.filter(|(op, _)| range.grouping.is_none() && adds_up(*op));
                let grouping = range.grouping.clone().or_else(|| pushed.map(|(_, grouping)| grouping.clone()));
                let range = (**range).clone();
                let pipeline = Pipeline::new(&range.log, self.now_ns);
                let counts_errors = names_errors(&range, grouping.as_ref());
                self.list.push(RangeLeaf { pipeline, range, grouping, counts_errors, steps: self.steps });
                Node::Leaf(self.list.len() - 1)
            }
            MetricExpr::Aggregate(aggregate) => {
                let AggregateExpr { op, count, grouping, inner } = &**aggregate;
                let none = Grouping { is_without: false, labels: Vec::new() };
                // topk and sort keep the labels of the series; their grouping says which compete.
                let grouping = grouping.clone().unwrap_or(none);
                let inner = self.node(inner, Some((*op, &grouping)));
                Node::Aggregate(*op, *count, grouping, Box::new(inner))
            }
            MetricExpr::Binary(binary) => {
                let left = self.node(&binary.left, None);
                let right = self.node(&binary.right, None);
                Node::Binary(binary.clone(), Box::new(left), Box::new(right))
            }
            MetricExpr::LabelReplace(replace) => {
                let inner = self.node(&replace.inner, None);
                Node::LabelReplace(replace.clone(), Box::new(inner))
            }
        }
    }
}

impl RangeLeaf {
    /// The records that it reads.
    pub fn selection(&self) -> Selection<'_> {
        self.range.log.selection()
    }

    /// The time of the records that it reads, after the first and up to the second. Unit: nanoseconds since the epoch.
    pub fn time_range_ns(&self) -> (i64, i64) {
        let first = self.steps.at(0).saturating_sub(self.range.offset_ns);
        let last = self.steps.at(self.steps.count - 1).saturating_sub(self.range.offset_ns);
        (first.saturating_sub(self.range.range_ns), last)
    }

    /// The parts of a record that it reads.
    pub fn needs(&self) -> Needs {
        let mut needs = self.range.log.needs();
        needs.line |= matches!(self.range.op, RangeOp::Bytes | RangeOp::BytesRate);
        if let Some(unwrap) = &self.range.unwrap {
            needs.named.insert(unwrap.label.clone());
            unwrap.filters.iter().for_each(|filter| add_filter_needs(filter, &mut needs));
        }
        match &self.grouping {
            _ if self.range.op == RangeOp::Absent => {}
            Some(grouping) if !grouping.is_without => needs.named.extend(grouping.labels.iter().cloned()),
            _ => needs.all_labels = true,
        }
        needs
    }

    /// Returns an empty set for its samples.
    pub fn sample_set(&self) -> SampleSet {
        SampleSet::new(&self.range, self.steps)
    }

    /// Returns false if the message of a record alone excludes the record.
    pub fn may_pass(&self, line: &str) -> bool {
        self.pipeline.may_pass(line)
    }

    /// Adds a record for which [`RangeLeaf::may_pass`] is true.
    pub fn add(&self, set: &mut SampleSet, mut entry: Entry<'_>) -> Result<(), EvalError> {
        if !self.pipeline.process(&mut entry) {
            return Ok(());
        }
        let value = match (&self.range.unwrap, self.range.op) {
            (Some(unwrap), _) => match unwrap.sample(&mut entry.labels) {
                Some(value) => {
                    // A series does not have the number as a label, unless the query groups by it.
                    if self.grouping.as_ref().is_none_or(|grouping| grouping.is_without) {
                        entry.labels.remove(&unwrap.label);
                    }
                    value
                }
                None => return Ok(()),
            },
            #[expect(clippy::cast_precision_loss, reason = "the length of a line")]
            (None, RangeOp::Bytes | RangeOp::BytesRate) => entry.line.len() as f64,
            (None, _) => 1.0,
        };
        let error = entry.labels.get(ERROR);
        if !(error.is_empty() || (self.counts_errors && is_of_parser(error))) {
            let mut labels = entry.labels.to_labels().to_string();
            let end = labels.char_indices().nth(SHOWN_CHARS_MAX).map(|(end, _)| end);
            if let Some(end) = end {
                labels.truncate(end);
                labels.push('…');
            }
            return Err(EvalError(format!(
                "pipeline error: '{error}' for series: '{labels}'. Use a label filter to intentionally skip this error. \
                 (e.g | __error__!=\"{error}\"). To skip all potential errors you can match empty errors (e.g \
                 __error__=\"\")"
            )));
        }
        let labels = match (&self.grouping, self.range.op) {
            (_, RangeOp::Absent) => Default::default(),
            (Some(grouping), _) => entry.labels.to_labels_where(|name| grouping.keeps(name)),
            (None, _) => entry.labels.to_labels(),
        };
        set.add(labels, entry.time_ns, entry.order, value)
    }
}

/// True when a query filters by the errors of its stages, or groups by them.
fn names_errors(range: &RangeExpr, grouping: Option<&Grouping>) -> bool {
    let mut needs = Needs::default();
    let filters = range.log.stages.iter().filter(|stage| matches!(stage, Stage::Labels(_)));
    filters.for_each(|stage| add_needs(stage, &mut needs));
    let after_unwrap = range.unwrap.iter().flat_map(|unwrap| &unwrap.filters);
    after_unwrap.for_each(|filter| add_filter_needs(filter, &mut needs));
    let is_grouped = grouping.is_some_and(|grouping| !grouping.is_without && grouping.keeps(ERROR));
    is_grouped || needs.named.contains(ERROR)
}

fn add_needs(stage: &Stage, needs: &mut Needs) {
    match stage {
        Stage::Line(_) | Stage::Decolorize => needs.line = true,
        // The names of parsed labels depend on existing labels.
        Stage::Json(_) | Stage::Logfmt(_) | Stage::Pattern(_) | Stage::Regexp(_) | Stage::Unpack => {
            needs.line = true;
            needs.all_labels = true;
        }
        Stage::Labels(filter) => add_filter_needs(filter, needs),
        Stage::LineFormat(template) => add_template_needs(template, needs),
        Stage::LabelFormat(formats) => {
            for (_, value) in formats {
                match value {
                    LabelValue::Rename(from) => _ = needs.named.insert(from.clone()),
                    LabelValue::Template(template) => add_template_needs(template, needs),
                }
            }
        }
        Stage::Drop(labels) | Stage::Keep(labels) => {
            let matching = labels.iter().filter_map(|label| match label {
                LabelRef::Matching(matcher) => Some(matcher.name.clone()),
                LabelRef::Name(_) => None,
            });
            needs.named.extend(matching);
        }
    }
}

fn add_template_needs(template: &Template, needs: &mut Needs) {
    needs.line |= template.reads_line();
    needs.all_labels |= template.reads_all_labels();
    needs.named.extend(template.fields().into_iter().map(str::to_owned));
}

fn add_filter_needs(filter: &LabelFilter, needs: &mut Needs) {
    match filter {
        LabelFilter::All(filters) | LabelFilter::Any(filters) => {
            filters.iter().for_each(|filter| add_filter_needs(filter, needs));
        }
        LabelFilter::Text(matcher) => _ = needs.named.insert(matcher.name.clone()),
        LabelFilter::Number { name, .. } | LabelFilter::Ip { name, .. } => _ = needs.named.insert(name.clone()),
    }
}
