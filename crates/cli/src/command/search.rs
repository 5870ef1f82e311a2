//! `runlog search`: the newest records that contain a text, and the records around them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

use anstyle::Style;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use runlog_client::Client;
use runlog_model::wire::records::PlacedRecord;
use runlog_model::wire::search::FoundRecord;
use runlog_model::{RunId, Severity, TimeRange};
use runlog_store::limits;
use runlog_store::query::SearchText;
use serde::Serialize;

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{RunRef, TaskRef, WorkspaceRef};
use crate::arguments::period::PeriodArgs;
use crate::command::missing_rights::note_unreadable_workspaces;
use crate::exit::Outcome;
use crate::render::preferences::shown_time;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, FAINT, WARNING, note, write_json};

/// Maximum number of records in one response.
const PAGE_MAX: u64 = 200;

/// Maximum number of records before and after a match.
const CONTEXT_MAX: u64 = 200;

/// Digits of the ID of a run that are shown: enough to tell the runs of a result apart, and to name one.
const RUN_DIGITS: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog search timeout                             the newest 50 records that contain it
  runlog search '\"connection refused\" -retrying'    the phrase, without the other word
  runlog search --severity error,fatal --task sales/nightly-orders --last 7d -n 500
  runlog search timeout -C 3                        with three records before and after each
  runlog search 'customer 4711' --runs -n 1000      every run that mentions it
  runlog show 6c0e5a34#1204                         the log around a match
  runlog search orders --json | jq .logMessage

Each line has the time, severity, task, run and number of the line: 6c0e5a34#1204. Of a message with several lines, \
those that contain the text are shown. --json prints the items of GET /runlog/v1/search, whose index is the line number \
minus one; with context, it also prints the records around them, and match is true for matches.")]
pub(crate) struct SearchArgs {
    /// Text to find in messages, case-insensitive
    #[arg(default_value = "", allow_hyphen_values = true)]
    text: String,
    /// Only records of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", group = "place", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    /// Only records of this task: its ID or name, such as sales/nightly-orders
    #[arg(long, value_name = "TASK", group = "place", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// Only records of this run: its ID, or the beginning of it
    #[arg(long, value_name = "RUN_ID", group = "place", add = ArgValueCompleter::new(candidates::runs))]
    run: Option<RunRef>,
    /// Severities, comma-separated
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',', add = ArgValueCandidates::new(candidates::severities))]
    severity: Vec<String>,
    #[command(flatten)]
    period: PeriodArgs,
    /// List the runs that contain it: only the newest match of each run
    #[arg(short = 'l', long)]
    runs: bool,
    /// Maximum number of records, or of runs with --runs
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    limit: u64,
    /// Show COUNT records before and after each match
    #[arg(short = 'C', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    context: Option<u64>,
    /// Show COUNT records after each match
    #[arg(short = 'A', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    after_context: Option<u64>,
    /// Show COUNT records before each match
    #[arg(short = 'B', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    before_context: Option<u64>,
    /// Show all lines of messages, not only those that contain the text
    #[arg(long, conflicts_with = "json")]
    full: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Shows matches as they are found, the newest first.
pub(crate) async fn run(args: SearchArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.client()?;
    let mut query = args.query(&client, range).await?;
    query.push(("positions", "true".to_owned()));
    let mut lines = Lines::of(&args);
    let (mut left, mut scanned) = (args.limit, 0);
    let (mut unsearched, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    let mut runs_shown = BTreeSet::new();
    while left > 0 {
        query.retain(|(name, _)| *name != "limit");
        query.push(("limit", if args.runs { PAGE_MAX } else { left.min(PAGE_MAX) }.to_string()));
        let mut answer = client.search(&query).await?;
        scanned += answer.scanned.records;
        if args.runs {
            answer.items.retain(|item| runs_shown.insert(item.run_id));
            answer.items.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        left = left.saturating_sub(answer.items.len() as u64);
        lines.show(&client, &answer.items).await?;
        if let Some(unreadable) = answer.unreadable {
            unsearched.extend(unreadable.runs);
            damaged.extend(unreadable.objects);
        }
        let Some(cursor) = answer.cursor else { break };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor));
    }
    let found = match args.runs {
        true => terminal::counted(args.limit - left, "run"),
        false => terminal::count(args.limit - left),
    };
    let of = terminal::counted(scanned, "record");
    match left == 0 {
        true => note(format!("{found} found in {of}, newest first; there may be more, which a higher --limit shows")),
        false => note(format!("{found} found in {of}, newest first")),
    }
    if left == args.limit && args.text.matches('"').count() % 2 == 1 {
        note("the quotation mark is not closed: the text was searched literally");
    }
    if args.task.is_none() && args.run.is_none() {
        note_unreadable_workspaces(&client, &query).await;
    }
    if let Some(run) = unsearched.first() {
        let more = |found: usize, named_max: usize| match found {
            ..=1 => String::new(),
            found if found < named_max => format!(" and {} more", found - 1),
            found => format!(" and at least {} more", found - 1),
        };
        let objects = damaged
            .first()
            .map(|object| format!(", in the object {object}{}", more(damaged.len(), limits::UNREADABLE_OBJECTS_MAX)));
        note(format!(
            "some records of run {run}{} were not searched because they are damaged or missing{}; `runlog archive verify \
             --repair` on the server repairs what it can",
            more(unsearched.len(), limits::UNREADABLE_RUNS_MAX),
            objects.unwrap_or_default()
        ));
    }
    Ok(())
}

impl SearchArgs {
    async fn query(&self, client: &Client, range: TimeRange) -> Outcome<Vec<(&'static str, String)>> {
        let mut query = vec![("q", self.text.clone())];
        if let Some(workspace) = &self.workspace {
            query.push(("workspaceId", workspace.resolve_abbreviated(client).await?.to_string()));
        }
        if let Some(task) = &self.task {
            query.push(("taskId", task.resolve_abbreviated(client).await?.to_string()));
        }
        if let Some(run) = &self.run {
            query.push(("runId", run.resolve(client).await?.to_string()));
        }
        query.extend(range.start.map(|time| ("from", time.as_millis().to_string())));
        query.extend(range.end.map(|time| ("to", time.as_millis().to_string())));
        if !self.severity.is_empty() {
            query.push(("severity", self.severity.join(",")));
        }
        Ok(query)
    }
}

/// Shows records, each with its position.
struct Lines {
    /// The text to highlight; none if the service interprets the query differently.
    text: SearchText,
    before: u64,
    after: u64,
    is_full: bool,
    is_json: bool,
    /// True if a group of records with context was already shown.
    is_begun: bool,
    /// For each run, the first record that was already shown.
    shown_from: BTreeMap<RunId, u64>,
}

/// A record with its place, and whether it is a match.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: Cow<'a, FoundRecord>,
    #[serde(rename = "match")]
    is_match: bool,
}

impl Lines {
    fn of(args: &SearchArgs) -> Self {
        Self {
            text: args.text.parse().unwrap_or_default(),
            before: args.before_context.or(args.context).unwrap_or_default(),
            after: args.after_context.or(args.context).unwrap_or_default(),
            is_full: args.full,
            is_json: args.json,
            is_begun: false,
            shown_from: BTreeMap::new(),
        }
    }

    async fn show(&mut self, client: &Client, items: &[FoundRecord]) -> Outcome {
        let mut out = Stream::Result.screen();
        if (self.before, self.after) == (0, 0) {
            for item in items {
                match self.is_json {
                    true => write_json(&mut out, item)?,
                    false => self.write(&mut out, &Line { record: Cow::Borrowed(item), is_match: true })?,
                }
            }
            return Ok(out.finish()?);
        }
        for group in self.groups(items) {
            if std::mem::replace(&mut self.is_begun, true) && !self.is_json {
                out.write_all(b"--\n")?;
            }
            for line in self.around(client, &group).await? {
                match self.is_json {
                    true => write_json(&mut out, &line)?,
                    false => self.write(&mut out, &line)?,
                }
            }
        }
        Ok(out.finish()?)
    }

    /// Matches by the records around them that overlap or adjoin, those with the newest match first. Runs that log at the
    /// same time alternate in the list.
    fn groups<'a>(&self, items: &'a [FoundRecord]) -> Vec<Vec<&'a FoundRecord>> {
        let mut places: Vec<usize> = (0..items.len()).collect();
        places.sort_by_key(|place| (items[*place].run_id, items[*place].index, *place));
        let adjoin = |earlier: &usize, later: &usize| {
            let (earlier, later) = (&items[*earlier], &items[*later]);
            let between = later.index.zip(earlier.index).map(|(later, earlier)| later.saturating_sub(earlier));
            let reach = self.before.saturating_add(self.after).saturating_add(1);
            earlier.run_id == later.run_id && between.is_some_and(|between| between <= reach)
        };
        let mut groups: Vec<&[usize]> = places.chunk_by(adjoin).collect();
        groups.sort_by_key(|group| group.iter().min().copied());
        groups.into_iter().map(|group| group.iter().map(|place| &items[*place]).collect()).collect()
    }

    /// A group of matches with the records around them, in the order of the log.
    async fn around<'a>(&mut self, client: &Client, group: &[&'a FoundRecord]) -> Outcome<Vec<Line<'a>>> {
        let indexes: Option<Vec<u64>> = group.iter().map(|item| item.index).collect();
        let bounds = indexes.as_deref().and_then(|all| all.iter().min().zip(all.iter().max()));
        let (Some((first, last)), Some(sample)) = (bounds, group.first()) else {
            // The log was deleted in the meantime.
            let alone = |record: &&'a FoundRecord| Line { record: Cow::Borrowed(*record), is_match: true };
            return Ok(group.iter().map(alone).collect());
        };
        let (from, to) = (first.saturating_sub(self.before), last.saturating_add(self.after));
        // Matches of an earlier page are newer, and were shown with the records before them.
        let shown = self.shown_from.entry(sample.run_id).or_insert(u64::MAX);
        let to = to.min(shown.saturating_sub(1)).max(*last);
        *shown = from.min(*shown);
        let records = records_between(client, sample.run_id, from, to).await?;
        let line = |it: PlacedRecord| {
            let found = group.iter().find(|item| item.index == Some(it.index));
            Line {
                is_match: found.is_some(),
                record: found.map_or_else(|| Cow::Owned(beside(sample, it)), |found| Cow::Borrowed(*found)),
            }
        };
        Ok(records.into_iter().map(line).collect())
    }

    fn write(&self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        let item = &*line.record;
        let style = |style: Style| Stream::Result.style(if line.is_match { style } else { FAINT });
        let severity_style = style(match Severity::of(item.severity.as_deref()) {
            Severity::Error | Severity::Fatal => BAD,
            Severity::Warn => WARNING,
            Severity::Trace | Severity::Debug => FAINT,
            _ => Style::new(),
        });
        let faint = style(FAINT);
        let severity = Stream::Result.shown_on_line(item.severity.as_deref().unwrap_or("-"));
        let task = Stream::Result.shown_on_line(&item.task_name);
        let run = item.run_id.to_string();
        let place = item.index.map(|index| format!("#{}", index.saturating_add(1))).unwrap_or_default();
        // The same format as in grep.
        let mark = if line.is_match { ':' } else { '-' };
        write!(
            out,
            "{faint}{}{faint:#} {severity_style}{severity:5}{severity_style:#} {task} ",
            shown_time(item.time())
        )?;
        write!(out, "{faint}{}{place}{mark}{faint:#} ", &run[..RUN_DIGITS])?;
        self.write_message(out, item.log_message.as_deref().unwrap_or_default(), line.is_match)
    }

    /// Returns the lines of a message that contain the search text, or else the first line.
    fn write_message(&self, out: &mut impl Write, message: &str, is_match: bool) -> io::Result<()> {
        let places = if is_match { self.text.places_in(message) } else { Vec::new() };
        let mut start = 0;
        let lines: Vec<Range<usize>> = message
            .split('\n')
            .map(|line| {
                let place = start..start + line.len();
                start = place.end + 1;
                place
            })
            .collect();
        let has_match = |line: &Range<usize>| places.iter().any(|it| it.start < line.end && line.start < it.end);
        let mut shown: Vec<usize> =
            (0..lines.len()).filter(|number| self.is_full || has_match(&lines[*number])).collect();
        if shown.is_empty() {
            shown.push(0);
        }
        if shown[0] > 0 {
            out.write_all("… ".as_bytes())?;
        }
        for (place, number) in shown.iter().enumerate() {
            if place > 0 {
                out.write_all(if self.is_full { b"\n" } else { b"\n    " })?;
            }
            self.write_marked(out, message, &lines[*number], &places)?;
        }
        let hidden = lines.len() - shown.len();
        if hidden > 0 {
            let faint = Stream::Result.style(FAINT);
            write!(out, " {faint}(+{}){faint:#}", terminal::counted(hidden as u64, "line"))?;
        }
        out.write_all(b"\n")
    }

    /// Returns a line of a message with the search text highlighted.
    fn write_marked(
        &self,
        out: &mut impl Write,
        message: &str,
        line: &Range<usize>,
        places: &[Range<usize>],
    ) -> io::Result<()> {
        let style = Stream::Result.style(BAD);
        let mut at = line.start;
        for place in places.iter().filter(|place| place.start < line.end && line.start < place.end) {
            let (start, end) = (place.start.max(at), place.end.min(line.end));
            out.write_all(Stream::Result.shown(&message[at..start]).as_bytes())?;
            write!(out, "{style}{}{style:#}", Stream::Result.shown(&message[start..end]))?;
            at = end;
        }
        out.write_all(Stream::Result.shown(&message[at..line.end]).as_bytes())
    }
}

/// Converts a context record to the form of a match.
fn beside(found: &FoundRecord, placed: PlacedRecord) -> FoundRecord {
    FoundRecord {
        index: Some(placed.index),
        log_timestamp: placed.record.time.as_millis(),
        severity: placed.record.severity,
        log_message: placed.record.message,
        ..found.clone()
    }
}

/// Returns the existing records of a run between two positions, both inclusive.
pub(crate) async fn records_between(client: &Client, run: RunId, from: u64, to: u64) -> Outcome<Vec<PlacedRecord>> {
    let (mut records, mut next) = (Vec::new(), Some(from));
    while let Some(position) = next.filter(|position| *position <= to) {
        let count = (to - position).saturating_add(1).min(PAGE_MAX);
        let query = [("from", position.to_string()), ("count", count.to_string())];
        let found = client.find_records(run, &query).await?;
        records.extend(found.items);
        next = found.next;
    }
    Ok(records)
}
