//! `runlog tail`: the newest records of a run, and those that follow.

use std::io::Write;
use std::time::Duration;

use anstyle::Style;
use runlog_client::{Client, LivePage, LiveQuery};
use runlog_model::text::TextLine;
use runlog_model::{Record, RecordOrder, RunId, Severity, TimeRange, Timestamp};

use crate::arguments::connect::ConnectArgs;
use crate::arguments::span::Span;
use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, FAINT, note};

/// Maximum number of records that the live endpoint returns at once.
const LIVE_PAGE_MAX: u64 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog tail 6c0e5a34-…              the newest 50 records
  runlog tail 6c0e5a34-… -n 200 -f    the newest 200, then new records until the run ends
  runlog tail 6c0e5a34-… -f --json | jq 'select(.severity == \"ERROR\")'")]
pub(crate) struct TailArgs {
    /// ID of the run
    run_id: RunId,
    /// Keep printing new records until the run has ended
    #[arg(short, long)]
    follow: bool,
    /// Number of records to start with
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    records: u64,
    /// How often to poll for new records
    #[arg(long, default_value = "2s", value_name = "TIME")]
    every: Span,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Shows the records, oldest first.
pub(crate) async fn run(args: TailArgs) -> Outcome {
    let client = args.connect.client()?;
    let (page, shown_at_last) = newest_page(&client, args.run_id).await?;
    let last = page.records.first().map(|record| record.time);
    let mut tail = Tail { run: args.run_id, json: args.json, last, shown_at_last, seen: page.total };
    tail.write(&newest(&client, args.run_id, page.records, args.records).await?)?;
    if args.follow {
        tail.follow(&client, args.every.duration()).await?;
    }
    Ok(())
}

/// The newest records of a run, newest first, and how many records it has at the instant of the newest: what follows is
/// counted from there, also when few of them or none are shown.
async fn newest_page(client: &Client, run: RunId) -> Outcome<(LivePage, u64)> {
    let mut range = TimeRange::ALL;
    loop {
        let query = LiveQuery { range, order: RecordOrder::Desc, start_index: 0, count: LIVE_PAGE_MAX };
        let page = client.live_page(run, &query).await?;
        let last = page.records.first().map(|record| record.time);
        let at_last = at_first_instant(page.records.iter());
        if at_last < LIVE_PAGE_MAX {
            return Ok((page, at_last));
        }
        // There may be more records with this time than a page holds: a response in which it is still the newest counts
        // them.
        if range.start == last {
            let at_last = page.filtered.unwrap_or(at_last);
            return Ok((page, at_last));
        }
        range.start = last;
    }
}

/// So many of the newest records of a run, oldest first, of which some are known, newest first.
async fn newest(client: &Client, run: RunId, mut records: Vec<Record>, count: u64) -> Outcome<Vec<Record>> {
    let mut is_whole = (records.len() as u64) < LIVE_PAGE_MAX;
    while !is_whole && (records.len() as u64) < count {
        // Older ones are requested by time: positions in the log shift while records arrive.
        let query = LiveQuery {
            range: TimeRange { start: None, end: records.last().map(|record| record.time) },
            order: RecordOrder::Desc,
            start_index: at_first_instant(records.iter().rev()),
            count: LIVE_PAGE_MAX.min(count - records.len() as u64),
        };
        let page = client.live_page(run, &query).await?;
        is_whole = (page.records.len() as u64) < query.count;
        records.extend(page.records);
    }
    records.truncate(count as usize);
    records.reverse();
    Ok(records)
}

/// How many records at the beginning share the instant of the first.
fn at_first_instant<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    let mut records = records.peekable();
    let first = records.peek().map(|record| record.time);
    records.take_while(|record| Some(record.time) == first).count() as u64
}

/// What was shown so far.
struct Tail {
    run: RunId,
    json: bool,
    /// The time of the newest record that was shown or passed over, and how many of that instant were.
    last: Option<Timestamp>,
    shown_at_last: u64,
    /// Records that the run had when its log was last looked through to the end.
    seen: u64,
}

impl Tail {
    async fn follow(&mut self, client: &Client, every: Duration) -> Outcome {
        let mut late = 0;
        loop {
            // Requested before the records, so that a run found final has no records after the last poll.
            let is_final = client.execution(self.run).await?.is_final();
            late += self.catch_up(client).await?;
            if is_final {
                break;
            }
            tokio::time::sleep(every).await;
        }
        note(format!("run {} has ended", self.run));
        if late > 0 {
            let late = terminal::count(late);
            note(format!(
                "{late} records arrived late, with times before records already shown; `runlog fetch {}` includes them",
                self.run
            ));
        }
        Ok(())
    }

    /// Prints records newer than those printed before; returns the number of older records that arrived.
    async fn catch_up(&mut self, client: &Client) -> Outcome<u64> {
        let mut shown = 0;
        loop {
            let range = TimeRange { start: self.last, end: None };
            let start_index = if self.last.is_some() { self.shown_at_last } else { 0 };
            let query = LiveQuery { range, order: RecordOrder::Asc, start_index, count: LIVE_PAGE_MAX };
            let page: LivePage = client.live_page(self.run, &query).await?;
            shown += page.records.len() as u64;
            self.show(&page.records)?;
            if page.records.is_empty() {
                let arrived = page.total.saturating_sub(self.seen);
                self.seen = page.total;
                return Ok(arrived.saturating_sub(shown));
            }
        }
    }

    fn show(&mut self, records: &[Record]) -> Outcome {
        self.write(records)?;
        for record in records {
            self.shown_at_last = if self.last == Some(record.time) { self.shown_at_last + 1 } else { 1 };
            self.last = Some(record.time);
        }
        Ok(())
    }

    fn write(&self, records: &[Record]) -> Outcome {
        let mut out = Stream::Result.screen();
        for record in records {
            match self.json {
                true => {
                    serde_json::to_writer(&mut out, record).map_err(std::io::Error::from)?;
                    out.write_all(b"\n")?;
                }
                false => write_line(&mut out, record)?,
            }
        }
        Ok(out.finish()?)
    }
}

fn write_line(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    let style = match Severity::of(record.severity.as_deref()) {
        Severity::Error | Severity::Fatal => BAD,
        Severity::Trace | Severity::Debug => FAINT,
        _ => Style::new(),
    };
    let style = Stream::Result.style(style);
    write!(out, "{style}")?;
    let shown = |text: &Option<String>| text.as_deref().map(|text| Stream::Result.shown(text).into_owned());
    let fields = [&record.severity, &record.log_type, &record.bundle_name, &record.message].map(shown);
    let [severity, log_type, bundle_name, message] = fields.each_ref().map(Option::as_deref);
    TextLine { time: record.time, severity, log_type, bundle_name, message }.write_to(out)?;
    write!(out, "{style:#}")
}
