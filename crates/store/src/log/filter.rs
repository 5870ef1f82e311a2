//! Records of one log that match a filter, with their positions, found in bounded steps.

use std::collections::HashSet;

use az::SaturatingAs;
use runlog_model::{Record, RecordOrder, RunId, Severity, TimeRange};

use crate::error::Result;
use crate::limits;
use crate::log::merge::Merge;
use crate::log::read::scope;
use crate::parts::Logs;
use crate::segment::caseless_text::CaselessText;
use crate::segment::values::RecordValues;

/// Selects records, and the part of the log to examine.
#[derive(Debug, Clone)]
pub struct RecordFilter {
    /// The position of the first record to examine. Positions count from 0 in order of time.
    pub from: u64,
    /// The position after the last record to examine; with [`RecordOrder::Desc`] that of the last one itself.
    pub to: Option<u64>,
    /// `Asc`: towards the end of the log. `Desc`: towards its beginning.
    pub order: RecordOrder,
    /// Records of these severities; all when empty.
    pub severities: HashSet<Severity>,
    /// Records whose message contains all of these texts, in this order, in any case. A single text may also match the
    /// name of the component.
    pub texts: Vec<CaselessText>,
    /// Maximum number of records to return.
    pub count: usize,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct FilteredRecords {
    /// Records of the run.
    pub total: u64,
    /// Records that were examined.
    pub scanned: u64,
    /// The position to continue from; `None` at the end.
    pub next: Option<u64>,
    /// The matching records with their positions, in the order of the search.
    pub records: Vec<(u64, Record)>,
}

impl Logs {
    /// Returns the records of a run that match. Examines at most [`limits::FILTER_RECORDS_MAX`] of them. `NotFound`:
    /// no such run.
    pub async fn find_records(&self, run_id: RunId, query: &RecordFilter) -> Result<FilteredRecords> {
        let (run, scope) = scope(&self.core, run_id, TimeRange::ALL).await?;
        let Some(span) = span(query, run.records) else {
            return Ok(FilteredRecords { total: run.records, scanned: 0, next: None, records: Vec::new() });
        };
        let (mut scanned, mut records) = (0, Vec::new());
        // Background work: a search for a rare value reads all records.
        let mut merge = Merge::new(&self.core.in_background(), scope, query.order);
        let mut to_skip = span.skipped;
        to_skip -= merge.skip_whole_slices(to_skip, None).await?;
        let budget = span.length.min(limits::FILTER_RECORDS_MAX);
        while scanned < budget && records.len() < query.count {
            let Some(row_run) = merge.next().await? else { break };
            if row_run.len() as u64 <= to_skip {
                to_skip -= row_run.len() as u64;
                continue;
            }
            let some = row_run.read().await?;
            for (time, body) in some.iter().skip(to_skip.saturating_as::<usize>()) {
                if scanned == budget || records.len() == query.count {
                    break;
                }
                if query.fits(&body) {
                    records.push((span.position(scanned), body.to_record(time)?));
                }
                scanned += 1;
            }
            to_skip = 0;
        }
        let next = (scanned < span.length).then(|| span.position(scanned));
        Ok(FilteredRecords { total: run.records, scanned, next, records })
    }
}

/// The consecutive positions that a search examines.
struct Span {
    first: u64,
    length: u64,
    order: RecordOrder,
    /// Records before the first in the order of the search.
    skipped: u64,
}

impl Span {
    fn position(&self, number: u64) -> u64 {
        match self.order {
            RecordOrder::Asc => self.first + number,
            RecordOrder::Desc => self.first - number,
        }
    }
}

fn span(query: &RecordFilter, total: u64) -> Option<Span> {
    let order = query.order;
    let (first, length, skipped) = match order {
        RecordOrder::Asc => {
            let end = query.to.unwrap_or(total).min(total);
            (query.from, end.saturating_sub(query.from), query.from)
        }
        RecordOrder::Desc => {
            let first = query.from.min(total.checked_sub(1)?);
            (first, (first + 1).saturating_sub(query.to.unwrap_or(0)), total - 1 - first)
        }
    };
    (length > 0).then_some(Span { first, length, order, skipped })
}

impl RecordFilter {
    fn fits(&self, body: &RecordValues<'_>) -> bool {
        (self.severities.is_empty() || self.severities.contains(&Severity::of(body.severity)))
            && (self.are_in(body.message) || self.texts.len() == 1 && self.are_in(body.bundle_name))
    }

    /// Returns true if a text contains the texts of the filter, one after the other.
    fn are_in(&self, text: Option<&str>) -> bool {
        let text = text.unwrap_or_default().as_bytes();
        self.texts.iter().try_fold(0, |at, part| part.end_after(text, at)).is_some()
    }
}
