//! Collection: a run of an upstream is claimed by one collector at a time, and lands once.

use std::collections::HashMap;

use runlog_model::{RunId, RunStatus};
use runlog_store::ErrorKind;
use runlog_store::collection::{ClaimedRun, FailedAttempt, LandedLog, UpsertCounts, UpstreamRun, UpstreamRunState};

use crate::common::finish_body;
use crate::deliveries::LEASE_MS;
use crate::{Change, Machine};

const UPSTREAM: &str = "cloud";

/// The way in which an attempt to collect a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt {
    Landed,
    Failed,
    Released,
    /// The collector disappears.
    Gone,
}

/// The runs that the upstream has listed.
#[derive(Default)]
pub(crate) struct Upstream {
    listed: HashMap<RunId, Listed>,
}

#[derive(Default)]
struct Listed {
    is_landed: bool,
    /// The time at which it is due. Unit: epoch milliseconds.
    due_at: i64,
    /// The claim of a collector that disappeared, and the end of its lease. Unit: epoch milliseconds.
    open: Option<(ClaimedRun, i64)>,
}

impl Machine {
    pub(crate) async fn list(&mut self, node: usize, run: usize) {
        let (now, run_id) = (self.archive.now(), self.runs[run]);
        let upstream_run = UpstreamRun {
            run_id,
            task_id: "task".to_owned(),
            progress: UpstreamRunState::Pending,
            status: "EXECUTION_SUCCESS".to_owned(),
            triggered_at: None,
            finished_at: None,
            due_at: now,
            body: "{}".to_owned(),
        };
        let counts = self.node(node).collection().upsert_runs(UPSTREAM, &[upstream_run]).await.unwrap();
        let is_new = !self.upstream.listed.contains_key(&run_id);
        assert_eq!(counts, UpsertCounts { new: u64::from(is_new), included: 0 });
        if is_new {
            self.upstream.listed.insert(run_id, Listed { due_at: now.as_millis(), ..Listed::default() });
        }
    }

    /// Lists a run, claims the run that has been due for longest, and ends the attempt after a log has changed.
    pub(crate) async fn collect(&mut self, node: usize, run: usize, change: &Change, attempt: Attempt) {
        self.list(node, run).await;
        let (now_ms, until) = (self.now_ms(), self.archive.now().plus_millis(LEASE_MS));
        let collection = self.node(node).collection().clone();
        let claimed = collection.claim_run(UPSTREAM, until).await.unwrap();
        let Some(claimed) = claimed else {
            let is_free = |listed: &Listed| listed.open.as_ref().is_none_or(|(_, until_ms)| *until_ms < now_ms);
            let is_due = |listed: &&Listed| !listed.is_landed && listed.due_at <= now_ms && is_free(listed);
            let due = self.upstream.listed.values().filter(is_due).count();
            assert_eq!(due, 0, "runs are due, and none was claimed");
            return;
        };
        let run_id = claimed.run_id().unwrap();
        let listed = self.upstream.listed.get_mut(&run_id).unwrap();
        assert!(!listed.is_landed, "a run that has landed is collected again");
        let before = listed.open.take();
        let finish = finish_body(RunStatus::Successful, None);
        if let Some((before, until_ms)) = before {
            assert!(until_ms < now_ms, "a run in the hands of two collectors");
            let other = self.node(node + 1).collection();
            assert!(!other.renew_lease(UPSTREAM, &before, until).await.unwrap(), "a lost lease was renewed");
            let landed = other
                .land(UPSTREAM, &before, &finish, LandedLog { records: 1, pages: 1, components_due_at: None })
                .await;
            assert_eq!(landed.map_err(|error| error.kind()), Err(ErrorKind::Conflict), "landed with a lost lease");
        }
        self.change(node + 1, run, change).await;
        let index = self.index_of(run_id);
        match attempt {
            Attempt::Landed => {
                let records = self.model[index].records.len() as u64;
                collection
                    .land(UPSTREAM, &claimed, &finish, LandedLog { records, pages: 1, components_due_at: None })
                    .await
                    .unwrap();
                self.note_finished(index);
                self.upstream.listed.get_mut(&run_id).unwrap().is_landed = true;
                let landed = self.node(node + 2).collection().landed_among(UPSTREAM, &[run_id]).await.unwrap();
                assert_eq!(landed, [run_id]);
            }
            Attempt::Failed => {
                let retry_at = self.archive.now().plus_millis(1_000);
                let failed = FailedAttempt { error: "away".to_owned(), expected: None, retry_at };
                collection.record_failure(UPSTREAM, &claimed, &failed).await.unwrap();
                self.upstream.listed.get_mut(&run_id).unwrap().due_at = retry_at.as_millis();
            }
            Attempt::Released => collection.release(UPSTREAM, &claimed).await.unwrap(),
            Attempt::Gone => {
                self.upstream.listed.get_mut(&run_id).unwrap().open = Some((claimed, until.as_millis()));
            }
        }
    }
}
