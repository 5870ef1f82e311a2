//! How quickly pages become one log, without any network: splits, sorts, lays down and merges a made-up log of so many
//! records, in pages of 100,000, three pages at once.
//!
//! `cargo run --release -p runlog-collector --example reconcile_speed -- [RECORDS] [time|received]`

#![allow(clippy::print_stdout, reason = "an example tells what it measured")]
#![allow(clippy::disallowed_methods, reason = "it measures real time, and reads what it was started with")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use runlog_client::reconcile::{LogOrder, PageSpool, SpoolSettings, SpooledPage, merge};
use runlog_client::{DownloadSink, Error as ClientError, ErrorKind};

const PAGE_RECORDS: u32 = 100_000;
const PAGES_IN_FLIGHT: usize = 3;
/// What one call of a download gives. Unit: bytes.
const PIECE_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let records: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let order = if std::env::args().any(|text| text == "received") { LogOrder::Received } else { LogOrder::Time };
    let folder = tempfile::tempdir()?;
    let settings = SpoolSettings { folder: folder.path().to_owned(), order, memory_bytes: 6 << 20 };

    let begun = Instant::now();
    let (pages, bytes) = lay_down_all(&settings, records)?;
    let laid_down = begun.elapsed();

    let begun = Instant::now();
    let mut out = BufWriter::with_capacity(1 << 18, File::create(folder.path().join("result"))?);
    let mut give = |entry: &[u8]| {
        let written = out.write_all(entry).and_then(|()| out.write_all(b"\n"));
        written.map_err(|error| ClientError::caused(ErrorKind::Storage, "cannot write", error))
    };
    let merged = merge(folder.path(), &pages, order, &mut give)?;
    out.flush()?;
    let put_together = begun.elapsed();

    let (first, second) = (laid_down.as_secs_f64(), put_together.as_secs_f64());
    let speed = f64::from(records) / (first + second);
    println!("{} records, {bytes} bytes: laid down in {first:.2} s, merged in {second:.2} s", merged.entries);
    println!("{speed:.0} records/s in all; {}", peak_memory());
    Ok(())
}

/// Makes the pages and lays them down, several at once; making them is part of the time.
fn lay_down_all(settings: &SpoolSettings, records: u32) -> Result<(Vec<SpooledPage>, u64), Box<dyn Error>> {
    let next = AtomicU32::new(0);
    let work = || -> Result<(Vec<SpooledPage>, u64), ClientError> {
        let (mut pages, mut bytes) = (Vec::new(), 0);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= records.div_ceil(PAGE_RECORDS) {
                return Ok((pages, bytes));
            }
            let (page, page_bytes) = lay_down(settings, index, records)?;
            bytes += page_bytes;
            pages.push(page);
        }
    };
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PAGES_IN_FLIGHT).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>()
    });
    let (mut pages, mut bytes) = (Vec::new(), 0);
    for worker in done {
        let (of_worker, of_worker_bytes) = worker.map_err(|_| "a worker broke")??;
        pages.extend(of_worker);
        bytes += of_worker_bytes;
    }
    Ok((pages, bytes))
}

fn lay_down(settings: &SpoolSettings, index: u32, records: u32) -> Result<(SpooledPage, u64), ClientError> {
    let newest = records - index * PAGE_RECORDS;
    let oldest = newest.saturating_sub(PAGE_RECORDS);
    let mut spool = PageSpool::new(settings.clone(), index, index);
    let (mut piece, mut bytes) = (String::from("[\n"), 0);
    for number in (oldest..newest).rev() {
        write_record(&mut piece, number);
        piece.push_str(if number > oldest { ",\n" } else { "\n]\n" });
        if piece.len() >= PIECE_BYTES || number == oldest {
            bytes += piece.len() as u64;
            spool.write(piece.as_bytes())?;
            piece.clear();
        }
    }
    Ok((spool.finish()?, bytes))
}

/// About 210 bytes; five records to a millisecond.
fn write_record(out: &mut String, number: u32) {
    let time = 1_700_000_000_000 + i64::from(number / 5);
    let written = write!(
        out,
        r#"{{"logTimestamp":{time},"severity":"INFO","logType":"JOB","logMessage":"tLogRow_1 - row {number} of the \"orders\" table was read and passed on","bundleName":"org.example.orders","bundleVersion":"1.4.2","podName":"engine-7"}}"#
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// The most memory that the process had, where the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "peak memory unknown".to_owned(), |size| format!("peak memory {}", size.trim()))
}
