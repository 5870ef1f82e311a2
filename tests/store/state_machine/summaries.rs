//! Summaries: a claim names the current version of a log, and stored summaries belong to existing logs.

use runlog_model::RunId;
use runlog_store::summaries::{ClaimedSummary, LogVersion, NewSummary};

use crate::interleaving::interleaved;
use crate::{Change, HOUR_MS, Machine, seal_all};

/// The version of the analysis.
const VERSION: u32 = 1;

/// The outcome of claimed summaries.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Made {
    Saved,
    Postponed,
    /// The node that claimed them has disappeared.
    Abandoned,
}

/// Returns a summary that contains the run and the version of its log.
fn body(run_id: RunId, log: LogVersion) -> Vec<u8> {
    format!("{run_id} {} {}", log.epoch, log.records).into_bytes()
}

fn made_of(claimed: &[ClaimedSummary]) -> Vec<NewSummary> {
    let made = |of: &ClaimedSummary| {
        assert!(of.log.records > 0, "an empty log was claimed");
        NewSummary { of: *of, version: VERSION, body: body(of.run_id, of.log), error_groups: Vec::new(), problem: None }
    };
    claimed.iter().map(made).collect()
}

impl Machine {
    /// Claims the summaries that are due; meanwhile, a log changes.
    pub(crate) async fn summarize(&mut self, node: usize, run: usize, change: &Change, made: Made) {
        let claimed = self.node(node).summaries().claim_due(VERSION).await.unwrap();
        for claim in &claimed {
            let run = self.index_of(claim.run_id);
            assert_eq!(claim.log, self.log_version(run), "run {run}, of which a summary is made");
        }
        self.change(node + 1, run, change).await;
        match made {
            Made::Saved => self.node(node).summaries().save_all(&made_of(&claimed)).await.unwrap(),
            Made::Postponed => {
                for claim in &claimed {
                    self.node(node).summaries().postpone(claim).await.unwrap();
                }
            }
            Made::Abandoned => {}
        }
        self.check_summaries(node + 2).await;
    }

    /// Claims the summaries that are due while another node deletes one of these logs.
    pub(crate) async fn summarize_while_deleting(&mut self, node: usize, run: usize, polls: usize) {
        self.seal_one(node, run).await;
        let (summaries, id) = (self.node(node).summaries().clone(), self.runs[run]);
        let deleting = self.node(node + 1).maintenance().clone();
        let (claimed, deleted) = interleaved(polls, summaries.claim_due(VERSION), deleting.delete_log(id)).await;
        self.expect_deleted(run, deleted);
        summaries.save_all(&made_of(&claimed.unwrap())).await.unwrap();
        self.check_summaries(node).await;
        self.verify(node).await;
    }

    pub(crate) fn log_version(&self, run: usize) -> LogVersion {
        LogVersion { epoch: self.model[run].epoch, records: self.model[run].records.len() as u64 }
    }

    pub(crate) async fn check_summaries(&self, node: usize) {
        for (run, run_id) in self.runs.iter().enumerate() {
            let of = self.node(node).summaries().get(*run_id).await.unwrap().unwrap();
            let now = self.log_version(run);
            assert_eq!(of.log, now, "the log of run {run}");
            let Some(summary) = of.summary else { continue };
            assert!(summary.log.epoch == now.epoch && summary.log.records <= now.records, "run {run}: {summary:?}");
            assert_eq!(summary.body, body(*run_id, summary.log), "the summary of run {run}");
        }
    }

    /// Final check: each log has a summary of its current content.
    pub(crate) async fn summarize_rest(&self) {
        loop {
            self.archive.clock.advance_ms(2 * HOUR_MS);
            seal_all(self.node(1)).await;
            let claimed = self.node(2).summaries().claim_due(VERSION).await.unwrap();
            if claimed.is_empty() {
                break;
            }
            self.node(2).summaries().save_all(&made_of(&claimed)).await.unwrap();
        }
        self.check_summaries(0).await;
        for (run, run_id) in self.runs.iter().enumerate() {
            let of = self.node(0).summaries().get(*run_id).await.unwrap().unwrap();
            let expected = (of.log.records > 0).then_some(of.log);
            assert_eq!(of.summary.map(|summary| summary.log), expected, "the summary of run {run} at the end");
        }
    }
}
