//! `runlog audit-logs`: what users did in the consoles and APIs of the upstreams.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use runlog_model::wire::tenant_audit_logs::TenantAuditLogBody;

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::period::PeriodArgs;
use crate::exit::Outcome;
use crate::render::preferences::shown_seconds;
use crate::render::screen::Stream;
use crate::render::terminal::{BAD, count, note, result_json, result_line, shortened, styled, table};

/// Maximum number of entries per request. Source: `limit` of the search.
const LIST_PAGE_MAX: u64 = 100;

/// Most characters of a field in a list.
const FIELD_CHARS: usize = 60;

#[derive(Debug, Args)]
#[command(after_help = "\
Talend Cloud keeps the audit logs of the tenant for some days. They are collected with audit_logs = true in the settings of \
an upstream. Only administrators, and service accounts with the permission AUDIT_LOGS_VIEW, can read them. Runlog's own \
audit log, which records reads and changes in the archive, is shown by the web UI and GET /runlog/v1/audit.

Examples:
  runlog audit-logs                                     the entries of the last day
  runlog audit-logs --user kim@example.com --last 30d
  runlog audit-logs --operation delete --last 7d
  runlog audit-logs --text '\"code\":\"403\"' --json | jq .entry")]
pub(crate) struct AuditLogsArgs {
    #[command(flatten)]
    period: PeriodArgs,
    /// Only entries of this user: name, mail address or technical ID
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only entries of this application, such as TMC
    #[arg(long, value_name = "APPLICATION")]
    application: Option<String>,
    /// Only entries of this category
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
    /// Only entries of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only entries of this operation, such as create
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Only entries that contain this text, as they are written in JSON; the case of ASCII letters is ignored
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only entries of this upstream
    #[arg(long, value_name = "UPSTREAM", add = ArgValueCompleter::new(candidates::upstreams))]
    upstream: Option<String>,
    /// Maximum number of entries to list
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Lists entries, newest first.
pub(crate) async fn run(args: AuditLogsArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.client()?;
    let wanted = [
        ("from", range.start.map(|time| time.to_string())),
        ("to", range.end.map(|time| time.to_string())),
        ("user", args.user.clone()),
        ("applicationId", args.application.clone()),
        ("eventCategory", args.category.clone()),
        ("eventType", args.event_type.clone()),
        ("eventOperation", args.operation.clone()),
        ("q", args.text.clone()),
        ("upstream", args.upstream.clone()),
    ];
    let query: Vec<(&str, String)> = wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let (mut rows, mut shown, mut total) = (Vec::new(), 0, 0);
    while shown < args.limit {
        let page = [("limit", (args.limit - shown).min(LIST_PAGE_MAX).to_string()), ("offset", shown.to_string())];
        let page = client.tenant_audit_logs(&[&query[..], &page].concat()).await?;
        total = page.total;
        let came = page.items.len() as u64;
        shown += came;
        match args.json {
            true => page.items.iter().try_for_each(result_json)?,
            false => rows.extend(page.items.iter().map(row)),
        }
        if came == 0 || shown >= total {
            break;
        }
    }
    if !rows.is_empty() {
        result_line(table(&["time", "user", "event", "status", "client", "request"], &[], rows))?;
    }
    if shown == 0 {
        note("no entries found");
    } else if total > shown {
        note(format!("{} of {} entries; --limit shows more", count(shown), count(total)));
    }
    Ok(())
}

fn row(entry: &TenantAuditLogBody) -> Vec<String> {
    // On a terminal, each entry is shown on one line, with control characters escaped.
    let shown = |text: &str| Stream::Result.shown_on_line(&shortened(text, FIELD_CHARS)).into_owned();
    let first = |texts: &[&Option<String>]| shown(texts.iter().find_map(|text| text.as_deref()).unwrap_or_default());
    let words = [&entry.event_type, &entry.event_category, &entry.event_operation];
    let words: Vec<&str> = words.iter().filter_map(|word| word.as_deref()).collect();
    let status = entry.status.as_deref().unwrap_or_default();
    let request = [&entry.method, &entry.url].iter().filter_map(|part| part.as_deref()).collect::<Vec<_>>().join(" ");
    vec![
        shown_seconds(entry.time),
        first(&[&entry.username, &entry.email, &entry.user_id]),
        shown(&words.join(" / ")),
        if status.starts_with(['4', '5']) { styled(BAD, shown(status)) } else { shown(status) },
        first(&[&entry.client_ip]),
        shown(&request),
    ]
}
