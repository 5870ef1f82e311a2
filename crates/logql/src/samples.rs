//! Aggregates the samples of a range function for each series and each instant, as they arrive.
//!
//! A sample counts for every instant whose range it is in. Counts are kept as differences from one instant to the next,
//! so that a sample costs two additions however long the range is. Only quantiles and rates of counters keep the samples
//! themselves, and these are limited.

use std::collections::HashMap;

use crate::ast::{MatchOp, Matcher, RangeExpr, RangeOp};
use crate::error::EvalError;
use crate::labels::Labels;
use crate::series::{Series, Steps};

/// Maximum memory of a set. Unit: bytes.
const BYTES_MAX: usize = 16 << 20;

/// Memory of a series in addition to its cells and the texts of its labels. Unit: bytes.
const SERIES_BYTES: usize = 256;

/// The samples of a range function so far.
#[derive(Debug)]
pub struct SampleSet {
    op: RangeOp,
    parameter: f64,
    has_unwrap: bool,
    range_ns: i64,
    offset_ns: i64,
    steps: Steps,
    /// Of `absent_over_time`: the labels of its result.
    absent: Labels,
    series: HashMap<Labels, Cells>,
    bytes: usize,
}

/// One cell for each instant.
#[derive(Debug)]
enum Cells {
    /// The difference to the previous instant in records or bytes, and in records.
    Changes(Vec<(i64, i64)>),
    Moments(Vec<Moments>),
    /// Time, order and value of the first or the last sample.
    One(Vec<Option<(i64, i64, f64)>>),
    Values(Vec<Vec<f64>>),
    /// Time, order and value of each sample.
    Timed(Vec<Vec<(i64, i64, f64)>>),
}

/// Values from which sums, averages, extremes and deviations are computed.
#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    sum: f64,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
    least: f64,
    greatest: f64,
}

impl Moments {
    const NONE: Self =
        Self { count: 0.0, sum: 0.0, mean: 0.0, squares: 0.0, least: f64::INFINITY, greatest: f64::NEG_INFINITY };

    fn of(value: f64) -> Self {
        Self { count: 1.0, sum: value, mean: value, squares: 0.0, least: value, greatest: value }
    }

    fn add(&mut self, other: &Self) {
        if self.count == 0.0 {
            *self = *other;
            return;
        }
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.mean += distance * other.count / count;
        self.count = count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }
}

impl SampleSet {
    pub(crate) fn new(range: &RangeExpr, steps: Steps) -> Self {
        Self {
            op: range.op,
            parameter: range.parameter.unwrap_or_default(),
            has_unwrap: range.unwrap.is_some(),
            range_ns: range.range_ns,
            offset_ns: range.offset_ns,
            steps,
            absent: absent_labels(&range.log.matchers),
            series: HashMap::new(),
            bytes: 0,
        }
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, labels: Labels, time_ns: i64, order: i64, value: f64) -> Result<(), EvalError> {
        let Some((first, last)) = self.steps_of(time_ns) else { return Ok(()) };
        if !self.series.contains_key(&labels) {
            self.grow(self.series_bytes(&labels))?;
            self.series.insert(labels.clone(), self.empty_cells());
        }
        let mut added = 0;
        let op = self.op;
        match self.series.get_mut(&labels) {
            None => {}
            Some(Cells::Changes(changes)) => {
                let amount = az::saturating_cast::<f64, i64>(value);
                add_change(&mut changes[first], (amount, 1));
                if let Some(after) = changes.get_mut(last + 1) {
                    add_change(after, (amount.saturating_neg(), -1));
                }
            }
            Some(Cells::Moments(moments)) => {
                moments[first..=last].iter_mut().for_each(|cell| cell.add(&Moments::of(value)));
            }
            Some(Cells::One(cells)) => {
                cells[first..=last].iter_mut().for_each(|cell| choose(op, cell, (time_ns, order, value)));
            }
            Some(Cells::Values(values)) => {
                added = values[first..=last].iter_mut().map(|cell| push(cell, value)).sum();
            }
            Some(Cells::Timed(samples)) => {
                added = samples[first..=last].iter_mut().map(|cell| push(cell, (time_ns, order, value))).sum();
            }
        }
        self.grow(added)
    }

    /// Adds the samples of another set of the same function.
    pub fn merge(&mut self, other: Self) -> Result<(), EvalError> {
        for (labels, cells) in other.series {
            let bytes = self.series_bytes(&labels);
            let Some(own) = self.series.get_mut(&labels) else {
                let values = match &cells {
                    Cells::Values(values) => capacity(values),
                    Cells::Timed(samples) => capacity(samples),
                    Cells::Changes(_) | Cells::Moments(_) | Cells::One(_) => 0,
                };
                self.grow(bytes + values)?;
                self.series.insert(labels, cells);
                continue;
            };
            let mut added = 0;
            match (own, cells) {
                (Cells::Changes(own), Cells::Changes(other)) => {
                    own.iter_mut().zip(other).for_each(|(own, other)| add_change(own, other));
                }
                (Cells::Moments(own), Cells::Moments(other)) => {
                    own.iter_mut().zip(other).for_each(|(own, other)| own.add(&other));
                }
                (Cells::One(own), Cells::One(other)) => {
                    let both = own.iter_mut().zip(other);
                    both.for_each(|(own, other)| other.into_iter().for_each(|other| choose(self.op, own, other)));
                }
                (Cells::Values(own), Cells::Values(other)) => added = append(own, other),
                (Cells::Timed(own), Cells::Timed(other)) => added = append(own, other),
                _ => {}
            }
            self.grow(added)?;
        }
        Ok(())
    }

    /// The value of each series at each instant that has one.
    pub(crate) fn finish(self) -> Vec<Series> {
        #[expect(clippy::cast_precision_loss, reason = "a range in seconds")]
        let seconds = self.range_ns as f64 / 1e9;
        if self.op == RangeOp::Absent {
            let counts = self.series.into_values().next();
            let counts = counts
                .map_or_else(|| vec![None; self.steps.count], |cells| values(RangeOp::Count, cells, 0.0, seconds));
            let absent: Vec<Option<f64>> = counts.into_iter().map(|count| count.is_none().then_some(1.0)).collect();
            return vec![Series { labels: self.absent, values: absent }];
        }
        let is_rate = matches!(self.op, RangeOp::Rate | RangeOp::BytesRate);
        let (op, parameter) = (self.op, self.parameter);
        let finished = self.series.into_iter().map(|(labels, cells)| {
            let mut values = values(op, cells, parameter, seconds);
            if is_rate {
                values.iter_mut().flatten().for_each(|value| *value /= seconds);
            }
            Series { labels, values }
        });
        finished.collect()
    }

    /// The first and the last instant whose range a time is in.
    fn steps_of(&self, time_ns: i64) -> Option<(usize, usize)> {
        // At instant t the range is after t - offset - range and up to t - offset.
        let Steps { start_ns, step_ns, count } = self.steps;
        let (start, step) = (i128::from(start_ns), i128::from(step_ns.max(1)));
        let earliest = i128::from(time_ns) + i128::from(self.offset_ns);
        let end = earliest + i128::from(self.range_ns);
        // Rounded up: the first instant at `earliest` or after it, and the first at `end` or after it.
        let up = |time: i128| (time - start + step - 1).div_euclid(step).max(0);
        let (first, after) = (up(earliest), up(end).min(i128::try_from(count).unwrap_or(i128::MAX)));
        (first < after).then(|| (usize::try_from(first).unwrap_or(usize::MAX), usize::try_from(after - 1).unwrap_or(0)))
    }

    fn empty_cells(&self) -> Cells {
        let count = self.steps.count;
        match self.op {
            RangeOp::Rate if self.has_unwrap => Cells::Moments(vec![Moments::NONE; count]),
            RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent => {
                Cells::Changes(vec![(0, 0); count])
            }
            RangeOp::Sum | RangeOp::Avg | RangeOp::Min | RangeOp::Max | RangeOp::StdDev | RangeOp::StdVar => {
                Cells::Moments(vec![Moments::NONE; count])
            }
            RangeOp::First | RangeOp::Last => Cells::One(vec![None; count]),
            RangeOp::Quantile => Cells::Values(vec![Vec::new(); count]),
            RangeOp::RateCounter => Cells::Timed(vec![Vec::new(); count]),
        }
    }

    fn series_bytes(&self, labels: &Labels) -> usize {
        let cell = match self.op {
            RangeOp::Rate if self.has_unwrap => size_of::<Moments>(),
            RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent => {
                size_of::<(i64, i64)>()
            }
            RangeOp::Sum | RangeOp::Avg | RangeOp::Min | RangeOp::Max | RangeOp::StdDev | RangeOp::StdVar => {
                size_of::<Moments>()
            }
            RangeOp::First | RangeOp::Last => size_of::<Option<(i64, i64, f64)>>(),
            RangeOp::Quantile | RangeOp::RateCounter => size_of::<Vec<f64>>(),
        };
        // The values of the result replace the cells one series after the other.
        let cell = cell.max(size_of::<Option<f64>>());
        let texts: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        SERIES_BYTES + texts + cell * self.steps.count
    }

    fn grow(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.bytes += bytes;
        match self.bytes > BYTES_MAX {
            false => Ok(()),
            true => Err(EvalError(format!(
                "the query has too many series or samples: they take more than {} MiB after {} series; aggregate them \
                 with sum by (…), select fewer streams, or use a longer step",
                BYTES_MAX >> 20,
                self.series.len()
            ))),
        }
    }
}

/// The labels that a selector gives to series that are not there: those that it compares once, for equality.
fn absent_labels(matchers: &[Matcher]) -> Labels {
    let is_alone = |matcher: &&Matcher| matchers.iter().filter(|other| other.name == matcher.name).count() == 1;
    let equal = matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal).filter(is_alone);
    Labels::new(equal.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())))
}

/// Adds a sample to a cell, and returns the memory that this takes. Unit: bytes.
fn push<T>(cell: &mut Vec<T>, sample: T) -> usize {
    let before = cell.capacity();
    cell.push(sample);
    (cell.capacity() - before) * size_of::<T>()
}

/// The memory of the samples of cells. Unit: bytes.
fn capacity<T>(cells: &[Vec<T>]) -> usize {
    cells.iter().map(|cell| cell.capacity() * size_of::<T>()).sum()
}

/// Adds samples to those of each cell, and returns the memory that this takes. Unit: bytes.
fn append<T>(own: &mut [Vec<T>], other: Vec<Vec<T>>) -> usize {
    let mut added = 0;
    for (own, other) in own.iter_mut().zip(other) {
        added += other.len() * size_of::<T>();
        own.extend(other);
    }
    added
}

fn add_change(sum: &mut (i64, i64), change: (i64, i64)) {
    *sum = (sum.0.saturating_add(change.0), sum.1.saturating_add(change.1));
}

fn choose(op: RangeOp, cell: &mut Option<(i64, i64, f64)>, new: (i64, i64, f64)) {
    let is_better = cell.is_none_or(|(time, order, _)| match op {
        RangeOp::First => (new.0, new.1) < (time, order),
        _ => (new.0, new.1) > (time, order),
    });
    if is_better {
        *cell = Some(new);
    }
}

/// The values of a series; `seconds` is the length of the range.
fn values(op: RangeOp, cells: Cells, parameter: f64, seconds: f64) -> Vec<Option<f64>> {
    match cells {
        Cells::Changes(changes) => {
            let mut sum = (0, 0);
            let running = changes.into_iter().map(|change| {
                add_change(&mut sum, change);
                let (amount, records) = sum;
                #[expect(clippy::cast_precision_loss, reason = "a count as a float")]
                let value = amount as f64;
                // Empty lines have no bytes, and are there all the same.
                (records != 0).then_some(value)
            });
            running.collect()
        }
        Cells::Moments(moments) => moments
            .into_iter()
            .map(|cell| {
                let value = match op {
                    RangeOp::Avg => cell.mean,
                    RangeOp::Min => cell.least,
                    RangeOp::Max => cell.greatest,
                    RangeOp::StdVar => cell.squares / cell.count,
                    RangeOp::StdDev => (cell.squares / cell.count).sqrt(),
                    _ => cell.sum,
                };
                (cell.count > 0.0).then_some(value)
            })
            .collect(),
        Cells::One(cells) => cells.into_iter().map(|cell| cell.map(|(.., value)| value)).collect(),
        Cells::Values(cells) => cells.into_iter().map(|values| quantile(values, parameter)).collect(),
        Cells::Timed(cells) => cells.into_iter().map(|samples| counter_rate(samples, seconds)).collect(),
    }
}

/// The increase of a counter per second, as Loki computes it: a value that is less than the one before it is that of a
/// counter that began again at zero, and the increase is extrapolated to before the first sample, by no more than the
/// time in which it can have counted up from zero, and by about the distance of two samples. One sample has no increase.
fn counter_rate(mut samples: Vec<(i64, i64, f64)>, seconds: f64) -> Option<f64> {
    samples.sort_by_key(|(time_ns, order, _)| (*time_ns, *order));
    let ((first_ns, _, first), (last_ns, _, last)) = (*samples.first()?, *samples.last()?);
    if samples.len() < 2 {
        return Some(0.0);
    }
    let resets = samples.windows(2).filter(|pair| pair[1].2 < pair[0].2).map(|pair| pair[0].2);
    let increase = last - first + resets.sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "a length of time and a number of samples")]
    let (sampled, distance) = {
        let sampled = (last_ns - first_ns) as f64 / 1e9;
        (sampled, sampled / (samples.len() - 1) as f64)
    };
    if sampled == 0.0 {
        return Some(increase / seconds);
    }
    // The range of Loki begins its own length before the first sample, and ends at the last.
    let mut before = seconds;
    if increase > 0.0 && first >= 0.0 {
        before = before.min(sampled * first / increase);
    }
    if before >= distance * 1.1 {
        before = distance / 2.0;
    }
    Some(increase * (sampled + before) / sampled / seconds)
}

/// As Prometheus computes it: linear between the two nearest ranks.
fn quantile(mut values: Vec<f64>, at: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    if at < 0.0 {
        return Some(f64::NEG_INFINITY);
    }
    if at > 1.0 {
        return Some(f64::INFINITY);
    }
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rank")]
    let rank = at * last as f64;
    let lower = az::saturating_cast::<f64, usize>(rank.floor()).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    Some(values[lower] * (1.0 - weight) + values[upper] * weight)
}
