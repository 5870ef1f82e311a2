//! Groups messages as patterns are mined; for the benchmarks in `bench/patterns`.
//!
//! ```text
//! message_groups groups    standard input: a JSON string a line; output: the ID and template of its group as JSON
//! message_groups time      standard input: records (NDJSON); output: {"records", "patterns", "seconds"} of mining them
//! ```

use std::io::{self, BufRead, Write};
use std::time::Instant;

use runlog_analysis::PatternMiner;
use runlog_analysis::patterns::groups_of;
use runlog_model::{Record, Timestamp};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let lines = io::stdin().lock().lines();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match std::env::args().nth(1).as_deref() {
        Some("groups") => {
            let messages: Vec<String> =
                lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<io::Result<_>>()?;
            for (id, template) in groups_of(messages.iter().map(String::as_str)) {
                writeln!(out, "{}", json!([id, template]))?;
            }
            Ok(())
        }
        Some("time") => {
            let records: Vec<Record> = lines.map(|line| record_of(&line?)).collect::<io::Result<_>>()?;
            let start = Instant::now();
            let mut miner = PatternMiner::default();
            records.iter().for_each(|record| miner.add(record));
            let patterns = miner.finish().patterns.len();
            let seconds = start.elapsed().as_secs_f64();
            writeln!(out, "{}", json!({"records": records.len(), "patterns": patterns, "seconds": seconds}))
        }
        _ => Err(io::Error::other("usage: message_groups groups|time < FILE")),
    }
}

/// The time, severity and message of a line of NDJSON.
fn record_of(line: &str) -> io::Result<Record> {
    let fields: Value = serde_json::from_str(line)?;
    let text = |name: &str| fields[name].as_str().map(str::to_owned);
    let mut record = Record::at(Timestamp::clamped(fields["logTimestamp"].as_i64().unwrap_or_default()));
    record.severity = text("severity");
    record.message = text("logMessage");
    Ok(record)
}
