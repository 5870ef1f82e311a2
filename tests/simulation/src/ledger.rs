//! The knowledge of the clients: the requests that they sent and that were acknowledged, from which follows what a log
//! must contain, may contain and must not contain.
//!
//! Time is counted in ticks, the number of opened gates: a call that ended before another began comes first, and the
//! order of two overlapping calls is undetermined.

use std::collections::BTreeMap;

use runlog_model::{Record, RunId, Timestamp};

const DAY_MS: i64 = 24 * 3_600_000;

/// The span of a call. Unit: ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    /// `None` if the response was lost: the request may still take effect during that life of the node.
    pub(crate) until: Option<u64>,
    pub(crate) life: usize,
}

impl Span {
    /// Returns the time at which it can no longer take effect.
    fn end(&self, lives: &[Option<u64>]) -> u64 {
        self.until.or_else(|| lives.get(self.life).copied().flatten()).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(crate) attempts: Vec<Span>,
    /// The acknowledged calls.
    pub(crate) acknowledged: Vec<Span>,
    /// The time at which it was first sent. Unit: epoch milliseconds.
    pub(crate) first_sent_ms: i64,
}

/// A deletion that may have happened in its span.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) span: Span,
    /// Whether the archive has confirmed it.
    pub(crate) is_certain: bool,
}

#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) span: Span,
    pub(crate) is_held: bool,
    pub(crate) is_acknowledged: bool,
}

/// A retention that may have been in force.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) days: i64,
    pub(crate) from: u64,
    pub(crate) until: Option<u64>,
    /// The time at which it had certainly ended. Unit: epoch milliseconds.
    pub(crate) until_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) batches: Vec<Batch>,
    pub(crate) deletions: Vec<Deletion>,
    pub(crate) holds: Vec<Hold>,
    /// Unit: epoch milliseconds.
    pub(crate) started_ms: i64,
    /// The time at which its end was first sent, and the time by which the end was acknowledged. Unit: epoch
    /// milliseconds.
    pub(crate) finish_sent_ms: Option<i64>,
    pub(crate) finished_ms: Option<i64>,
    /// Unit: ticks.
    pub(crate) finished_tick: Option<u64>,
    pub(crate) is_listed: bool,
}

/// The knowledge of all clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) runs: Vec<Run>,
    pub(crate) windows: Vec<Window>,
    /// Maximum error of the clocks of nodes. Unit: milliseconds.
    pub(crate) skew_ms: i64,
}

/// The time at which a log was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// Unit: epoch milliseconds.
    pub(crate) until_ms: i64,
}

impl Run {
    pub(crate) fn new(id: RunId, started_ms: i64) -> Self {
        Self {
            id,
            batches: Vec::new(),
            deletions: Vec::new(),
            holds: Vec::new(),
            started_ms,
            finish_sent_ms: None,
            finished_ms: None,
            finished_tick: None,
            is_listed: false,
        }
    }

    /// Whether it was under legal hold, certainly and all the time.
    pub(crate) fn is_held(&self, from: u64, until: u64, lives: &[Option<u64>]) -> bool {
        let set = |hold: &&Hold| hold.is_held && hold.is_acknowledged && hold.span.until.is_some_and(|at| at <= from);
        let Some(last) = self.holds.iter().rfind(set) else { return false };
        let may_lift = |hold: &Hold| !hold.is_held && hold.span.from <= until && hold.span.end(lives) >= last.span.from;
        !self.holds.iter().any(may_lift)
    }

    /// The earliest moment from which its age may be counted. Unit: epoch milliseconds.
    fn retained_from_ms(&self, tick: u64) -> i64 {
        let end_ms = self.finish_sent_ms.unwrap_or(i64::MAX);
        if self.finished_tick.is_some_and(|at| at <= tick) {
            return end_ms;
        }
        let before = self
            .batches
            .iter()
            .filter(|batch| batch.acknowledged.iter().any(|span| span.until.is_some_and(|until| until <= tick)));
        before.map(|batch| batch.first_sent_ms).max().unwrap_or(self.started_ms).min(end_ms)
    }
}

impl Ledger {
    /// Whether a retention may have deleted the log, with a batch that was stored at this time or later, in this span of
    /// ticks and by this time.
    fn may_be_retained(
        &self,
        run: &Run,
        stored_ms: i64,
        (from, until): (u64, u64),
        until_ms: i64,
        lives: &[Option<u64>],
    ) -> bool {
        // The age of a running run is that of its last record.
        let stored_ms = if run.finish_sent_ms.is_none() { stored_ms } else { i64::MIN };
        self.windows.iter().any(|window| {
            let overlaps = window.from <= until && window.until.is_none_or(|end| end >= from);
            let due_ms = run.retained_from_ms(window.from).max(stored_ms) + window.days * DAY_MS - 2 * self.skew_ms;
            overlaps
                && until_ms.min(window.until_ms.unwrap_or(i64::MAX)) > due_ms
                && !run.is_held(window.from, window.until.unwrap_or(until), lives)
        })
    }

    /// Whether the log may have been deleted in this span.
    fn may_be_deleted(
        &self,
        run: &Run,
        stored_ms: i64,
        (from, until): (u64, u64),
        until_ms: i64,
        lives: &[Option<u64>],
    ) -> bool {
        let overlaps = |deletion: &Deletion| deletion.span.from <= until && deletion.span.end(lives) >= from;
        run.deletions.iter().any(overlaps) || self.may_be_retained(run, stored_ms, (from, until), until_ms, lives)
    }

    /// Whether the log must hold this batch.
    fn must_hold(&self, run: &Run, batch: &Batch, reading: Reading, lives: &[Option<u64>]) -> bool {
        batch.acknowledged.iter().any(|span| {
            span.until.is_some_and(|until| until <= reading.from)
                && !self.may_be_deleted(run, batch.first_sent_ms, (span.from, reading.until), reading.until_ms, lives)
        })
    }

    /// Whether the log must not hold this batch: every call that could store it had ended before the log was deleted.
    fn must_lack(&self, run: &Run, batch: &Batch, reading: Reading, lives: &[Option<u64>]) -> bool {
        let over = batch.attempts.iter().map(|span| span.end(lives)).max().unwrap_or(0);
        run.deletions.iter().any(|deletion| {
            let ended = deletion.span.until.is_some_and(|until| until <= reading.from);
            deletion.is_certain && ended && over < deletion.span.from
        })
    }

    /// Whether the records of one batch arrived before those of the other.
    fn is_before(first: &Batch, second: &Batch, lives: &[Option<u64>]) -> bool {
        let over = first.attempts.iter().map(|span| span.end(lives)).max().unwrap_or(u64::MAX);
        let begun = second.attempts.iter().map(|span| span.from).min().unwrap_or(0);
        over < begun
    }

    /// Returns the error in the records that were read from a log, oldest first. With `is_whole`, they are one state of
    /// the log; otherwise they were put together from pages that were read one after another.
    pub(crate) fn check(
        &self,
        run: usize,
        records: &[Record],
        reading: Reading,
        is_whole: bool,
        lives: &[Option<u64>],
    ) -> Result<(), String> {
        self.check_records(run, records, reading, (is_whole, false), lives)
    }

    /// Like [`check`](Self::check), for a part of the records of a log.
    pub(crate) fn check_part(
        &self,
        run: usize,
        records: &[Record],
        reading: Reading,
        lives: &[Option<u64>],
    ) -> Result<(), String> {
        self.check_records(run, records, reading, (true, true), lives)
    }

    fn check_records(
        &self,
        run: usize,
        records: &[Record],
        reading: Reading,
        (is_whole, is_part): (bool, bool),
        lives: &[Option<u64>],
    ) -> Result<(), String> {
        let run = &self.runs[run];
        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut last: Option<(Timestamp, usize, usize)> = None;
        for record in records {
            let text = record.message.as_deref().unwrap_or_default();
            let (batch, index) = parse(text).ok_or_else(|| format!("a record that nobody sent: {text:?}"))?;
            let sent = run.batches.get(batch).and_then(|batch| batch.records.get(index));
            if sent != Some(record) {
                return Err(format!("a record that was sent differently: {record:?}"));
            }
            if let Some((time, before, at)) = last {
                if record.time < time {
                    return Err(format!("{text} comes after a later record"));
                }
                let is_after = before != batch && Self::is_before(&run.batches[batch], &run.batches[before], lives);
                if record.time == time && (before == batch && index < at || is_after) {
                    return Err(format!("{text} comes after b{before}r{at}, which arrived later, in one millisecond"));
                }
            }
            last = Some((record.time, batch, index));
            let indexes = found.entry(batch).or_default();
            if indexes.contains(&index) {
                return Err(format!("{text} is there twice"));
            }
            indexes.push(index);
        }
        for (number, batch) in run.batches.iter().enumerate() {
            let count = found.get(&number).map_or(0, Vec::len);
            if !is_part && count < batch.records.len() && self.must_hold(run, batch, reading, lives) {
                return Err(format!(
                    "of batch {number}, which was acknowledged, {count} of {} records are there",
                    batch.records.len()
                ));
            }
            if count > 0 && self.must_lack(run, batch, reading, lives) {
                return Err(format!("batch {number} is there, which was deleted"));
            }
            if is_whole && count > 0 && count < batch.records.len() {
                return Err(format!("{count} of the {} records of batch {number} are there", batch.records.len()));
            }
        }
        Ok(())
    }

    /// Whether the log of a run is certainly due for deletion after so many days. Unit of `now_ms`: epoch milliseconds.
    pub(crate) fn is_due(
        &self,
        run: usize,
        days: i64,
        from: u64,
        until: u64,
        now_ms: i64,
        lives: &[Option<u64>],
    ) -> bool {
        let run = &self.runs[run];
        let overlaps = |span: &Span| span.end(lives) >= from && span.from <= until;
        let is_quiet = !run.batches.iter().flat_map(|batch| &batch.attempts).any(overlaps)
            && !run.holds.iter().any(|hold| hold.is_held || overlaps(&hold.span));
        run.finished_ms.is_some_and(|ms| now_ms > ms + days * DAY_MS + 2 * self.skew_ms) && is_quiet
    }
}

/// The text of a record.
pub(crate) fn text(batch: usize, index: usize) -> String {
    format!("b{batch}r{index}e")
}

/// The batch and the index of a record with this text.
pub(crate) fn parse(text: &str) -> Option<(usize, usize)> {
    let (batch, index) = text.strip_prefix('b')?.strip_suffix('e')?.split_once('r')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}

impl Ledger {
    /// Whether the log of a run may have been deleted in this span.
    pub(crate) fn may_have_been_deleted(
        &self,
        run: usize,
        from: u64,
        until: u64,
        until_ms: i64,
        lives: &[Option<u64>],
    ) -> bool {
        self.may_be_deleted(&self.runs[run], i64::MIN, (from, until), until_ms, lives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: [Option<u64>; 1] = [None];

    fn span(from: u64, until: u64) -> Span {
        Span { from, until: Some(until), life: 0 }
    }

    fn batch(number: usize, attempts: &[Span]) -> Batch {
        let record = |index| Record { message: Some(text(number, index)), ..Record::at(Timestamp::clamped(1_000)) };
        Batch {
            records: (0..2).map(record).collect(),
            attempts: attempts.to_vec(),
            acknowledged: attempts.iter().filter(|span| span.until.is_some()).copied().collect(),
            first_sent_ms: 0,
        }
    }

    fn ledger(batches: Vec<Batch>, deletions: Vec<Deletion>) -> Ledger {
        let run = Run { batches, deletions, ..Run::new(RunId::random(&Zero), 0) };
        Ledger { runs: vec![run], windows: Vec::new(), skew_ms: 0 }
    }

    struct Zero;

    impl runlog_model::Random for Zero {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    /// Returns the error in these records, each a batch and an index, if they are read at tick 100.
    fn problem(ledger: &Ledger, read: &[(usize, usize)]) -> Option<String> {
        let records: Vec<Record> =
            read.iter().map(|(batch, index)| ledger.runs[0].batches[*batch].records[*index].clone()).collect();
        let reading = Reading { from: 100, until: 101, until_ms: 1 };
        ledger.check(0, &records, reading, true, &LIVES).err()
    }

    #[track_caller]
    fn check(ledger: &Ledger, read: &[(usize, usize)], expected: Option<&str>) {
        let found = problem(ledger, read);
        let is_as_expected = match expected {
            Some(part) => found.as_deref().is_some_and(|found| found.contains(part)),
            None => found.is_none(),
        };
        assert!(is_as_expected, "{found:?}, not {expected:?}");
    }

    #[test]
    fn a_batch_that_was_acknowledged_is_there_once_and_in_order() {
        let ledger = ledger(vec![batch(0, &[span(1, 2)]), batch(1, &[span(3, 4)])], Vec::new());
        check(&ledger, &[(0, 0), (0, 1), (1, 0), (1, 1)], None);
        check(&ledger, &[(0, 0), (0, 1)], Some("batch 1, which was acknowledged, 0 of 2"));
        check(&ledger, &[(0, 0), (0, 1), (0, 0)], Some("arrived later"));
        check(&ledger, &[(0, 0), (0, 0)], Some("twice"));
        check(&ledger, &[(1, 0), (1, 1), (0, 0), (0, 1)], Some("arrived later"));
    }

    #[test]
    fn a_batch_whose_answer_was_lost_is_there_as_a_whole_or_not_at_all() {
        let lost = Span { from: 1, until: None, life: 0 };
        let ledger = ledger(vec![batch(0, &[lost])], Vec::new());
        check(&ledger, &[], None);
        check(&ledger, &[(0, 0), (0, 1)], None);
        check(&ledger, &[(0, 0)], Some("1 of the 2 records"));
    }

    #[test]
    fn what_was_deleted_stays_away_and_what_came_after_is_there() {
        let deletion = Deletion { span: span(5, 6), is_certain: true };
        let ledger = ledger(vec![batch(0, &[span(1, 2)]), batch(1, &[span(7, 8)])], vec![deletion]);
        check(&ledger, &[(1, 0), (1, 1)], None);
        check(&ledger, &[(0, 0), (0, 1), (1, 0), (1, 1)], Some("batch 0 is there, which was deleted"));
        check(&ledger, &[], Some("batch 1, which was acknowledged"));
    }

    #[test]
    fn a_batch_that_arrived_beside_a_deletion_may_be_there() {
        let deletion = Deletion { span: span(2, 6), is_certain: true };
        let ledger = ledger(vec![batch(0, &[span(1, 3)])], vec![deletion]);
        check(&ledger, &[], None);
        check(&ledger, &[(0, 0), (0, 1)], None);
    }
}
