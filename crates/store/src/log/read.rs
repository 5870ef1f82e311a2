//! Reading records: live pages by position, counts, and whole logs as a stream.

use az::SaturatingAs;
use runlog_model::{Record, RecordOrder, Run, RunId, TimeRange, Timestamp};

use crate::core::Core;
use crate::cpu::CpuPool;
use crate::error::Result;
use crate::log::merge::Merge;
use crate::log::slices::{Scope, complete_and_partial};
use crate::parts::Logs;
use crate::tables::runs::{fetch_with_state, no_such_run};

/// Selects the records of a live page.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuery {
    /// Records in this range of time.
    pub range: TimeRange,
    /// Their order.
    pub order: RecordOrder,
    /// Number of records to skip.
    pub start_index: u64,
    /// Maximum number of records to return.
    pub count: u64,
}

/// The records of a live page.
#[derive(Debug, Clone, PartialEq)]
pub struct LivePage {
    /// Records of the run.
    pub total: u64,
    /// Records of the run in the range of time.
    pub filtered: u64,
    /// The selected records.
    pub records: Vec<Record>,
}

impl Logs {
    /// Returns records of a run by position, among those stored when it is called. `NotFound`: no such run.
    pub async fn live_page(&self, run_id: RunId, query: &LiveQuery) -> Result<LivePage> {
        let (run, scope) = scope(&self.core, run_id, query.range).await?;
        let filtered = match query.range == TimeRange::ALL {
            true => run.records,
            false => self.count(scope).await?,
        };
        let wanted = query.count.min(filtered.saturating_sub(query.start_index)).saturating_as::<usize>();
        let records = self.some_records(scope, query.order, query.start_index, wanted).await?;
        Ok(LivePage { total: run.records, filtered, records })
    }

    /// Returns records of a run by position in order of time, counted from 0. `NotFound`: no such run.
    ///
    /// Whole slices are skipped from the nearer end without being read.
    pub async fn records_from(&self, run_id: RunId, from: u64, count: u64) -> Result<LivePage> {
        let (run, scope) = scope(&self.core, run_id, TimeRange::ALL).await?;
        let wanted = count.min(run.records.saturating_sub(from));
        let after = run.records.saturating_sub(from).saturating_sub(wanted);
        let (order, start) = if from <= after { (RecordOrder::Asc, from) } else { (RecordOrder::Desc, after) };
        let mut records = self.some_records(scope, order, start, wanted.saturating_as::<usize>()).await?;
        if order == RecordOrder::Desc {
            records.reverse();
        }
        Ok(LivePage { total: run.records, filtered: run.records, records })
    }

    /// Returns the position of a record in its log, in order of time and arrival, counted from 0. `NotFound`: no such
    /// run.
    ///
    /// `arrival`: its number in its run, in order of arrival.
    pub async fn position(&self, run_id: RunId, time: Timestamp, arrival: i64) -> Result<u64> {
        let earlier = TimeRange { start: None, end: Some(time.plus_millis(-1)) };
        let (_, scope) = scope(&self.core, run_id, earlier).await?;
        let at_once = Scope { range: TimeRange { start: Some(time), end: Some(time) }, arrivals: arrival, ..scope };
        Ok(self.count(scope).await? + self.count(at_once).await?)
    }

    /// Returns the key of an object with records of a run that was found damaged or missing.
    pub async fn damaged_object(&self, run_id: RunId) -> Result<Option<String>> {
        let query = "SELECT g.object_key FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND g.damaged_at IS NOT NULL ORDER BY g.object_key LIMIT 1";
        Ok(sqlx::query_scalar(query).bind(run_id.to_string()).fetch_optional(self.core.catalog().read()).await?)
    }

    async fn some_records(
        &self,
        scope: Scope,
        order: RecordOrder,
        start_index: u64,
        wanted: usize,
    ) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(wanted);
        let mut merge = Merge::new(&self.core, scope, order);
        let mut to_skip = start_index;
        if wanted > 0 {
            to_skip -= merge.skip_whole_slices(to_skip, None).await?;
        }
        while records.len() < wanted {
            if let Some(part) = merge.read_part_of_slice(to_skip, wanted - records.len()).await? {
                for (time, body) in part.iter() {
                    records.push(body.to_record(time)?);
                }
                to_skip = 0;
                continue;
            }
            let Some(row_run) = merge.next().await? else { break };
            if row_run.len() as u64 <= to_skip {
                to_skip -= row_run.len() as u64;
                continue;
            }
            let some = row_run.read().await?;
            for (time, body) in some.iter().skip(to_skip.saturating_as::<usize>()).take(wanted - records.len()) {
                records.push(body.to_record(time)?);
            }
            to_skip = 0;
        }
        Ok(records)
    }

    /// Reads the records of a run in order, in chunks. `NotFound`: no such run.
    pub async fn read_records(&self, run_id: RunId, range: TimeRange, order: RecordOrder) -> Result<RecordReader> {
        let core = self.core.in_background();
        let (_, scope) = scope(&core, run_id, range).await?;
        Ok(RecordReader { cpu: core.cpu().clone(), merge: Merge::new(&core, scope, order) })
    }

    pub(crate) async fn count(&self, scope: Scope) -> Result<u64> {
        let (mut records, partial) = complete_and_partial(&self.core, scope).await?;
        for slice in partial {
            records += crate::log::merge::count_inside(&self.core, &slice, &scope).await?;
        }
        Ok(records)
    }
}

/// Returns the scope of the records that the log of a run currently has in a range of time. `NotFound`: no such run.
pub(crate) async fn scope(core: &Core, run_id: RunId, range: TimeRange) -> Result<(Run, Scope)> {
    let (run, state) = fetch_with_state(core.catalog().read(), run_id).await?.ok_or_else(|| no_such_run(run_id))?;
    let scope = Scope { run_id, range, arrivals: run.records.saturating_as::<i64>(), state };
    Ok((run, scope))
}

/// Reads the records of a run in order; see [`Logs::read_records`].
pub struct RecordReader {
    cpu: CpuPool,
    merge: Merge,
}

impl RecordReader {
    /// Returns the next records, at most as many as one segment holds; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        let Some(row_run) = self.merge.next().await? else { return Ok(None) };
        let count = row_run.len();
        let records = row_run.read().await?;
        let making = move || records.iter().map(|(time, body)| body.to_record(time)).collect::<Result<_>>();
        Ok(Some(self.cpu.run_for(count, making).await?))
    }

    /// Folds the next records, as many as [`RecordReader::next`] returns, on the CPU pool; false at the end. The same
    /// memory is reused for each record.
    pub async fn fold_next<S, F>(&mut self, mut so_far: S, mut look: F) -> Result<(S, bool)>
    where
        S: Send + 'static,
        F: FnMut(&mut S, &Record) + Send + 'static,
    {
        let Some(row_run) = self.merge.next().await? else { return Ok((so_far, false)) };
        let count = row_run.len();
        let records = row_run.read().await?;
        let fold = move || {
            let mut record = Record::at(Timestamp::MIN);
            for (time, body) in records.iter() {
                body.read_into(time, &mut record)?;
                look(&mut so_far, &record);
            }
            Ok((so_far, true))
        };
        self.cpu.run_for(count, fold).await
    }
}
