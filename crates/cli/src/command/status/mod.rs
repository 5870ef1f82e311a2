//! `runlog status`: the progress of collection and delivery.

mod sinks;

use runlog_store::collection::{CollectionMetrics, CollectorHeartbeat};
use serde_json::json;

use crate::arguments::archive;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::{BAD, count, counted, duration, note, result_json, result_line, styled, table};
use crate::settings::{REQUESTS_OF_RUN, Requirement, SettingsArgs};

/// Maximum number of runs that could not be landed shown per upstream.
const FAILING_SHOWN: u64 = 20;
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: SettingsArgs,
}

/// Shows the progress. It reads only the archive, without the secrets of upstreams, sinks and alerts.
pub(crate) async fn run(args: StatusArgs) -> Outcome {
    let (settings, stored) = args.from.read()?;
    let upstreams = args.from.upstream_names(&settings, Requirement::Something)?;
    if let Some(folder) = archive::folder_without_archive(&stored) {
        let (folder, file) = (folder.display(), args.from.file().display());
        let advice = format!("set its folder with --data, RUNLOG_DATA or data under [archive] in {file}");
        let message = format!("there is no archive in {folder}: {advice}, or create one with `runlog collect`");
        return Err(Failure::new(Exit::Usage, message));
    }
    let store = archive::open(stored).await?;
    let mut all = Vec::new();
    for name in upstreams {
        all.push((
            store.collection().metrics(name).await?,
            store.collection().failing_runs(name, FAILING_SHOWN).await?,
        ));
    }
    let collectors = store.collection().collectors(runlog_store::limits::COLLECTOR_TTL_MS).await?;
    let of_sinks = sinks::status(&store, &settings.sink_kinds()).await?;
    // What is due is stored by the clock that all nodes share.
    let now = store.shared_clock().now();
    store.close().await;
    if args.json {
        let upstreams: Vec<_> =
            all.iter().map(|(figures, failing)| json!({ "figures": figures, "failing": failing })).collect();
        let sinks: Vec<_> = of_sinks.iter().map(sinks::SinkStatus::json).collect();
        return Ok(result_json(&json!({ "upstreams": upstreams, "collectors": collectors, "sinks": sinks }))?);
    }
    let rows = all.iter().map(|(figures, _)| {
        let CollectionMetrics {
            upstream,
            known,
            running,
            pending,
            failing,
            incomplete,
            landed,
            no_log,
            missing,
            excluded,
            records,
            ..
        } = figures;
        let ago = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), |at| duration(now.as_millis() - at));
        let numbers = [known, running, pending, failing, incomplete, landed, no_log, missing, excluded, records];
        let mut row = vec![upstream.clone()];
        row.extend(numbers.map(|number| count(*number)));
        row.extend([ago(figures.waiting_since), ago(figures.listed_until)]);
        row
    });
    let head = [
        "upstream",
        "found",
        "running",
        "pending",
        "failing",
        "incomplete",
        "archived",
        "no log",
        "vanished",
        "excluded",
        "records",
        "waiting",
        "listed",
    ];
    if all.is_empty() && of_sinks.is_empty() {
        note("the settings have no upstream and no sink: nothing is collected or delivered");
    }
    if rows.len() > 0 {
        result_line(table(&head, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], rows.collect()))?;
    }
    for collector in collectors {
        result_line(budget(&collector))?;
    }
    for (figures, _) in &all {
        let CollectionMetrics { upstream, components_waiting, components_failing, components_problem, .. } = figures;
        if *components_waiting > 0 {
            let problem = components_problem.as_deref().map(|problem| Stream::Result.shown(problem));
            let problem = problem.map(|problem| format!(", {} failing: {problem}", count(*components_failing)));
            let runs = counted(*components_waiting, "run");
            let problem = problem.unwrap_or_default();
            result_line(format!("{upstream}: component metrics of {runs} are still to be fetched{problem}"))?;
        }
        if let Some(problem) = &figures.details_problem {
            let requests = counted(figures.details_failed, "request");
            let last = duration((now.as_millis() - figures.details_failed_at.unwrap_or_default()).max(0));
            let problem = Stream::Result.shown(problem);
            result_line(format!(
                "{upstream}: {requests} for details of tasks and runs failed, the last one {last} ago: {problem}"
            ))?;
        }
        let plans = &figures.plans;
        if plans.known > 0 || plans.problem.is_some() {
            let problem = plans.problem.as_deref().map(|problem| format!(": {}", Stream::Result.shown(problem)));
            result_line(format!(
                "{upstream}: {}, {} running, {} failing{}",
                counted(plans.known, "plan execution"),
                count(plans.running),
                count(plans.failing + plans.given_up),
                problem.unwrap_or_default()
            ))?;
        }
        if let Some(logs) = &figures.audit_logs {
            let problem = logs.problem.as_deref().map(|problem| format!(": {}", Stream::Result.shown(problem)));
            let entries = if logs.entries == 1 { "entry" } else { "entries" };
            let (number, problem) = (count(logs.entries), problem.unwrap_or_default());
            result_line(format!("{upstream}: {number} {entries} of the tenant's audit logs{problem}"))?;
        }
    }
    for (figures, _) in &all {
        if !figures.no_log_reasons.is_empty() {
            let reasons =
                figures.no_log_reasons.iter().map(|(reason, runs)| format!("{} {}", count(*runs), reason.phrase()));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            result_line(format!("{}: {} without a log: {reasons}", figures.upstream, counted(figures.no_log, "run")))?;
        }
    }
    for (figures, failing) in all.iter() {
        for run in failing {
            let next = duration((run.due_at - now.as_millis()).max(0));
            let problem = Stream::Result.shown(run.last_error.as_deref().unwrap_or_default());
            result_line(format!(
                "{} {} run {} ({}), {} failed attempts, next in {next}: {problem}",
                styled(BAD, "not archived:"),
                figures.upstream,
                run.run_id,
                run.status,
                run.attempts
            ))?;
        }
    }
    sinks::show_status(&of_sinks, now)
}

/// `collector of api.eu.cloud.talend.com: 412 of 480 requests left in this minute, about 9,600 runs per hour at this
/// rate`.
fn budget(collector: &CollectorHeartbeat) -> String {
    let number = |count: i64| count.unsigned_abs();
    let CollectorHeartbeat { host, requests, limited, .. } = collector;
    let sent = format!("{} requests sent, {} of them throttled", count(number(*requests)), count(number(*limited)));
    match collector.per_minute.zip(collector.requests_left) {
        Some((per_minute, left)) => format!(
            "collector of {host}: {} of {} requests left in this minute, about {} runs per hour at this rate; {sent}",
            count(number(left)),
            count(number(per_minute)),
            count(number(per_minute) * 60 / REQUESTS_OF_RUN)
        ),
        None => format!("collector of {host}, without a rate limit; {sent}"),
    }
}
