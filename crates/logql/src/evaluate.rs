//! Evaluates the operations of a query of numbers on the series of its ranges.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ast::{AggregateOp, BinaryExpr, BinaryOp, Grouping, LabelReplaceExpr, Matching};
use crate::error::EvalError;
use crate::labels::Labels;
use crate::plan::{MetricPlan, Node};
use crate::samples::SampleSet;
use crate::series::Series;

/// Most series of a result. Loki's default for `max_query_series`.
const SERIES_MAX: usize = 500;

/// Most values of an operation's result: series times instants.
const VALUES_MAX: usize = 4_000_000;

/// Most series of an operation's result.
const OPERATION_SERIES_MAX: usize = 50_000;

/// Maximum size of the label texts that an operation creates. Unit: bytes.
const LABEL_BYTES_MAX: usize = 64 << 20;

/// The result of a query of numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// A number without series.
    Number(f64),
    /// The series, by labels, or in the order in which the query sorts them.
    Series(Vec<Series>),
}

impl MetricPlan {
    /// The result, from the samples of each leaf in the order of [`MetricPlan::leaves`].
    pub fn evaluate(&self, sets: Vec<SampleSet>) -> Result<Matrix, EvalError> {
        let mut sets: Vec<Option<SampleSet>> = sets.into_iter().map(Some).collect();
        let mut result = self.value(&self.root, &mut sets)?;
        let is_sorted = self.steps.count == 1 && is_sorted(&self.root);
        if let Matrix::Series(series) = &mut result {
            series.retain(|series| series.values.iter().any(Option::is_some));
            if !is_sorted {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            if series.len() > SERIES_MAX {
                return Err(EvalError(format!(
                    "maximum of series ({SERIES_MAX}) reached for a single query; consider reducing query cardinality \
                     by adding more specific stream selectors, reducing the time range, or aggregating results with \
                     functions like sum(), count() or topk()"
                )));
            }
        }
        Ok(result)
    }

    fn value(&self, node: &Node, sets: &mut [Option<SampleSet>]) -> Result<Matrix, EvalError> {
        let count = self.steps.count;
        let value = match node {
            Node::Number(number) => Matrix::Number(*number),
            Node::Vector(number) => {
                Matrix::Series(vec![Series { labels: Labels::default(), values: vec![Some(*number); count] }])
            }
            Node::Leaf(index) => {
                let set = sets.get_mut(*index).and_then(Option::take);
                Matrix::Series(set.map(SampleSet::finish).unwrap_or_default())
            }
            Node::Aggregate(op, most, grouping, inner) => {
                let series = self.series(inner, sets)?;
                Matrix::Series(aggregate(*op, *most, grouping, series, count))
            }
            Node::LabelReplace(replace, inner) => Matrix::Series(label_replace(replace, self.series(inner, sets)?)?),
            Node::Binary(binary, left, right) => {
                let (left, right) = (self.value(left, sets)?, self.value(right, sets)?);
                operate(binary, left, right, count)?
            }
        };
        if let Matrix::Series(series) = &value {
            check_size(series.len(), count)?;
        }
        Ok(value)
    }

    fn series(&self, node: &Node, sets: &mut [Option<SampleSet>]) -> Result<Vec<Series>, EvalError> {
        match self.value(node, sets)? {
            Matrix::Series(series) => Ok(series),
            Matrix::Number(_) => Err(EvalError("an operation needs series and has a plain number".to_owned())),
        }
    }
}

/// True for an operation whose series are in the order of their values.
fn is_sorted(node: &Node) -> bool {
    match node {
        Node::Aggregate(op, ..) => {
            matches!(op, AggregateOp::Sort | AggregateOp::SortDesc | AggregateOp::TopK | AggregateOp::BottomK)
        }
        Node::LabelReplace(_, inner) => is_sorted(inner),
        // Operations with a plain number keep the order.
        Node::Binary(_, series, number) | Node::Binary(_, number, series) if matches!(**number, Node::Number(_)) => {
            is_sorted(series)
        }
        Node::Binary(..) | Node::Number(_) | Node::Vector(_) | Node::Leaf(_) => false,
    }
}

/// Fails if an operation exceeds the limits of series and values.
fn check_size(series: usize, count: usize) -> Result<(), EvalError> {
    if series > OPERATION_SERIES_MAX {
        return Err(EvalError(format!(
            "an operation of the query has {series} series, more than {OPERATION_SERIES_MAX}; aggregate them with sum by \
             (…), or select fewer streams"
        )));
    }
    if series.saturating_mul(count) > VALUES_MAX {
        return Err(EvalError(format!(
            "an operation of the query has {series} series at {count} instants, more than {VALUES_MAX} values; aggregate \
             them, or use a longer step"
        )));
    }
    Ok(())
}

fn aggregate(op: AggregateOp, most: usize, grouping: &Grouping, series: Vec<Series>, count: usize) -> Vec<Series> {
    if matches!(op, AggregateOp::Sort | AggregateOp::SortDesc) {
        return sorted(series, op == AggregateOp::SortDesc);
    }
    // In the order of their labels, so that sums of floats do not depend on how the records were read.
    let mut groups: BTreeMap<Labels, Vec<Series>> = BTreeMap::new();
    for one in series {
        groups.entry(one.labels.filtered(|name| grouping.keeps(name))).or_default().push(one);
    }
    let mut result = Vec::new();
    for (labels, mut group) in groups {
        group.sort_by(|a, b| a.labels.cmp(&b.labels));
        match op {
            AggregateOp::TopK | AggregateOp::BottomK => result.extend(ranked(op, most, group, count)),
            _ => {
                let at = |step: usize| fold(op, group.iter().filter_map(|series| series.values[step]));
                result.push(Series { labels, values: (0..count).map(at).collect() });
            }
        }
    }
    match op {
        AggregateOp::TopK => sorted(result, true),
        AggregateOp::BottomK => sorted(result, false),
        _ => result,
    }
}

/// Sorts by the value at the first instant.
fn sorted(mut series: Vec<Series>, is_descending: bool) -> Vec<Series> {
    series.sort_by(|a, b| {
        let (left, right) = (a.values.first().copied().flatten(), b.values.first().copied().flatten());
        let order = value_order(left.unwrap_or(f64::NAN), right.unwrap_or(f64::NAN), is_descending);
        order.then_with(|| a.labels.cmp(&b.labels))
    });
    series
}

/// The order of two values; NaN is last in both directions.
fn value_order(a: f64, b: f64, is_descending: bool) -> Ordering {
    let of_numbers = || {
        let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        if is_descending { order.reverse() } else { order }
    };
    a.is_nan().cmp(&b.is_nan()).then_with(of_numbers)
}

fn fold(op: AggregateOp, values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut mean, mut squares) = (0.0, 0.0, 0.0, 0.0);
    // NaN is the result only if there is no other value.
    let (mut least, mut greatest) = (f64::NAN, f64::NAN);
    for value in values {
        count += 1.0;
        sum += value;
        let distance = value - mean;
        mean += distance / count;
        squares += distance * (value - mean);
        least = least.min(value);
        greatest = greatest.max(value);
    }
    if count == 0.0 {
        return None;
    }
    Some(match op {
        AggregateOp::Avg => sum / count,
        AggregateOp::Min => least,
        AggregateOp::Max => greatest,
        AggregateOp::Count => count,
        AggregateOp::StdDev => (squares / count).sqrt(),
        AggregateOp::StdVar => squares / count,
        _ => sum,
    })
}

/// Keeps, at each instant, the values of the greatest or the least series.
fn ranked(op: AggregateOp, most: usize, mut group: Vec<Series>, count: usize) -> Vec<Series> {
    for step in 0..count {
        let mut present: Vec<(f64, usize)> =
            group.iter().enumerate().filter_map(|(index, series)| Some((series.values[step]?, index))).collect();
        present.sort_by(|(a, one), (b, other)| value_order(*a, *b, op == AggregateOp::TopK).then(one.cmp(other)));
        for (_, index) in present.into_iter().skip(most) {
            group[index].values[step] = None;
        }
    }
    group.retain(|series| series.values.iter().any(Option::is_some));
    group
}

fn label_replace(replace: &LabelReplaceExpr, series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut known = HashSet::new();
    let mut made = LabelBytes::default();
    let references = replace.replacement.matches('$').count();
    let mut replaced = Vec::with_capacity(series.len());
    for mut one in series {
        let source = one.labels.get(&replace.source).unwrap_or_default().to_owned();
        if let Some(captures) = replace.regex.captures(&source) {
            // An upper bound of the text of each reference.
            made.add(replace.replacement.len().saturating_add(source.len().saturating_mul(references)))?;
            let mut value = String::new();
            captures.expand(&replace.replacement, &mut value);
            one.labels.set(replace.target.as_str().into(), value.into());
        }
        if !known.insert(one.labels.clone()) {
            return Err(EvalError(format!("label_replace makes two series with the same labels {}", one.labels)));
        }
        replaced.push(one);
    }
    Ok(replaced)
}

fn operate(binary: &BinaryExpr, left: Matrix, right: Matrix, count: usize) -> Result<Matrix, EvalError> {
    let is_bool = binary.is_bool;
    match (left, right) {
        (Matrix::Number(left), Matrix::Number(right)) => {
            Ok(Matrix::Number(calculate(binary.op, left, right, left, true).unwrap_or(f64::NAN)))
        }
        (Matrix::Series(mut series), Matrix::Number(number)) => {
            for value in series.iter_mut().flat_map(|series| &mut series.values) {
                *value = value.and_then(|value| calculate(binary.op, value, number, value, is_bool));
            }
            Ok(Matrix::Series(series))
        }
        (Matrix::Number(number), Matrix::Series(mut series)) => {
            for value in series.iter_mut().flat_map(|series| &mut series.values) {
                *value = value.and_then(|value| calculate(binary.op, number, value, value, is_bool));
            }
            Ok(Matrix::Series(series))
        }
        (Matrix::Series(left), Matrix::Series(right)) => match binary.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                Ok(Matrix::Series(combine(binary.op, &binary.matching, left, right, count)))
            }
            _ => Ok(Matrix::Series(joined(binary, left, right, count)?)),
        },
    }
}

/// Returns the value of an operation; for a comparison, `kept` if it is true and none otherwise.
fn calculate(op: BinaryOp, left: f64, right: f64, kept: f64, is_bool: bool) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        // As in Loki, and unlike Prometheus: not infinite.
        BinaryOp::Divide | BinaryOp::Modulo if right == 0.0 => f64::NAN,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Compare(compare) => match (compare.holds(left, right), is_bool) {
            (holds, true) => f64::from(u8::from(holds)),
            (true, false) => kept,
            (false, false) => return None,
        },
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}

/// The texts of labels that an operation has made so far.
#[derive(Default)]
struct LabelBytes(usize);

impl LabelBytes {
    fn add(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.0 = self.0.saturating_add(bytes);
        match self.0 > LABEL_BYTES_MAX {
            true => Err(EvalError(format!(
                "an operation of the query makes labels of more than {} MiB; aggregate the series first, or use shorter \
                 labels",
                LABEL_BYTES_MAX >> 20
            ))),
            false => Ok(()),
        }
    }

    fn add_labels(&mut self, labels: &Labels) -> Result<(), EvalError> {
        self.add(labels.iter().map(|(name, value)| name.len() + value.len()).sum())
    }
}

/// Returns the labels by which the series of two sides are matched.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    match &matching.labels {
        None => labels.clone(),
        Some((is_on, names)) => labels.filtered(|name| names.iter().any(|known| known == name) == *is_on),
    }
}

/// Which of the series with a signature have a value at an instant.
#[derive(Debug, Clone, Copy)]
enum Present {
    None,
    /// This one alone.
    One(u32),
    Several,
}

/// For each signature and each instant, the series that has a value there.
fn by_signature(matching: &Matching, series: &[Series], count: usize) -> HashMap<Labels, Vec<Present>> {
    let mut by_signature: HashMap<Labels, Vec<Present>> = HashMap::new();
    for (index, one) in series.iter().enumerate() {
        let present =
            by_signature.entry(signature(matching, &one.labels)).or_insert_with(|| vec![Present::None; count]);
        for (present, _) in present.iter_mut().zip(&one.values).filter(|(_, value)| value.is_some()) {
            *present = match (*present, u32::try_from(index)) {
                (Present::None, Ok(index)) => Present::One(index),
                _ => Present::Several,
            };
        }
    }
    by_signature
}

fn combine(op: BinaryOp, matching: &Matching, left: Vec<Series>, right: Vec<Series>, count: usize) -> Vec<Series> {
    // For each signature, the instants at which a side has a value.
    let present = |series: &[Series]| {
        let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
        for one in series {
            let at = present.entry(signature(matching, &one.labels)).or_insert_with(|| vec![false; count]);
            at.iter_mut().zip(&one.values).for_each(|(at, value)| *at |= value.is_some());
        }
        present
    };
    let keep = |series: Vec<Series>, other: &HashMap<Labels, Vec<bool>>, wanted: bool| -> Vec<Series> {
        let keep_one = |mut one: Series| {
            let other = other.get(&signature(matching, &one.labels));
            for (step, value) in one.values.iter_mut().enumerate() {
                if other.is_some_and(|other| other[step]) != wanted {
                    *value = None;
                }
            }
            one
        };
        series.into_iter().map(keep_one).collect()
    };
    match op {
        BinaryOp::And => keep(left, &present(&right), true),
        BinaryOp::Unless => keep(left, &present(&right), false),
        _ => {
            let of_left = present(&left);
            // A series of both sides has the values of one or the other; of several equal series, the first is used.
            let mut places: HashMap<Labels, usize> = HashMap::new();
            for (index, one) in left.iter().enumerate() {
                places.entry(one.labels.clone()).or_insert(index);
            }
            let mut all = left;
            for one in keep(right, &of_left, false) {
                match places.get(&one.labels).copied() {
                    Some(place) => {
                        let known = all[place].values.iter_mut();
                        known.zip(one.values).for_each(|(known, value)| *known = known.or(value));
                    }
                    None => {
                        places.insert(one.labels.clone(), all.len());
                        all.push(one);
                    }
                }
            }
            all
        }
    }
}

/// Applies an operation to the matching series of two sides.
fn joined(binary: &BinaryExpr, left: Vec<Series>, right: Vec<Series>, count: usize) -> Result<Vec<Series>, EvalError> {
    let matching = &binary.matching;
    let many_is_right = matching.group.as_ref().is_some_and(|group| !group.is_left);
    let (many, one) = if many_is_right { (right, left) } else { (left, right) };
    let ones = by_signature(matching, &one, count);
    let mut made = LabelBytes::default();
    let mut result: HashMap<Labels, Vec<Option<f64>>> = HashMap::new();
    for series in &many {
        let signature = signature(matching, &series.labels);
        let Some(present) = ones.get(&signature) else { continue };
        // The labels of the result, and the series of the other side that they were made with.
        let mut known: Option<(usize, Labels)> = None;
        for step in 0..count {
            let Some(many_value) = series.values[step] else { continue };
            let index = match present[step] {
                Present::None => continue,
                Present::One(index) => index as usize,
                Present::Several => {
                    return Err(EvalError(format!(
                        "found duplicate series for the match group {signature} on one side of an operation; \
                         many-to-many matching is not allowed: matching labels must be unique on one side"
                    )));
                }
            };
            let other = &one[index];
            let Some(one_value) = other.values[step] else { continue };
            let (left, right) = if many_is_right { (one_value, many_value) } else { (many_value, one_value) };
            let Some(value) = calculate(binary.op, left, right, left, binary.is_bool) else { continue };
            let labels = match known.take() {
                Some((of, labels)) if of == index || matching.group.is_none() => labels,
                _ => {
                    let labels = result_labels(matching, &series.labels, &other.labels, &signature);
                    made.add_labels(&labels)?;
                    labels
                }
            };
            let size = result.len() + 1;
            let values = match result.get_mut(&labels) {
                Some(values) => values,
                None => {
                    // Each allocates its memory immediately.
                    check_size(size, count)?;
                    result.entry(labels.clone()).or_insert_with(|| vec![None; count])
                }
            };
            let is_taken = values[step].replace(value).is_some();
            known = Some((index, labels));
            if is_taken {
                return Err(EvalError(format!(
                    "multiple matches for labels {signature}: many-to-one matching must be explicit \
                     (group_left/group_right)"
                )));
            }
        }
    }
    Ok(result.into_iter().map(|(labels, values)| Series { labels, values }).collect())
}

fn result_labels(matching: &Matching, many: &Labels, one: &Labels, signature: &Labels) -> Labels {
    match &matching.group {
        None => signature.clone(),
        Some(group) => {
            let mut labels = many.clone();
            for name in &group.include {
                labels.set(name.as_str().into(), one.get(name).unwrap_or_default().into());
            }
            labels
        }
    }
}
