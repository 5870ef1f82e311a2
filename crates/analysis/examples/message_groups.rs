//! Groups messages as patterns are mined; for the benchmarks in `bench/patterns`.
//!
//! ```text
//! message_groups groups    standard input: a JSON string a line; output: the ID and template of its group as JSON
//! message_groups halves    the same input, divided in two at random ten times; output: {"news", "false", "hidden"} in all:
//!                          the groups that are in one half only, and how many groups a comparison of the halves calls
//!                          new or gone although both have them, or takes for known
//! message_groups time      standard input: records (NDJSON); output: {"records", "patterns", "seconds"} of mining them
//! ```

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use runlog_analysis::patterns::{Change, groups_of};
use runlog_analysis::{PatternMiner, StableId};
use runlog_model::{Record, Timestamp};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let lines = io::stdin().lock().lines();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match std::env::args().nth(1).as_deref() {
        Some("groups") => {
            let messages = messages_of(lines)?;
            for (id, template) in groups_of(messages.iter().map(String::as_str)) {
                writeln!(out, "{}", json!([id, template]))?;
            }
            Ok(())
        }
        Some("halves") => {
            let counts: [usize; 3] = halves(&messages_of(lines)?);
            writeln!(out, "{}", json!({"news": counts[0], "false": counts[1], "hidden": counts[2]}))
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
        _ => Err(io::Error::other("usage: message_groups groups|halves|time < FILE")),
    }
}

fn messages_of(lines: io::Lines<io::StdinLock<'_>>) -> io::Result<Vec<String>> {
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// Divides the messages in two at random, ten times, and compares the halves.
fn halves(messages: &[String]) -> [usize; 3] {
    let groups: Vec<StableId> =
        groups_of(messages.iter().map(String::as_str)).into_iter().map(|(group, _)| group).collect();
    let mut counts = [0; 3];
    for seed in 1..=10_u64 {
        let is_later = |place: usize| {
            let mixed = (seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ (mixed >> 29)).count_ones() % 2 == 1
        };
        let (mut miners, mut ids) =
            ([PatternMiner::default(), PatternMiner::default()], [HashSet::new(), HashSet::new()]);
        for (place, message) in messages.iter().enumerate() {
            let half = usize::from(is_later(place));
            // The number of a record is its time, so that what is counted of a pattern names one.
            let mut record = Record::at(Timestamp::clamped(place as i64));
            record.message = Some(message.clone());
            miners[half].add(&record);
            ids[half].insert(groups[place]);
        }
        let [earlier, later] = miners.map(PatternMiner::finish);
        let expected: HashSet<StableId> = ids[0].symmetric_difference(&ids[1]).copied().collect();
        let mut told = HashSet::new();
        for pattern in earlier.compare(&later).patterns {
            let of_one = match pattern.change {
                Change::New => pattern.after,
                Change::Gone => pattern.before,
                _ => None,
            };
            let first = of_one.and_then(|it| usize::try_from(it.first.as_millis()).ok());
            told.extend(first.map(|first| groups[first]));
        }
        counts[0] += expected.len();
        counts[1] += told.difference(&expected).count();
        counts[2] += expected.difference(&told).count();
    }
    counts
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
