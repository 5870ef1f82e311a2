//! `runlog plan`: estimates how long a backfill would take.

use std::sync::Arc;

use runlog_client::Pace;
use runlog_collector::Collector;

use crate::arguments::period::PastArgs;
use crate::exit::Outcome;
use crate::render::terminal::{count, duration, result_json, result_line, table};
use crate::settings::{
    Opened, REQUESTS_OF_COMPONENTS, REQUESTS_OF_COUNT, REQUESTS_OF_RUN, Requirement, Scheduled, SettingsArgs,
};

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    period: PastArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Prints the number of runs, and how long it takes to fetch them.
pub(crate) async fn run(args: PlanArgs) -> Outcome {
    let range = args.period.range()?;
    let Opened { store, upstreams, .. } = args.settings.open(Requirement::Upstreams).await?;
    let mut plans = Vec::new();
    for Scheduled { upstream, .. } in upstreams {
        let (name, pace) = (upstream.name.clone(), upstream.client.settings().pace);
        let of_components = if upstream.settings.component_metrics { REQUESTS_OF_COMPONENTS } else { 0 };
        let collector = Collector::new(&store, upstream, Arc::new(runlog_collector::NoProgress));
        let runs = collector.count(range).await?;
        let figures = store.collection().metrics(&name).await?;
        // Each further page takes a request for the page and one for its status.
        let further =
            if figures.landed == 0 { 0.0 } else { (figures.pages as f64 / figures.landed as f64 - 1.0).max(0.0) };
        let of_further = further * REQUESTS_OF_RUN as f64 + further.min(1.0) * REQUESTS_OF_COUNT as f64;
        let requests =
            runs * (REQUESTS_OF_RUN + of_components) + (runs as f64 * of_further) as u64 + runs.div_ceil(100);
        let per_minute = pace.of_monitoring().map(Pace::requests_per_minute);
        let seconds = per_minute.map(|most| requests * 60 / most.max(1));
        let runs_per_hour = per_minute.map(|most| most * 60 / REQUESTS_OF_RUN);
        plans.push(Plan { upstream: name, runs, requests, requests_per_minute: per_minute, runs_per_hour, seconds });
    }
    store.close().await;
    if args.json {
        return Ok(result_json(&plans)?);
    }
    let rows = plans.into_iter().map(|plan| {
        let time = plan.seconds.map_or_else(|| "unlimited".to_owned(), |seconds| duration(seconds as i64 * 1000));
        let pace = plan
            .requests_per_minute
            .map_or_else(|| "no limit".to_owned(), |most| format!("{} per minute", count(most)));
        let most =
            plan.runs_per_hour.map_or_else(|| "no limit".to_owned(), |most| format!("{} runs per hour", count(most)));
        vec![plan.upstream, count(plan.runs), count(plan.requests), pace, most, time]
    });
    let heads = ["upstream", "runs", "requests", "pace", "at most", "minimum time"];
    result_line(table(&heads, &[1, 2], rows.collect()))?;
    Ok(())
}

/// What collecting the runs of one upstream takes.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    upstream: String,
    runs: u64,
    requests: u64,
    /// `null` without a rate limit.
    requests_per_minute: Option<u64>,
    /// Of runs whose log is one page, without their component metrics; `null` without a rate limit.
    runs_per_hour: Option<u64>,
    /// `null` without a rate limit.
    seconds: Option<u64>,
}
