//! Comparison of two runs: durations, counts, and which patterns and causes are new, gone or changed.

use runlog_model::RunId;
use runlog_store::Result;
use runlog_store::workspaces::Workspaces;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::components::{ComponentsPart, components_of_both};
use super::load::{Loaded, LogPart, ReportSources, RunHead, load};
use super::run::{ChangeCounts, Figures, causes_only_in};
use crate::patterns::PatternChange;
use crate::stack_trace::StackTraceGroup;

/// The differences between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDiff {
    /// The earlier run.
    pub before: Side,
    /// The later run.
    pub after: Side,
    /// Number of patterns by kind of change; absent if one of the logs has no summary, as its side explains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<ChangeCounts>,
    /// Every pattern of either log: new, more frequent, gone, less frequent, unchanged.
    #[serde(default)]
    pub patterns: Vec<PatternChange>,
    /// Root causes of stack traces that only the second run has.
    #[serde(default)]
    pub new_causes: Vec<StackTraceGroup>,
    /// Root causes of stack traces that only the first run has.
    #[serde(default)]
    pub gone_causes: Vec<StackTraceGroup>,
    /// What the components read and wrote in both; absent if neither has component metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<ComponentsPart>,
    /// False if one of the logs has more patterns than are kept: patterns shown as new or gone may be among those not
    /// kept.
    pub complete: bool,
}

/// One of two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The run.
    pub run: RunHead,
    /// The basis of its side of the comparison.
    pub log: LogPart,
    /// Statistics of its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// Compares two runs. Fails with `NotFound` if a run does not exist.
pub async fn run_diff(sources: ReportSources<'_>, before: RunId, after: RunId) -> Result<RunDiff> {
    let (before, after) = (load(sources, before).await?, load(sources, after).await?);
    let mut diff = RunDiff {
        before: side(sources.workspaces, &before).await?,
        after: side(sources.workspaces, &after).await?,
        counts: None,
        patterns: Vec::new(),
        new_causes: Vec::new(),
        gone_causes: Vec::new(),
        components: components_of_both(sources.components, &before.run, &after.run).await?,
        complete: false,
    };
    if let (Some(before), Some(after)) = (before.summary, after.summary) {
        let comparison = before.patterns.compare(&after.patterns);
        diff.counts = Some(ChangeCounts::of(&comparison));
        diff.new_causes = causes_only_in(&after.stack_traces, &before.stack_traces);
        diff.gone_causes = causes_only_in(&before.stack_traces, &after.stack_traces);
        diff.complete = comparison.complete;
        diff.patterns = comparison.patterns;
    }
    Ok(diff)
}

async fn side(workspaces: &Workspaces, loaded: &Loaded) -> Result<Side> {
    let run = RunHead::of(workspaces, &loaded.run).await?;
    Ok(Side { run, log: loaded.log.clone(), figures: loaded.summary.as_ref().map(Figures::of) })
}
