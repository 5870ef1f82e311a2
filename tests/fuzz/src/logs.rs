//! Logs of other programs: whatever is read is valid records, and does not depend on the pieces in which it arrives.

use std::io::BufReader;

use runlog_formats::{Detected, LogFormat, LogReader, Next, ReadSettings, detect};
use runlog_model::{Record, Timestamp};

use crate::Target;

pub(crate) const TARGET: Target = Target { name: "logs", check, seeds, inputs: 5_000 };

fn check(input: &[u8]) {
    let settings = ReadSettings {
        first_date: Some(jiff::civil::date(2026, 11, 27)),
        ..ReadSettings::written_at(Timestamp::clamped(1_795_809_729_123))
    };
    let detected = match detect(input, true, &settings) {
        Detected::Log(format) => Some(format),
        Detected::Other(_) => None,
    };
    let others =
        [LogFormat::Ndjson, LogFormat::Json, LogFormat::Csv { separator: b',' }, LogFormat::Text, LogFormat::Plain];
    for format in others.into_iter().chain(detected) {
        let whole = read(input, format, &settings, input.len().max(1));
        assert_eq!(read(input, format, &settings, 3), whole, "{format:?}");
        let lines: Vec<&[u8]> = whole.lines.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), whole.records, "{format:?}");
        for line in lines {
            let mut record = Record::at(Timestamp::MIN);
            // The service repairs texts too.
            let is_valid = record.read_json(line).is_ok() || record.read_json(&runlog_model::repair(line).json).is_ok();
            assert!(is_valid, "{format:?}: {}", String::from_utf8_lossy(line));
        }
    }
}

/// What a log consists of.
#[derive(Debug, PartialEq)]
struct Found {
    lines: Vec<u8>,
    records: usize,
    /// What is wrong, and why the rest could not be read.
    wrong: Vec<String>,
}

fn read(input: &[u8], format: LogFormat, settings: &ReadSettings, piece: usize) -> Found {
    let mut found = Found { lines: Vec::new(), records: 0, wrong: Vec::new() };
    let log = BufReader::with_capacity(piece, input);
    let mut log = match LogReader::new(log, format, settings.clone()) {
        Ok(log) => log,
        Err(error) => {
            found.wrong.push(error.to_string());
            return found;
        }
    };
    loop {
        match log.next(&mut found.lines) {
            Ok(None) => return found,
            Ok(Some(Next::Record(_))) => found.records += 1,
            Ok(Some(Next::Invalid(invalid))) => found.wrong.push(format!("{}: {}", invalid.at, invalid.reason)),
            Err(error) => {
                found.wrong.push(error.to_string());
                return found;
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "{\"logTimestamp\":1629367872345,\"logMessage\":\"a\"}\n{\"@timestamp\":\"2021-08-19T10:11:12Z\",\"level\":\"WARN\",\"message\":\"b\"}\n",
        "[{\"time\":\"2021-08-19 10:11:12,345\",\"msg\":\"a\\nb\",\"instant\":{\"epochSecond\":1,\"nanoOfSecond\":2}},\n {}]",
        "time;severity;message;extra\n2021-08-19 10:11:12;INFO;\"a \"\"b\"\"\nc\";\"{\"\"n\"\":1}\"\n",
        "banner\n2026-11-27 20:02:09,123 ERROR [main] c.e.Class - no orders\r\n\tat a.B.c(D.java:1)\n\n27/11/2026 20:02:10 x\n",
        "2026-11-27T20:02:09.123Z | WARN  | JOB | tMap_1 | one | two\n  three\n",
        "<34>1 2026-11-27T20:02:09Z host app 1 ID - x\nNov 27 20:02:09 host app[7]: y\n20:02:09.123 [main] INFO z\n",
        "Nov 27, 2026 8:02:09 PM c.e.Class run\nSEVERE: no orders\n",
        "2026-11-27T20:02:09,123 | INFO  | pool-1 | Flow | 12 - org.talend.job - 8.0.1 | began | now\n",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}
