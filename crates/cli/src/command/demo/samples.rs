//! The sample runs, part of the program: logs of real runs of one data-integration job, and generated logs of the nightly
//! runs of others, which end well but for the last.

use std::io::{BufRead, BufReader, Cursor, Read, Write};

use anyhow::{Context, Result};
use runlog_model::{Record, RunId, Severity, Timestamp};

/// A sample run: its log as NDJSON, compressed with zstd.
pub(crate) struct Sample {
    /// The name of its files.
    pub(crate) name: &'static str,
    /// The id of its run, always the same.
    pub(crate) run_id: &'static str,
    /// The name of its task.
    pub(crate) task: &'static str,
    /// How many nights ago it ran; `None` for the time at which it really did.
    nights_ago: Option<u32>,
    compressed: &'static [u8],
}

macro_rules! samples {
    ($($name:literal $run_id:literal),+ $(,)?) => {
        &[$(Sample {
            name: $name,
            run_id: $run_id,
            task: TASK,
            nights_ago: None,
            compressed: include_bytes!(concat!("../../../../../fixtures/runs/", $name, ".ndjson.zst")),
        }),+]
    };
}

macro_rules! nightly_samples {
    ($($task:literal $number:literal $run_id:literal $nights_ago:literal),+ $(,)?) => {
        &[$(Sample {
            name: concat!($task, "-", $number),
            run_id: $run_id,
            task: $task,
            nights_ago: Some($nights_ago),
            compressed: include_bytes!(concat!("../../../../../fixtures/demo/", $task, "-", $number, ".ndjson.zst")),
        }),+]
    };
}

/// The task of the real runs.
pub(crate) const TASK: &str = "nightly orders";

/// Every sample run: nine ordinary ones, and one of 208,429 records that needs three pages.
pub(crate) const SAMPLES: &[Sample] = samples![
    "etl-run-info-0" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a10",
    "etl-run-info-1" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a11",
    "etl-run-info-2" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a12",
    "etl-run-info-3" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a13",
    "etl-run-info-4" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a14",
    "etl-run-info-5" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a15",
    "etl-run-info-6" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a16",
    "etl-run-info-7" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a17",
    "etl-run-info-8" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18",
    "etl-run-debug" "1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a19",
];

/// Generated runs of other tasks in the last nights, of which the last runs of three fail.
pub(crate) const NIGHTLY: &[Sample] = nightly_samples![
    "nightly-orders" "0" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b01" 4,
    "nightly-orders" "1" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b02" 3,
    "nightly-orders" "2" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b03" 2,
    "nightly-orders" "3" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b04" 1,
    "nightly-orders" "4" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b05" 0,
    "nightly-customers" "0" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b06" 4,
    "nightly-customers" "1" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b07" 3,
    "nightly-customers" "2" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b08" 2,
    "nightly-customers" "3" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b09" 1,
    "nightly-customers" "4" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0a" 0,
    "nightly-invoices" "0" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0b" 3,
    "nightly-invoices" "1" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0c" 2,
    "nightly-invoices" "2" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0d" 1,
    "nightly-invoices" "3" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0e" 0,
    "nightly-items" "0" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b0f" 4,
    "nightly-items" "1" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b10" 3,
    "nightly-items" "2" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b11" 2,
    "nightly-items" "3" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b12" 1,
    "nightly-items" "4" "2c1f5e63-7b4d-4f1f-8b68-1e7d2f3a8b13" 0,
];

/// How long ago the last run of a night ended.
const LAST_NIGHT_MS: i64 = 3 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// The properties of a sample's run, derived from its log.
pub(crate) struct Outline {
    /// The time of its earliest record.
    pub(crate) first: Timestamp,
    /// The time of its latest record.
    pub(crate) last: Timestamp,
    /// The first line of its last error; none in a log without errors.
    pub(crate) error: Option<String>,
    /// True if its run failed.
    pub(crate) has_failed: bool,
}

impl Sample {
    /// The run's id.
    pub(crate) fn run_id(&self) -> Result<RunId> {
        self.run_id.parse().with_context(|| format!("sample {} has no good run id", self.name))
    }

    /// The log, one record a line, in the order in which it was written; that of a nightly run as of the nights before
    /// `now`.
    pub(crate) fn log(&self, now: Timestamp) -> Result<Box<dyn BufRead + Send>> {
        let plain: zstd::Decoder<'static, BufReader<&'static [u8]>> =
            zstd::Decoder::new(self.compressed).context("a sample does not decode")?;
        match self.nights_ago {
            None => Ok(Box::new(BufReader::new(plain))),
            Some(nights) => {
                let ended = now.plus_millis(-LAST_NIGHT_MS - i64::from(nights) * DAY_MS);
                Ok(Box::new(Cursor::new(moved(plain, ended)?)))
            }
        }
    }

    /// The records of the log.
    pub(crate) fn records(&self, now: Timestamp) -> Result<impl Iterator<Item = Result<Record>> + use<>> {
        Ok(records_of(self.log(now)?))
    }

    /// Reads the log once for what starting and finishing its run needs.
    pub(crate) fn outline(&self, now: Timestamp) -> Result<Outline> {
        let mut outline = Outline { first: Timestamp::MAX, last: Timestamp::MIN, error: None, has_failed: false };
        for record in self.records(now)? {
            let record = record?;
            outline.first = outline.first.min(record.time);
            outline.last = outline.last.max(record.time);
            if Severity::of(record.severity.as_deref()) >= Severity::Error {
                outline.error = record.message.and_then(|message| message.lines().next().map(str::to_owned));
            }
        }
        // Runs that are successful log errors as well, but do not end with one.
        outline.has_failed = match self.nights_ago {
            None => outline.error.is_some(),
            Some(_) => outline.error.as_deref().is_some_and(|error| error.starts_with("Process exited with code")),
        };
        Ok(outline)
    }
}

/// A short log whose latest record has another time; the others are as far from it as before.
fn moved(log: impl Read, ended: Timestamp) -> Result<Vec<u8>> {
    let records: Vec<Record> = records_of(BufReader::new(log)).collect::<Result<_>>()?;
    let last = records.iter().map(|record| record.time).max().unwrap_or(ended);
    let mut moved = Vec::new();
    for mut record in records {
        record.time = ended.plus_millis(record.time.millis_since(last));
        serde_json::to_writer(&mut moved, &record).context("a record of a sample cannot be written")?;
        moved.write_all(b"\n")?;
    }
    Ok(moved)
}

/// The records of an NDJSON log.
pub(crate) fn records_of(log: impl Read) -> impl Iterator<Item = Result<Record>> {
    let records = serde_json::Deserializer::from_reader(log).into_iter();
    records.map(|record| record.context("a record does not decode"))
}
