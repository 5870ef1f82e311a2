//! Lands a log in the archive: of the records that came, those that are not there yet are stored.
//!
//! Whatever was stored by an attempt before, by this collector or by another, is found again in the archive and not
//! stored twice; what a log gained since is added.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use runlog_model::{Record, RecordOrder, RunId, TimeRange, Timestamp};
use runlog_store::{ErrorKind, RecordReader, Store};
use serde_json::{Map, Value};

use crate::collect_error::{CollectError, Result};
use crate::error::storage;

/// How often a log is compared anew because someone else stored records of it meanwhile.
const TRIES: u32 = 10;

/// What came of landing a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Landed {
    /// Records of the log that came.
    pub(crate) records: u64,
    /// Those of them that the archive did not have.
    pub(crate) stored: u64,
}

/// Stores what the archive lacks of a log, or of the part of it from a time on: NDJSON, by time, oldest first.
pub(crate) async fn land(store: &Store, run_id: RunId, log: &Path, from: Option<Timestamp>) -> Result<Landed> {
    for _ in 0..TRIES {
        match land_once(store, run_id, log, from).await {
            Err(CollectError::Archive(error)) if error.kind() == ErrorKind::Conflict => {}
            outcome => return outcome,
        }
    }
    let why = "others kept storing records of it meanwhile; is it pushed and collected at the same time?".to_owned();
    Err(CollectError::BadRun { run: run_id.to_string(), what: why })
}

async fn land_once(store: &Store, run_id: RunId, log: &Path, from: Option<Timestamp>) -> Result<Landed> {
    let range = TimeRange { start: from, end: None };
    let before = store.run(run_id).await?.map_or(0, |run| run.records);
    // Whoever stores what is missing from the same state does so under the same name: one of them is first.
    let mut batch = store.begin_batch(run_id, Some(&format!("collected-after-{before}"))).await?;
    let mut archived = match before {
        0 => Instants::none(),
        _ => Instants::of(store.read_records(run_id, range, RecordOrder::Asc).await?),
    };
    let mut lines = Lines::open(log)?;
    let mut landed = Landed::default();
    while let Some((time, records)) = lines.next_instant()? {
        landed.records += records.len() as u64;
        for record in missing(records, archived.at(time).await?) {
            landed.stored += 1;
            if let Err(error) = batch.push(&record).await {
                batch.abort().await;
                return Err(error.into());
            }
        }
    }
    if landed.stored > 0 {
        batch.commit().await?;
    } else {
        batch.abort().await;
    }
    Ok(landed)
}

/// The records that are not among those that are there; of equal ones, as many as there are more.
fn missing(came: Vec<Record>, there: Vec<Record>) -> Vec<Record> {
    if there.is_empty() {
        return came;
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for record in there {
        *counts.entry(content(&record)).or_default() += 1;
    }
    let is_missing = |record: &Record| match counts.get_mut(&content(record)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    came.into_iter().filter(is_missing).collect()
}

/// What tells one record of an instant from another.
fn content(record: &Record) -> String {
    // The fields beyond those of the API in the order of their names, whatever order they came in.
    let extra = record.extra.as_ref().map(|extra| {
        let mut fields: Vec<_> = extra.iter().map(|(name, value)| (name, value.to_string())).collect();
        fields.sort();
        fields
    });
    let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, .. } = record;
    format!("{severity:?}{log_type:?}{message:?}{bundle_name:?}{bundle_version:?}{pod_name:?}{extra:?}")
}

/// The archive's records of a run, instant by instant.
struct Instants {
    reader: Option<RecordReader>,
    ahead: std::vec::IntoIter<Record>,
}

impl Instants {
    fn none() -> Self {
        Self { reader: None, ahead: Vec::new().into_iter() }
    }

    fn of(reader: RecordReader) -> Self {
        Self { reader: Some(reader), ..Self::none() }
    }

    /// The records of an instant, which comes after those that were asked for before.
    async fn at(&mut self, time: Timestamp) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            while let Some(record) = self.ahead.as_slice().first() {
                if record.time > time {
                    return Ok(records);
                }
                // What is earlier was not in the log that came.
                records.extend(self.ahead.next().filter(|record| record.time == time));
            }
            let Some(reader) = &mut self.reader else { return Ok(records) };
            match reader.next().await? {
                Some(more) => self.ahead = more.into_iter(),
                None => self.reader = None,
            }
        }
    }
}

/// A log on disk, instant by instant.
struct Lines {
    path: PathBuf,
    lines: std::io::Lines<BufReader<File>>,
    number: u64,
    /// The first record of the next instant.
    ahead: Option<Record>,
    /// The time of the last record, which those have that came without one.
    time: Timestamp,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(storage("read", path))?;
        let lines = BufReader::with_capacity(1 << 18, file).lines();
        Ok(Self { path: path.to_owned(), lines, number: 0, ahead: None, time: Timestamp::clamped(0) })
    }

    fn next_instant(&mut self) -> Result<Option<(Timestamp, Vec<Record>)>> {
        let first = match self.ahead.take() {
            Some(first) => Some(first),
            None => self.next_record()?,
        };
        let Some(first) = first else { return Ok(None) };
        let time = first.time;
        let mut records = vec![first];
        while let Some(record) = self.next_record()? {
            if record.time != time {
                self.ahead = Some(record);
                break;
            }
            records.push(record);
        }
        Ok(Some((time, records)))
    }

    fn next_record(&mut self) -> Result<Option<Record>> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        let line = line.map_err(storage("read", &self.path))?;
        self.number += 1;
        let record = match serde_json::from_str(&line) {
            Ok(record) => record,
            Err(error) => self.timed(&line).ok_or_else(|| CollectError::BadRun {
                run: self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                what: format!("record {} of its log: {error}", self.number),
            })?,
        };
        self.time = record.time;
        Ok(Some(record))
    }

    /// A record that came without a time, with that of its neighbour.
    fn timed(&self, line: &str) -> Option<Record> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        if fields.get("logTimestamp").is_some_and(|time| !time.is_null()) {
            return None;
        }
        fields.insert("logTimestamp".to_owned(), self.time.as_millis().into());
        serde_json::from_value(Value::Object(fields)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Record {
        Record { message: Some(message.to_owned()), ..Record::at(Timestamp::clamped(7)) }
    }

    #[test]
    fn equal_records_are_missing_as_often_as_there_are_more_of_them() {
        let (a, b) = (|| said("a"), || said("b"));
        assert_eq!(missing(vec![a(), b(), a()], vec![]), [a(), b(), a()]);
        assert_eq!(missing(vec![a(), b(), a()], vec![a()]), [b(), a()]);
        assert_eq!(missing(vec![a(), b()], vec![b(), a(), a()]), []);
    }
}
