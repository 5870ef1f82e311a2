//! The progress and the failures of deliveries.

use runlog_model::Timestamp;
use runlog_store::Store;
use runlog_store::delivery::{DeadLetter, FailingDelivery, SinkMetrics};
use runlog_store::tenant_audit_logs::AuditDeliveryState;
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{BAD, count, duration, result_line, styled, table};

/// Deliveries and records that failed, as many of each as `status` shows.
const FAILING_SHOWN: u64 = 20;

/// The state of a sink and its failures.
pub(crate) struct SinkStatus {
    figures: SinkMetrics,
    failing: Vec<FailingDelivery>,
    dead_letters: Vec<DeadLetter>,
    audit_logs: Option<AuditDeliveryState>,
}

/// The status of each sink: of those in the settings, by name and kind, and of former ones.
pub(crate) async fn status(store: &Store, sinks: &[(&str, &str)]) -> Outcome<Vec<SinkStatus>> {
    let mut all = store.deliveries().metrics().await?;
    for (name, kind) in sinks {
        if !all.iter().any(|figures| figures.name == *name) {
            let (name, kind) = ((*name).to_owned(), (*kind).to_owned());
            all.push(SinkMetrics { name, kind, ..SinkMetrics::default() });
        }
    }
    let mut statuses = Vec::with_capacity(all.len());
    for figures in all {
        let failing = store.deliveries().failing(&figures.name, FAILING_SHOWN).await?;
        let dead_letters = store.deliveries().dead_letters(&figures.name, FAILING_SHOWN).await?;
        let audit_logs = store.tenant_audit_logs().delivery_state(&figures.name).await?;
        statuses.push(SinkStatus { figures, failing, dead_letters, audit_logs });
    }
    Ok(statuses)
}

impl SinkStatus {
    pub(crate) fn json(&self) -> Value {
        let mut status = json!({ "figures": self.figures, "failing": self.failing, "deadLetters": self.dead_letters });
        if let Some(audit_logs) = &self.audit_logs {
            status["auditLogs"] = json!(audit_logs);
        }
        status
    }
}

/// Prints the states of sinks as a table, and the failures below it.
pub(crate) fn show_status(statuses: &[SinkStatus], now: Timestamp) -> Outcome {
    if statuses.is_empty() {
        return Ok(());
    }
    let rows = statuses.iter().map(|SinkStatus { figures, .. }| {
        let numbers = [figures.due, figures.failing, figures.done, figures.dead, figures.records, figures.refused];
        let mut row = vec![figures.name.clone(), figures.kind.clone()];
        row.extend(numbers.map(count));
        row.push(figures.due_since.map_or_else(|| "-".to_owned(), |since| duration(now.as_millis() - since)));
        row.push(figures.last_error.clone().unwrap_or_else(|| "-".to_owned()));
        row
    });
    let head = ["sink", "kind", "due", "failing", "done", "dead", "records", "refused", "lag", "problem"];
    result_line(table(&head, &[2, 3, 4, 5, 6, 7], rows.collect()))?;
    for SinkStatus { figures, failing, dead_letters, audit_logs } in statuses {
        if let Some(AuditDeliveryState { delivered, due, refused, problem }) = audit_logs {
            let problem = problem.as_deref().map(|problem| format!(": {}", Stream::Result.shown(problem)));
            let (name, problem) = (&figures.name, problem.unwrap_or_default());
            let (delivered, due, refused) = (count(*delivered), count(*due), count(*refused));
            result_line(format!("audit logs to {name}: {delivered} delivered, {due} due, {refused} refused{problem}"))?;
        }
        for run in failing {
            let what = match run.state.as_str() {
                "dead" => "refused permanently, not retried".to_owned(),
                _ => format!(
                    "{} failed attempts, next in {}",
                    run.attempts,
                    duration((run.due_at - now.as_millis()).max(0))
                ),
            };
            let (bad, name, id) = (styled(BAD, "not delivered:"), &figures.name, &run.run_id);
            result_line(format!("{bad} {name} run {id}, {what}: {}", Stream::Result.shown(&run.last_error)))?;
        }
        for letter in dead_letters {
            result_line(refused_line(&figures.name, letter))?;
        }
        let shown: u64 = dead_letters.iter().map(|letter| letter.records.unsigned_abs()).sum();
        if figures.refused > shown {
            result_line(format!("{} records in total were refused by {}", count(figures.refused), figures.name))?;
        }
        if figures.too_old > 0 {
            let (records, name) = (count(figures.too_old), &figures.name);
            result_line(format!("{records} records were older than max_age of {name} and were not sent"))?;
        }
    }
    Ok(())
}

/// A record that a sink refused, or several.
fn refused_line(name: &str, letter: &DeadLetter) -> String {
    let DeadLetter { run_id, arrival, last_arrival, records, of_records, reason, .. } = letter;
    let (bad, at, to) =
        (styled(BAD, "refused:"), Timestamp::clamped(letter.record_time), Timestamp::clamped(letter.last_time));
    let (number, reason) = (|number: &i64| count(number.unsigned_abs()), Stream::Result.shown(reason));
    if *of_records > *records {
        let (some, all) = (number(records), number(of_records));
        return format!(
            "{bad} {name} {some} of {all} records of run {run_id} from {arrival} to {last_arrival} ({at} to {to}); it does \
             not say which: {reason}"
        );
    }
    match records {
        1 => format!("{bad} {name} record {arrival} of run {run_id} ({at}): {reason}"),
        _ => {
            let some = number(records);
            format!(
                "{bad} {name} {some} records of run {run_id} from {arrival} to {last_arrival} ({at} to {to}): {reason}"
            )
        }
    }
}
