//! `runlog tail`: the newest records of a run, and those that follow.

use std::io::Write;
use std::time::Duration;

use anstyle::Style;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use runlog_analysis::report::is_bad;
use runlog_client::{Client, Execution, LivePage, LiveQuery};
use runlog_model::text::TextLine;
use runlog_model::{Record, RecordOrder, RunId, RunStatus, Severity, TimeRange, Timestamp};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{RunOrTask, RunOrTaskRef, TaskRef, newest_run};
use crate::arguments::span::Span;
use crate::arguments::status::status_word;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::preferences::shown_time;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, FAINT, GOOD, WARNING, note, styled_note, write_json};

/// Maximum number of records that the live endpoint returns at once.
const LIVE_PAGE_MAX: u64 = 200;

/// A position after the last record of any run.
const POSITION_MAX: u64 = 1 << 53;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog tail 6c0e5a34                                     the newest 50 records of a run
  runlog tail 6c0e5a34 -n 200 -f                           the newest 200, then new records until it ends
  runlog tail sales/nightly-orders -f                      the newest run of a task
  runlog tail 6c0e5a34 --severity warn,error,fatal --grep timeout
  runlog tail 6c0e5a34 -f --json | jq -r .logMessage")]
pub(crate) struct TailArgs {
    /// A run ID, or the ID or name of a task, for its newest run; both can be abbreviated
    #[arg(value_name = "RUN_OR_TASK", required_unless_present = "task",
          add = ArgValueCompleter::new(candidates::runs_and_tasks))]
    run: Option<RunOrTaskRef>,
    /// The newest run of this task: its ID or name
    #[arg(long, value_name = "TASK", conflicts_with = "run", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// Keep printing new records until the run has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of records to start with
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    records: u64,
    /// Only records of these severities, comma-separated
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',', value_parser = severity,
          add = ArgValueCandidates::new(candidates::severities))]
    severity: Vec<Severity>,
    /// Only records whose message or component contains this text, case-insensitive
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    grep: Option<String>,
    /// How often to poll for new records
    #[arg(long, default_value = "2s", value_name = "TIME")]
    every: Span,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn severity(text: &str) -> Result<Severity, String> {
    let named = Severity::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(text));
    named.ok_or_else(|| format!("{text:?} is not one of {}", Severity::ALL.map(Severity::name).join(", ")))
}

/// Shows the records, oldest first.
pub(crate) async fn run(args: TailArgs) -> Outcome {
    let client = args.connect.client()?;
    let run = wanted_run(&client, &args).await?;
    let filter = Filter { severities: args.severity, text: args.grep };
    let (json, count) = (args.json, args.records);
    let mut tail = Tail { run, json, filter, count, last: None, shown_at_last: 0, seen: 0, noted: None };
    let shown = tail.begin(&client).await?;
    if args.follow {
        return tail.follow(&client, args.every.duration()).await;
    }
    if shown == 0 && tail.seen > 0 && tail.filter.is_some() {
        note(format!("no match in {}", terminal::counted(tail.seen, "record")));
    } else if shown == 0
        && let Some(what) = awaited(&client, run).await?
    {
        note(format!("run {run} has no records yet: {what}; -f waits for them"));
    }
    Ok(())
}

/// Returns the reason why the log of a run, or the rest of it, has not been collected yet.
async fn awaited(client: &Client, run: RunId) -> Outcome<Option<String>> {
    let Some(log) = client.log_state(run).await? else { return Ok(None) };
    let Some(upstream) = log.awaited_from else { return Ok(None) };
    let upstream = Stream::Note.shown_on_line(&upstream).into_owned();
    let problem = log.setback.map(|setback| {
        let again = setback.again_at.map(|at| format!("; the next attempt is due at {}", shown_time(at)));
        let problem = Stream::Note.shown_on_line(&terminal::shortened(&setback.problem, 300)).into_owned();
        format!(" (the last attempt failed: {problem}{})", again.unwrap_or_default())
    });
    Ok(Some(format!("its log is still to be collected from upstream {upstream}{}", problem.unwrap_or_default())))
}

async fn wanted_run(client: &Client, args: &TailArgs) -> Outcome<RunId> {
    let task = match (&args.run, &args.task) {
        (Some(run), _) => match run.resolve(client).await? {
            RunOrTask::Run(run) => return Ok(run),
            RunOrTask::Task(task) => task,
        },
        (None, Some(task)) => task.resolve_abbreviated(client).await?,
        (None, None) => return Err(Failure::new(Exit::Usage, "give the ID of a run, or the name of a task")),
    };
    let run = newest_run(client, task).await?;
    note(format!("run {run}"));
    Ok(run)
}

/// Which records to show.
struct Filter {
    /// All, if empty.
    severities: Vec<Severity>,
    text: Option<String>,
}

impl Filter {
    fn is_some(&self) -> bool {
        !self.severities.is_empty() || self.text.is_some()
    }

    /// So many of the newest records that match, oldest first. The service looks for them.
    async fn newest(&self, client: &Client, run: RunId, count: u64) -> Outcome<Vec<Record>> {
        let mut query = vec![("order", "DESC".to_owned())];
        if !self.severities.is_empty() {
            let names: Vec<_> = self.severities.iter().map(|severity| severity.name()).collect();
            query.push(("severity", names.join(",")));
        }
        query.extend(self.text.iter().map(|text| ("q", text.clone())));
        let (mut records, mut from) = (Vec::new(), Some(POSITION_MAX));
        while let Some(position) = from.filter(|_| (records.len() as u64) < count) {
            let left = (count - records.len() as u64).min(LIVE_PAGE_MAX);
            let step = [("from", position.to_string()), ("count", left.to_string())];
            let found = client.find_records(run, &[&query[..], &step].concat()).await?;
            records.extend(found.items.into_iter().map(|it| it.record));
            from = found.next;
        }
        records.reverse();
        Ok(records)
    }

    fn fits(&self, record: &Record) -> bool {
        let has_text = |text: &str| {
            let holds = |value: &Option<String>| {
                value.as_deref().is_some_and(|value| value.to_ascii_lowercase().contains(&text.to_ascii_lowercase()))
            };
            holds(&record.message) || holds(&record.bundle_name)
        };
        (self.severities.is_empty() || self.severities.contains(&Severity::of(record.severity.as_deref())))
            && self.text.as_deref().is_none_or(has_text)
    }
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

/// Returns the number of records at the beginning with the same time as the first.
fn at_first_instant<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    let mut records = records.peekable();
    let first = records.peek().map(|record| record.time);
    records.take_while(|record| Some(record.time) == first).count() as u64
}

/// The state of the output so far.
struct Tail {
    run: RunId,
    json: bool,
    filter: Filter,
    /// Number of records to begin with.
    count: u64,
    /// The time of the newest record that was shown or passed over, and how many of that instant were.
    last: Option<Timestamp>,
    shown_at_last: u64,
    /// Records that the run had when its log was last looked through to the end.
    seen: u64,
    /// The last reason for waiting that was shown.
    noted: Option<String>,
}

impl Tail {
    /// Prints the newest records; returns how many.
    async fn begin(&mut self, client: &Client) -> Outcome<usize> {
        let (page, shown_at_last) = newest_page(client, self.run).await?;
        self.last = page.records.first().map(|record| record.time);
        (self.shown_at_last, self.seen) = (shown_at_last, page.total);
        let records = match self.filter.is_some() {
            true => self.filter.newest(client, self.run, self.count).await?,
            false => newest(client, self.run, page.records, self.count).await?,
        };
        self.write(&records)?;
        Ok(records.len())
    }

    async fn follow(&mut self, client: &Client, every: Duration) -> Outcome {
        let mut late = 0;
        // Talend Cloud has its logs itself.
        let may_be_awaited = client.log_state(self.run).await?.is_some();
        loop {
            // Requested before the records, so that a run found final has no records after the last poll.
            let run = client.execution(self.run).await?;
            let awaited = match may_be_awaited && (run.is_final() || self.seen == 0) {
                true => awaited(client, self.run).await?,
                false => None,
            };
            match (run.is_final(), awaited) {
                // The newest part of a log may be stored before the others: it is shown when it is complete.
                (true, Some(what)) => self.note_once(format!("{}; {what}", ending(self.run, &run))),
                (true, None) => {
                    late += self.catch_up_or_begin(client).await?;
                    note(ending(self.run, &run));
                    break;
                }
                (false, awaited) => {
                    late += self.catch_up(client).await?;
                    if let Some(what) = awaited.filter(|_| self.seen == 0) {
                        self.note_once(format!("run {} has not ended, and {what}", self.run));
                    }
                }
            }
            tokio::time::sleep(every).await;
        }
        if late > 0 {
            let late = terminal::count(late);
            note(format!(
                "{late} records arrived late, with times before records already shown; `runlog fetch {}` includes them",
                self.run
            ));
        }
        Ok(())
    }

    /// Shows the reason for waiting, unless it was the last one shown.
    fn note_once(&mut self, what: String) {
        if self.noted.as_ref() != Some(&what) {
            note(&what);
            self.noted = Some(what);
        }
    }

    /// Prints the newest records of a log of which nothing was there before, or else what came since.
    async fn catch_up_or_begin(&mut self, client: &Client) -> Outcome<u64> {
        if self.last.is_some() {
            return self.catch_up(client).await;
        }
        self.begin(client).await?;
        Ok(0)
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
        let wanted: Vec<Record> = records.iter().filter(|record| self.filter.fits(record)).cloned().collect();
        self.write(&wanted)?;
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
                true => write_json(&mut out, record)?,
                false => write_line(&mut out, record)?,
            }
        }
        Ok(out.finish()?)
    }
}

/// How a run ended: `run 6c0e5a34-… failed after 3 min 20 s: …`.
fn ending(id: RunId, run: &Execution) -> String {
    let shown = |text: &str| Stream::Note.shown_on_line(text).into_owned();
    let word = run.status.map_or_else(|| shown(&run.status_text.to_lowercase()), |it| status_word(it).to_owned());
    let word = match run.status {
        Some(status) if is_bad(status) => styled_note(BAD, word),
        Some(RunStatus::Successful) => styled_note(GOOD, word),
        _ => word,
    };
    let took = run.started_at.zip(run.finished_at);
    let took =
        took.map(|(from, to)| format!(" after {}", terminal::duration(to.millis_since(from)))).unwrap_or_default();
    let error =
        run.text("errorMessage").map(|it| format!(": {}", shown(&terminal::shortened(it, 200)))).unwrap_or_default();
    format!("run {id} ended, {word}{took}{error}")
}

/// A record as text, in the style of its severity.
pub(crate) fn write_line(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    let style = match Severity::of(record.severity.as_deref()) {
        Severity::Error | Severity::Fatal => BAD,
        Severity::Warn => WARNING,
        Severity::Trace | Severity::Debug => FAINT,
        _ => Style::new(),
    };
    let style = Stream::Result.style(style);
    write!(out, "{style}")?;
    let shown = |text: &Option<String>| text.as_deref().map(|text| Stream::Result.shown(text).into_owned());
    let fields = [&record.severity, &record.log_type, &record.bundle_name, &record.message].map(shown);
    let [severity, log_type, bundle_name, message] = fields.each_ref().map(Option::as_deref);
    let mut line = Vec::new();
    TextLine { time: record.time, severity, log_type, bundle_name, message }.write_to(&mut line)?;
    // The format has times in UTC: the time is replaced by the one in the selected zone.
    out.write_all(shown_time(record.time).as_bytes())?;
    out.write_all(line.get(record.time.to_string().len()..).unwrap_or_default())?;
    write!(out, "{style:#}")
}
