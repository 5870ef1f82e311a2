//! Metric queries: each range of the query is visited once, and its samples are added up as they come.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use runlog_logql::{EvalError, MetricExpr, MetricPlan, Needs, RangeLeaf, SampleSet, Steps};
use runlog_store::accounts::Caller;
use runlog_store::query::{RecordView, RecordVisitor, ScanRun, VisitQuery};
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::loki::answers::{self, Work};
use crate::routes::loki::entries::{columns, entry_of};
use crate::routes::loki::parameters::{MS, millis_range, now_ns};
use crate::routes::loki::scope::SelectedRuns;
use crate::routes::loki::within_limits::{QueryCancellation, compute};

/// Adds records to the samples of a range.
struct LeafVisitor {
    plan: Arc<MetricPlan>,
    leaf: usize,
    needs: Arc<Needs>,
    selected: SelectedRuns,
    cancellation: QueryCancellation,
    result: Result<SampleSet, EvalError>,
}

impl LeafVisitor {
    fn leaf(&self) -> &RangeLeaf {
        &self.plan.leaves()[self.leaf]
    }
}

impl RecordVisitor for LeafVisitor {
    fn wants_run(&self, run: &ScanRun<'_>) -> bool {
        self.selected.wants_run(run)
    }

    fn visit(&mut self, record: &RecordView<'_>) -> ControlFlow<()> {
        if self.cancellation.is_set() {
            return ControlFlow::Break(());
        }
        if !self.leaf().may_pass(record.message.unwrap_or_default()) {
            return ControlFlow::Continue(());
        }
        let Ok(set) = &mut self.result else { return ControlFlow::Break(()) };
        let entry = entry_of(&self.selected.task_names, record, &self.needs);
        match self.plan.leaves()[self.leaf].add(set, entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.result = Err(error);
                ControlFlow::Break(())
            }
        }
    }
}

pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    expr: &MetricExpr,
    steps: Steps,
    is_range: bool,
) -> ApiResult<Json<Value>> {
    let begun = Instant::now();
    let plan = MetricPlan::new(expr, steps, now_ns(app)).map_err(|error| ApiError::invalid(error.to_string()))?;
    let plan = Arc::new(plan);
    let (mut sets, mut work) = (Vec::new(), Work::default());
    for index in 0..plan.leaves().len() {
        sets.push(samples(app, caller, &plan, index, &mut work).await?);
    }
    let evaluating = move |_: &QueryCancellation| -> ApiResult<Value> {
        let matrix = plan.evaluate(sets).map_err(|error| ApiError::invalid(error.to_string()))?;
        work.seconds = begun.elapsed().as_secs_f64();
        Ok(answers::of_matrix(matrix, steps, is_range, work))
    };
    compute(evaluating).await.map(Json)
}

async fn samples(
    app: &App,
    caller: &Caller,
    plan: &Arc<MetricPlan>,
    index: usize,
    work: &mut Work,
) -> ApiResult<SampleSet> {
    let leaf = &plan.leaves()[index];
    let selection = leaf.selection();
    let selected = SelectedRuns::new(app, caller, selection.matchers()).await?;
    let needs = Arc::new(leaf.needs());
    let (after_ns, until_ns) = leaf.time_range_ns();
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let visit = VisitQuery {
        workspace_ids: selected.workspace_ids.clone(),
        task_ids: selected.task_ids.clone(),
        run_ids: selected.run_ids.clone(),
        severities: selected.severities.clone(),
        range: millis_range(after_ns.div_euclid(MS) + 1, until_ns.div_euclid(MS)),
        message_parts: own(selection.required_texts()),
        caseless_parts: own(selection.required_caseless_texts()),
        columns: columns(&needs),
    };
    let cancellation = QueryCancellation::default();
    let _on_drop = cancellation.on_drop();
    let visitor = || LeafVisitor {
        plan: Arc::clone(plan),
        leaf: index,
        needs: Arc::clone(&needs),
        selected: selected.clone(),
        cancellation: cancellation.clone(),
        result: Ok(leaf.sample_set()),
    };
    let visited = Box::pin(app.store().query().visit(visit, visitor)).await?;
    work.records += visited.records;
    work.bytes += visited.bytes;
    let mut all = leaf.sample_set();
    for visitor in visited.visitors {
        let set = visitor.result.map_err(|error| ApiError::invalid(error.to_string()))?;
        all.merge(set).map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    Ok(all)
}
