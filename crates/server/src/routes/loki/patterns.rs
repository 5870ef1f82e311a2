//! Patterns: the first lines of messages with their values masked, and how often each was logged over time.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::http::HeaderMap;
use runlog_analysis::patterns::masked_first_line;
use runlog_logql::{LogExpr, Needs, Pipeline, Steps};
use runlog_model::Severity;
use runlog_store::accounts::Caller;
use runlog_store::query::{RecordView, RecordVisitor, ScanRun, VisitQuery};
use serde_json::{Value, json};

use crate::app::App;
use crate::http::error::ApiResult;
use crate::routes::loki::answers::success;
use crate::routes::loki::entries::{columns, entry_of};
use crate::routes::loki::parameters::{MS, RangeQuery, millis_range, now_ns};
use crate::routes::loki::scope::{SelectedRuns, level_of};
use crate::routes::loki::within_limits::{QueryCancellation, within_limits};

/// Most patterns of an answer: those with the most records.
const PATTERNS_MAX: usize = 300;

/// Most patterns that are counted at a time. Records with a pattern beyond that are left out.
const COUNTED_MAX: usize = 5_000;

/// Most counts, of all patterns and intervals.
const COUNTS_MAX: usize = 1_000_000;

/// Most intervals of an answer.
const INTERVALS_MAX: usize = 1_000;

/// Pattern and level.
type Key = (String, Severity);

/// Counts the records of each pattern.
struct PatternVisitor {
    selected: SelectedRuns,
    pipeline: Arc<Pipeline>,
    needs: Arc<Needs>,
    steps: Steps,
    cancellation: QueryCancellation,
    counts: HashMap<Key, Vec<u64>>,
}

impl RecordVisitor for PatternVisitor {
    fn wants_run(&self, run: &ScanRun<'_>) -> bool {
        self.selected.wants_run(run)
    }

    fn visit(&mut self, record: &RecordView<'_>) -> ControlFlow<()> {
        if self.cancellation.is_set() {
            return ControlFlow::Break(());
        }
        let message = record.message.unwrap_or_default();
        if message.is_empty() || !self.pipeline.may_pass(message) {
            return ControlFlow::Continue(());
        }
        let mut entry = entry_of(&self.selected.task_names, record, &self.needs);
        if !self.pipeline.process(&mut entry) {
            return ControlFlow::Continue(());
        }
        let key = (pattern_of(message), Severity::of(record.severity));
        let since = record.time_ms.saturating_mul(MS).saturating_sub(self.steps.start_ns);
        let index = az::saturating_cast::<i64, usize>(since.div_euclid(self.steps.step_ns)).min(self.steps.count - 1);
        let most = COUNTED_MAX.min(COUNTS_MAX / self.steps.count);
        if self.counts.len() < most || self.counts.contains_key(&key) {
            let empty = || vec![0; self.steps.count];
            self.counts.entry(key).or_insert_with(empty)[index] += 1;
        }
        ControlFlow::Continue(())
    }
}

/// The pattern of a message, in the form of Loki: each value is `<_>`, and so are further lines. It can be used in a
/// filter with `|>`.
fn pattern_of(message: &str) -> String {
    let masked = masked_first_line(message);
    let mut pattern = String::with_capacity(masked.len());
    let mut rest = masked.as_str();
    while let Some(start) = rest.find('<') {
        let inside = &rest[start + 1..];
        let end = inside.find('>').filter(|end| {
            *end > 0 && inside[..*end].bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
        });
        pattern.push_str(&rest[..start]);
        match end {
            Some(end) => {
                if !pattern.ends_with("<_>") {
                    pattern.push_str("<_>");
                }
                rest = &inside[end + 1..];
            }
            None => {
                pattern.push('<');
                rest = inside;
            }
        }
    }
    pattern.push_str(rest);
    if message.trim_end().contains('\n') && !pattern.ends_with("<_>") {
        pattern.push_str("<_>");
    }
    pattern
}

pub(super) async fn patterns(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let log = query.log()?;
    let mut steps = query.steps(app.now())?;
    if steps.count > INTERVALS_MAX {
        let step_ns = steps.step_ns.saturating_mul(az::saturating_cast(steps.count.div_ceil(INTERVALS_MAX)));
        steps = Steps { step_ns, count: steps.count.div_ceil(steps.count.div_ceil(INTERVALS_MAX)), ..steps };
    }
    let (start, end) = query.bounds_ns(app.now())?;
    let range = (start.div_euclid(MS), end.div_euclid(MS));
    let counts = within_limits(app, count(app, caller, &log, steps, range)).await?;
    let mut ranked: Vec<(u64, Key, Vec<u64>)> =
        counts.into_iter().map(|(key, counts)| (counts.iter().sum(), key, counts)).collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    ranked.truncate(PATTERNS_MAX);
    let patterns: Vec<Value> = ranked
        .into_iter()
        .map(|(_, (pattern, severity), counts)| {
            let counted = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
            let samples: Vec<Value> =
                counted.map(|(index, count)| json!([steps.at(index).div_euclid(1_000 * MS), count])).collect();
            json!({"pattern": pattern, "level": level_of(severity), "samples": samples})
        })
        .collect();
    Ok(Json(success(patterns.into())))
}

async fn count(
    app: &App,
    caller: &Caller,
    log: &LogExpr,
    steps: Steps,
    (first_ms, last_ms): (i64, i64),
) -> ApiResult<HashMap<Key, Vec<u64>>> {
    let selection = log.selection();
    let selected = SelectedRuns::new(app, caller, selection.matchers()).await?;
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let mut needs = log.needs();
    needs.line = true;
    needs.named.insert("severity".to_owned());
    let visit = VisitQuery {
        workspace_ids: selected.workspace_ids.clone(),
        task_ids: selected.task_ids.clone(),
        run_ids: selected.run_ids.clone(),
        severities: selected.severities.clone(),
        range: millis_range(first_ms, last_ms),
        message_parts: own(selection.required_texts()),
        caseless_parts: own(selection.required_caseless_texts()),
        columns: columns(&needs),
    };
    let (pipeline, needs) = (Arc::new(Pipeline::new(log, now_ns(app))), Arc::new(needs));
    let cancellation = QueryCancellation::default();
    let _on_drop = cancellation.on_drop();
    let visitor = || PatternVisitor {
        selected: selected.clone(),
        pipeline: Arc::clone(&pipeline),
        needs: Arc::clone(&needs),
        steps,
        cancellation: cancellation.clone(),
        counts: HashMap::new(),
    };
    let visited = Box::pin(app.store().query().visit(visit, visitor)).await?;
    let mut all: HashMap<Key, Vec<u64>> = HashMap::new();
    for (key, counts) in visited.visitors.into_iter().flat_map(|visitor| visitor.counts) {
        match all.get_mut(&key) {
            Some(own) => own.iter_mut().zip(counts).for_each(|(own, count)| *own += count),
            None => drop(all.insert(key, counts)),
        }
    }
    Ok(all)
}
