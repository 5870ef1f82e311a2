//! `runlog plans`: plan executions and the outcomes of their steps.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runlog_model::wire::plans::PlanLine;

use super::report::{FormArgs, plan_document, print_report};
use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::WorkspaceRef;
use crate::arguments::period::PeriodArgs;
use crate::exit::Outcome;
use crate::render::preferences::shown_seconds;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, GOOD, count, duration, note, result_json, result_line, styled, table};

/// Maximum number of plan executions per request. Source: `limit` of the list of plan executions.
const LIST_PAGE_MAX: u64 = 100;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A plan runs tasks in steps. Executions of plans of Talend Cloud are collected with their steps and error handlers; others \
are derived from their runs, which do not show whether a further step follows.

Examples:
  runlog plans                                  the executions of the last day
  runlog plans --failed --last 7d
  runlog plans --plan e7734729-cf3d-4578-939c-30381e95cd10 --last 30d
  runlog plans show 7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5
  runlog plans --json | jq -r .executionId"
)]
pub(crate) struct PlansArgs {
    #[command(subcommand)]
    command: Option<PlansCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum PlansCommand {
    /// Show a plan execution: its steps, what failed, what was not started because of it, and earlier executions
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only executions of this plan, by its ID
    #[arg(long, value_name = "PLAN_ID")]
    plan: Option<String>,
    /// Only plan executions of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    #[command(flatten)]
    period: PeriodArgs,
    /// Only plan executions with this status: executing, successful, failed or misfired
    #[arg(long, value_name = "STATUS", value_parser = ["executing", "successful", "failed", "misfired"])]
    status: Option<String>,
    /// Only plan executions that failed: the same as --status failed
    #[arg(long, conflicts_with = "status")]
    failed: bool,
    /// Maximum number of plan executions to list
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// ID of the plan execution
    #[arg(add = ArgValueCompleter::new(candidates::plan_executions))]
    id: String,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs one command, and prints its result.
pub(crate) async fn run(args: PlansArgs) -> Outcome {
    match args.command {
        None => list(args.list).await,
        Some(PlansCommand::Show(args)) => {
            let client = args.connect.client()?;
            let page = args.connect.page(&format!("plans/{}", args.id));
            print_report(&args.form, client.plan_view(&args.id).await?, page, plan_document)
        }
    }
}

async fn list(args: ListArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.client()?;
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(args.plan.clone().map(|plan| ("planId", plan)));
    if let Some(workspace) = &args.workspace {
        query.push(("workspaceId", workspace.resolve_abbreviated(&client).await?.to_string()));
    }
    let status = if args.failed { Some("failed") } else { args.status.as_deref() };
    query.extend(status.map(|status| match status {
        "executing" => ("status", status.to_owned()),
        other => ("status", format!("execution_{other}")),
    }));
    query.extend(range.start.map(|time| ("startTime", time.to_string())));
    query.extend(range.end.map(|time| ("endTime", time.to_string())));
    let (mut plans, mut total) = (Vec::new(), 0);
    while (plans.len() as u64) < args.limit {
        let offset = plans.len() as u64;
        let mut page_query = query.clone();
        page_query.push(("limit", (args.limit - offset).min(LIST_PAGE_MAX).to_string()));
        page_query.push(("offset", offset.to_string()));
        let page = client.plan_lines(&page_query).await?;
        total = page.total;
        let is_last = page.items.is_empty();
        plans.extend(page.items);
        if is_last || plans.len() as u64 >= total {
            break;
        }
    }
    if args.json {
        plans.iter().try_for_each(result_json)?;
    } else if !plans.is_empty() {
        let rows = plans.iter().map(row).collect();
        result_line(table(&["execution", "plan", "status", "started", "took", "runs"], &[4, 5], rows))?;
    }
    if plans.is_empty() {
        note("no plan executions found");
    } else if total > plans.len() as u64 {
        note(format!(
            "{} of {}; --limit shows more",
            count(plans.len() as u64),
            terminal::counted(total, "plan execution")
        ));
    }
    Ok(())
}

fn row(plan: &PlanLine) -> Vec<String> {
    let shown = |text: &str| Stream::Result.shown(text).to_string();
    let word = shown(plan.status.trim_start_matches("execution_"));
    let status = match plan.status.as_str() {
        "execution_successful" => styled(GOOD, &word).to_string(),
        "execution_failed" | "execution_misfired" => styled(BAD, &word).to_string(),
        _ => word,
    };
    let took = plan.finish_timestamp.map(|end| duration(end.millis_since(plan.start_timestamp)));
    let runs = match (plan.done, plan.planned) {
        (Some(done), Some(planned)) => format!("{} of {}", count(done), count(planned)),
        _ => String::new(),
    };
    vec![
        shown(&plan.execution_id),
        shown(plan.plan_name.as_deref().unwrap_or(&plan.plan_id)),
        status,
        shown_seconds(plan.start_timestamp),
        took.unwrap_or_default(),
        runs,
    ]
}
