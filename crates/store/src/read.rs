//! Records out: live pages by position, counts, and whole runs as a stream.

use runlog_model::{Record, RecordOrder, Run, RunId, TimeRange};

use crate::error::Result;
use crate::merge::Merge;
use crate::runs::{fetch_with_state, no_such_run};
use crate::slices::Scope;
use crate::store::Store;

/// Which records of a run a live page shows.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuery {
    /// Those inside this range.
    pub range: TimeRange,
    /// In this order.
    pub order: RecordOrder,
    /// After so many.
    pub start_index: u64,
    /// At most so many.
    pub count: u64,
}

/// The records of a live page.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveSlice {
    /// Records of the run.
    pub total: u64,
    /// Records of the run inside the range.
    pub filtered: u64,
    /// The records asked for.
    pub records: Vec<Record>,
}

impl Store {
    /// Some records of a run by position, among those stored when it is called. `NotFound`: no such run.
    pub async fn live_page(&self, run_id: RunId, query: &LiveQuery) -> Result<LiveSlice> {
        let (run, scope) = self.scope(run_id, query.range).await?;
        let filtered = match query.range == TimeRange::ALL {
            true => run.records,
            false => self.count(scope).await?,
        };
        let wanted = query.count.min(filtered.saturating_sub(query.start_index)) as usize;
        let mut records = Vec::with_capacity(wanted);
        let mut merge = Merge::new(self, scope, query.order);
        let mut to_skip = query.start_index;
        if wanted > 0 {
            to_skip -= merge.skip_whole_slices(to_skip, None).await?;
        }
        while records.len() < wanted {
            let Some(stretch) = merge.next().await? else { break };
            if stretch.len() as u64 <= to_skip {
                to_skip -= stretch.len() as u64;
                continue;
            }
            let some = stretch.read().await?;
            for (time, body) in some.iter().skip(to_skip as usize).take(wanted - records.len()) {
                records.push(body.to_record(time)?);
            }
            to_skip = 0;
        }
        Ok(LiveSlice { total: run.records, filtered, records })
    }

    /// The records of a run in order, a few at a time. `NotFound`: no such run.
    pub async fn read_records(&self, run_id: RunId, range: TimeRange, order: RecordOrder) -> Result<RecordReader> {
        let (_, scope) = self.scope(run_id, range).await?;
        Ok(RecordReader { merge: Merge::new(self, scope, order) })
    }

    /// The records that the log of a run has now, inside a range. `NotFound`: no such run.
    pub(crate) async fn scope(&self, run_id: RunId, range: TimeRange) -> Result<(Run, Scope)> {
        let (run, state) = fetch_with_state(self.catalog().read(), run_id).await?.ok_or_else(|| no_such_run(run_id))?;
        let scope = Scope { run_id, range, arrivals: run.records as i64, state };
        Ok((run, scope))
    }

    async fn count(&self, scope: Scope) -> Result<u64> {
        let (mut records, partial) = self.whole_and_partial(scope).await?;
        for slice in partial {
            records += crate::merge::count_inside(self, &slice, &scope).await?;
        }
        Ok(records)
    }
}

/// The records of a run in order; see [`Store::read_records`].
pub struct RecordReader {
    merge: Merge,
}

impl RecordReader {
    /// The next records, at most as many as one segment holds; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        let Some(stretch) = self.merge.next().await? else { return Ok(None) };
        let records = stretch.read().await?;
        Ok(Some(records.iter().map(|(time, body)| body.to_record(time)).collect::<Result<_>>()?))
    }
}
