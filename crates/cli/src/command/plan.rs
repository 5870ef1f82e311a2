//! `runlog plan`: estimates how long a backfill would take.

use std::sync::Arc;

use runlog_client::PaceSetting;
use runlog_collector::Collector;
use serde_json::json;

use crate::arguments::period::PastArgs;
use crate::exit::Outcome;
use crate::render::terminal::{count, duration, result_json, result_line, table};
use crate::settings::{Needs, Opened, REQUESTS_OF_RUN, Scheduled, SettingsArgs};

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
    let Opened { store, upstreams, .. } = args.settings.open(Needs::Upstreams).await?;
    let mut plans = Vec::new();
    for Scheduled { upstream, .. } in upstreams {
        let (name, pace) = (upstream.name.clone(), upstream.client.settings().pace);
        let collector = Collector::new(&store, upstream, Arc::new(runlog_collector::NoProgress));
        let runs = collector.count(range).await?;
        let figures = store.collection().metrics(&name).await?;
        // Each further page takes a request for the page and one for its status.
        let pages = if figures.landed == 0 { 1.0 } else { (figures.pages as f64 / figures.landed as f64).max(1.0) };
        let requests = runs * REQUESTS_OF_RUN + (runs as f64 * (pages - 1.0) * 2.0) as u64 + runs.div_ceil(100);
        let pace = match pace {
            PaceSetting::AsServiceSays => Some(runlog_client::Pace::default()),
            PaceSetting::Fixed(pace) => Some(pace),
            PaceSetting::Unlimited => None,
        };
        let per_minute = pace.map(|pace| pace.per_minute.min(pace.per_second * 60) as u64);
        let seconds = per_minute.map(|most| requests * 60 / most.max(1));
        plans.push((name, runs, requests, per_minute, seconds));
    }
    store.close().await;
    if args.json {
        let rows: Vec<_> = plans.iter().map(|(name, runs, requests, per_minute, seconds)| json!({ "upstream": name, "runs": runs, "requests": requests, "requestsPerMinute": per_minute, "seconds": seconds })).collect();
        return Ok(result_json(&rows)?);
    }
    let rows = plans.into_iter().map(|(name, runs, requests, per_minute, seconds)| {
        let time = seconds.map_or_else(|| "unlimited".to_owned(), |seconds| duration(seconds as i64 * 1000));
        let pace = per_minute.map_or_else(|| "no limit".to_owned(), |most| format!("{} per minute", count(most)));
        vec![name, count(runs), count(requests), pace, time]
    });
    result_line(table(&["upstream", "runs", "requests", "pace", "minimum time"], &[1, 2], rows.collect()))?;
    Ok(())
}
