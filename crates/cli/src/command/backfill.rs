//! `runlog backfill`: collects the runs of a past period.

use runlog_collector::Collector;
use tokio_util::sync::CancellationToken;

use crate::arguments::period::PastArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::collect_progress::CollectBar;
use crate::render::terminal::{count, counted, note, result_line};
use crate::settings::{Opened, Requirement, Scheduled, SettingsArgs};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog plan --from 30d         estimate how long it would take for the last 30 days
  runlog backfill --from 30d
  runlog backfill --from 2026-10-01 --to 2026-10-15

If interrupted, run the same command again: runs that have landed are not fetched again.")]
pub(crate) struct BackfillArgs {
    #[command(flatten)]
    period: PastArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Collects the runs of a past period.
pub(crate) async fn run(args: BackfillArgs, stop: CancellationToken) -> Outcome {
    let range = args.period.range()?;
    let Opened { store, upstreams, .. } = args.settings.open(Requirement::Upstreams).await?;
    let bar = CollectBar::new();
    let (mut set_back, mut problem) = (0, None);
    for Scheduled { upstream, .. } in upstreams {
        let name = upstream.name.clone();
        let collector = Collector::new(&store, upstream, bar.clone());
        match collector.discover_range(range).await {
            Ok(found) => {
                note(format!("{name}: {} listed, {} of them new", counted(found.listed, "run"), count(found.new)));
                if found.taken_in > 0 {
                    note(format!("{name}: {} that had been excluded are included now", count(found.taken_in)));
                }
                if found.unreadable > 0 {
                    note(format!(
                        "{name}: {} skipped because of IDs that are not UUIDs",
                        counted(found.unreadable, "run")
                    ));
                }
            }
            // Runs that could be listed are fetched even if the list is incomplete.
            Err(error) => {
                problem.get_or_insert(Failure::from(error).while_doing(format!("upstream {name}")));
            }
        }
        let round = collector.land_due(&stop).await?;
        collector.leave().await?;
        set_back += round.set_back;
        result_line(format!(
            "{name}: {} landed with {}",
            counted(round.landed, "run"),
            counted(round.records, "record")
        ))?;
    }
    store.close().await;
    if let Some(problem) = problem.filter(|_| !stop.is_cancelled()) {
        return Err(problem);
    }
    match (stop.is_cancelled(), set_back) {
        (true, _) => Err(Failure::new(Exit::Interrupted, "interrupted; run the same command again to resume")),
        (false, 0) => Ok(()),
        (false, runs) => Err(Failure::new(
            Exit::Incomplete,
            format!("{} could not be landed; see `runlog status`", counted(runs, "run")),
        )),
    }
}
