//! `runlog collect`: collects the runs of upstreams into the archive, once or continuously.

use std::sync::Arc;

use runlog_collector::alerts::{AlertError, SearchScope};
use runlog_collector::{CollectError, CollectStats, Collector};
use runlog_store::Store;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::arguments::log::LogArgs;
use crate::background::{collect_continuously, send_alerts, spawn_delivery};
use crate::command::deliver::deliver_once;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::collect_progress::CollectBar;
use crate::render::terminal::{count, counted, note, result_json, result_line};
use crate::settings::{Opened, Requirement, Scheduled, SettingsArgs};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Lists the runs of every upstream, follows each run until it has ended and its log has settled, and stores its log in the \
archive: each record exactly once. A log counts as landed only when the upstream reports the same number of records. If \
interrupted or killed, run the same command again to resume. Any number of collectors can share an archive on PostgreSQL.

Examples:
  runlog check --example > runlog.toml     write example settings
  runlog check                             validate the settings and test the connections
  runlog collect --once                    collect once, for cron
  runlog collect                           collect continuously, on the schedule in the settings

Exit codes of --once: 0 everything that was due has landed, 5 an upstream or the archive is unavailable (try again \
later), 6 some logs are incomplete or failed; they are retried, and `runlog status` lists them")]
pub(crate) struct CollectArgs {
    /// List runs once, fetch the logs that are due, and exit
    #[arg(long)]
    once: bool,
    /// Immediately retry runs that failed or had no log
    #[arg(long)]
    retry: bool,
    /// Print the result as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Seal logs for lakehouses, as `runlog serve --iceberg` does
    #[arg(long, env = "RUNLOG_ICEBERG")]
    iceberg: bool,
    #[command(flatten)]
    from: SettingsArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Collects, once or until stopped.
pub(crate) async fn run(args: CollectArgs, stop: CancellationToken) -> Outcome {
    if !args.once {
        args.log.write();
    }
    let opened = args.from.open_to_seal(Requirement::UpstreamsOrAlerts, args.iceberg).await?;
    let store = opened.store.clone();
    let outcome = match args.once {
        true => once(opened, &args, CollectBar::new(), &stop).await,
        false => continuously(opened, &args, &stop).await,
    };
    store.close().await;
    outcome
}

async fn continuously(opened: Opened, args: &CollectArgs, stop: &CancellationToken) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    for Scheduled { upstream, .. } in &upstreams {
        retry_if_asked(&store, args, &upstream.name).await?;
    }
    // Sealing, retention, sweeping and summaries, for archives without a service.
    let unheard = Arc::new(runlog_collector::NoProgress);
    let mut delivering = spawn_delivery(&store, sinks, stop);
    tokio::join!(
        store.maintenance().run_jobs(stop.clone()),
        runlog_analysis::make_summaries(store.summaries(), store.logs(), stop.clone()),
        collect_continuously(store.clone(), upstreams, unheard, stop.clone()),
        send_alerts(&store, alerts.map(Arc::new), stop.clone())
    );
    while delivering.join_next().await.is_some() {}
    Ok(())
}

async fn once(opened: Opened, args: &CollectArgs, bar: Arc<CollectBar>, stop: &CancellationToken) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    let mut total = CollectStats::default();
    let mut problem = None;
    let mut audit_entries = 0;
    for Scheduled { upstream, .. } in upstreams {
        let name = upstream.name.clone();
        retry_if_asked(&store, args, &name).await?;
        let collector = Collector::new(&store, upstream, bar.clone());
        collector.share_pace().await?;
        // Known runs are fetched even if the list is unavailable.
        let listed = collector.discover().await.map(drop);
        let round = collector.land_due(stop).await;
        let audit_logs = collector.collect_audit_logs(stop).await?;
        if let Some(problem) = &audit_logs.problem {
            note(format!("{name}: {problem}"));
        }
        audit_entries += audit_logs.stored;
        collector.leave().await?;
        for error in [
            listed.err(),
            round
                .as_ref()
                .err()
                .map(ToString::to_string)
                .map(|text| CollectError::BadRun { run: name.clone(), what: text }),
        ]
        .into_iter()
        .flatten()
        {
            problem.get_or_insert(Failure::from(error).while_doing(format!("upstream {name}")));
        }
        if let Ok(round) = round {
            total += round;
        }
    }
    drop(bar);
    if let Some(alerts) = alerts {
        let clock = store.shared_clock();
        alerts.find(SearchScope::Once, clock.now()).await.map_err(alert_failure)?;
        alerts.send_due(&*clock, stop).await.map_err(alert_failure)?;
    }
    if args.json {
        result_json(
            &json!({ "landed": total.landed, "records": total.records, "noLog": total.no_log, "setBack": total.set_back, "componentMetrics": total.components, "planExecutions": total.plans, "auditLogs": audit_entries }),
        )?;
    } else {
        let mut text = format!("{} landed with {}", counted(total.landed, "run"), counted(total.records, "record"));
        if total.plans > 0 {
            text += &format!("; {}", counted(total.plans, "plan execution"));
        }
        if audit_entries > 0 {
            text += &format!("; {} of the tenant's audit logs", entries(audit_entries));
        }
        if total.no_log > 0 {
            text += &format!("; {} without a log", count(total.no_log));
        }
        if total.set_back > 0 {
            text += &format!("; {} will be retried", count(total.set_back));
        }
        result_line(text)?;
    }
    // Collected logs are delivered even if others could not be collected.
    let delivered = deliver_once(&store, sinks, stop).await;
    if stop.is_cancelled() {
        return Err(Failure::new(Exit::Interrupted, "interrupted; run the same command again to resume"));
    }
    match problem.or(delivered.err()) {
        Some(problem) => Err(problem),
        None if total.set_back > 0 => {
            let message = format!("{} could not be landed; see `runlog status`", counted(total.set_back, "run"));
            Err(Failure::new(Exit::Incomplete, message))
        }
        None => Ok(()),
    }
}

fn entries(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "entry" } else { "entries" })
}

fn alert_failure(error: AlertError) -> Failure {
    Failure { exit: Exit::Unavailable, error: error.into() }
}

async fn retry_if_asked(store: &Store, args: &CollectArgs, upstream: &str) -> Outcome {
    if args.retry {
        let runs = store.collection().retry(upstream).await?;
        note(format!("{} of {upstream} will be retried", counted(runs, "run")));
    }
    Ok(())
}
