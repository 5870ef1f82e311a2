//! Summaries: a claim names an existing log, and a stored summary belongs to the log that it names.

use runlog_model::RunId;
use runlog_store::Error;
use runlog_store::problems::NewProblem;
use runlog_store::summaries::{ClaimedSummary, LogVersion, NewSummary};

use crate::clients::{Answer, Clients};

/// The version of the analysis.
const VERSION: u32 = 1;

/// Returns a summary that contains the run and the version of its log.
fn body(run_id: RunId, log: LogVersion) -> Vec<u8> {
    format!("{run_id} {} {}", log.epoch, log.records).into_bytes()
}

impl Clients {
    /// Lets a node create the summaries that are due. Returns false if none is.
    pub(crate) async fn summarize(&self, is_steady: bool) -> bool {
        let (clients, node, mut numbers) = (self.clone(), self.some_node(), self.numbers());
        let summarizing = self.call(node, "summarize", false, move |store| async move {
            let claimed = store.summaries().claim_due(VERSION).await?;
            if claimed.iter().any(|claim| claim.log.records == 0 && !claim.has_failed) {
                clients.violation("an empty log is to be summarized".to_owned());
            }
            if !is_steady && numbers.chance(500) {
                let until_ms = clients.now_ms() + numbers.between(0, 600_000);
                clients.0.shared.schedule.sleep_until(node, until_ms).await;
            }
            let made = |of: &ClaimedSummary| NewSummary {
                of: *of,
                version: VERSION,
                body: body(of.run_id, of.log),
                error_groups: Vec::new(),
                problem: of.has_failed.then(|| NewProblem {
                    id: "00ff".repeat(4),
                    title: "it failed".to_owned(),
                    headline: None,
                }),
            };
            let made: Vec<NewSummary> = claimed.iter().map(made).collect();
            match if is_steady { 0 } else { numbers.below(6) } {
                0..=3 => store.summaries().save_all(&made).await?,
                4 => {
                    for claim in &claimed {
                        store.summaries().postpone(claim).await?;
                    }
                }
                // The node that creates them disappears without releasing its claims.
                _ => {}
            }
            Ok::<_, Error>(!claimed.is_empty())
        });
        match summarizing.await.0 {
            Answer::Of(Ok(was_due)) => was_due,
            Answer::Of(Err(error)) => {
                self.expect_usual("a summary", &error);
                true
            }
            Answer::Lost => true,
        }
    }

    /// Compares the summary of a run with its log. Returns the log, or `None` if a node could not read it.
    pub(crate) async fn check_summary(&self, run: usize, node: usize, is_end: bool) -> Option<LogVersion> {
        let id = self.run_id(run);
        let reading =
            self.call(node, "read a summary", false, move |store| async move { store.summaries().get(id).await });
        let of = match reading.await.0 {
            Answer::Of(Ok(Some(of))) => of,
            Answer::Of(Err(error)) => {
                self.expect_usual("a summary", &error);
                return None;
            }
            _ => return None,
        };
        if let Some(summary) = &of.summary {
            let is_of_log = summary.log.epoch == of.log.epoch && summary.log.records <= of.log.records;
            if !is_of_log || summary.body != body(id, summary.log) {
                self.violation(format!("the summary of run {run}, whose log is {:?}: {:?}", of.log, summary.log));
            }
        }
        let expected = (of.log.records > 0).then_some(of.log);
        if is_end && of.summary.as_ref().map(|summary| summary.log) != expected {
            let found = of.summary.map(|summary| summary.log);
            self.violation(format!("at the end, the summary of run {run}, whose log is {expected:?}, is of {found:?}"));
        }
        Some(of.log)
    }
}
