//! The sample runs, part of the program: logs of real runs of one data-integration job.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result};
use runlog_model::{Record, RunId, Severity, Timestamp};

/// A sample run: its log as NDJSON, compressed with zstd.
pub(crate) struct Sample {
    /// The name of its files.
    pub(crate) name: &'static str,
    /// The id of its run, always the same.
    pub(crate) run_id: &'static str,
    compressed: &'static [u8],
}

macro_rules! samples {
    ($($name:literal $run_id:literal),+ $(,)?) => {
        &[$(Sample {
            name: $name,
            run_id: $run_id,
            compressed: include_bytes!(concat!("../../../../../fixtures/runs/", $name, ".ndjson.zst")),
        }),+]
    };
}

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

/// The properties of a sample's run, derived from its log.
pub(crate) struct Outline {
    /// The time of its earliest record.
    pub(crate) first: Timestamp,
    /// The time of its latest record.
    pub(crate) last: Timestamp,
    /// The first line of its last error; none in a log without errors.
    pub(crate) error: Option<String>,
}

impl Sample {
    /// The run's id.
    pub(crate) fn run_id(&self) -> Result<RunId> {
        self.run_id.parse().with_context(|| format!("sample {} has no good run id", self.name))
    }

    /// The log, one record a line, in the order in which it was written.
    pub(crate) fn log(&self) -> Result<impl BufRead + use<>> {
        let plain = zstd::Decoder::new(self.compressed).context("a sample does not decode")?;
        Ok(BufReader::new(plain as zstd::Decoder<'static, BufReader<&'static [u8]>>))
    }

    /// The records of the log.
    pub(crate) fn records(&self) -> Result<impl Iterator<Item = Result<Record>> + use<>> {
        Ok(records_of(self.log()?))
    }

    /// Reads the log once for what starting and finishing its run needs.
    pub(crate) fn outline(&self) -> Result<Outline> {
        let mut outline = Outline { first: Timestamp::MAX, last: Timestamp::MIN, error: None };
        for record in self.records()? {
            let record = record?;
            outline.first = outline.first.min(record.time);
            outline.last = outline.last.max(record.time);
            if Severity::of(record.severity.as_deref()) >= Severity::Error {
                outline.error = record.message.and_then(|message| message.lines().next().map(str::to_owned));
            }
        }
        Ok(outline)
    }
}

/// The records of an NDJSON log.
pub(crate) fn records_of(log: impl Read) -> impl Iterator<Item = Result<Record>> {
    let records = serde_json::Deserializer::from_reader(log).into_iter();
    records.map(|record| record.context("a record does not decode"))
}
