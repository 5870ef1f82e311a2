//! Collectors: a run of an upstream is claimed by one collector at a time, and lands once.

use std::collections::BTreeSet;

use runlog_model::{RunId, Timestamp};
use runlog_store::collection::{FailedAttempt, LandedLog, UpstreamRun, UpstreamRunState};
use runlog_store::{Result as StoreResult, Store};

use crate::clients::{Answer, Clients};
use crate::deliveries::{Holders, LEASE_MS};
use crate::locked;
use crate::seed::Numbers;

pub(crate) const UPSTREAM: &str = "cloud";

/// The known state of collected runs.
#[derive(Default)]
pub(crate) struct Upstream {
    pub(crate) landed: BTreeSet<RunId>,
    holders: Holders,
}

impl Clients {
    /// Lets a node list a run and collect the run that has been due for longest. Returns false if none is due.
    pub(crate) async fn collect(&self, is_steady: bool) -> bool {
        let runs = locked(&self.0.ledger).runs.len();
        let run = self.below(runs);
        let id = self.run_id(run);
        let (clients, node, numbers) = (self.clone(), self.some_node(), self.numbers());
        let collecting =
            self.call(node, "collect", false, move |store| clients.collect_on(node, store, id, numbers, is_steady));
        match collecting.await.0 {
            Answer::Of(Ok(has_collected)) => has_collected,
            Answer::Of(Err(error)) => {
                self.expect_usual("a collection", &error);
                true
            }
            Answer::Lost => true,
        }
    }

    async fn collect_on(
        self,
        node: usize,
        store: Store,
        listed: RunId,
        mut numbers: Numbers,
        is_steady: bool,
    ) -> StoreResult<bool> {
        let collection = store.collection().clone();
        let (shared, is_exact) = (&self.0.shared, self.0.shared.profile.skew_ms == 0);
        let run = UpstreamRun {
            run_id: listed,
            task_id: "task".to_owned(),
            progress: UpstreamRunState::Pending,
            status: "EXECUTION_SUCCESS".to_owned(),
            triggered_at: None,
            finished_at: None,
            due_at: Timestamp::clamped(self.now_ms()),
            body: "{}".to_owned(),
        };
        collection.upsert_runs(UPSTREAM, &[run]).await?;
        if let Some(index) = self.index_of(listed) {
            locked(&self.0.ledger).runs[index].is_listed = true;
        }
        let until_ms = self.now_ms() + LEASE_MS;
        let until = Timestamp::clamped(until_ms + shared.ahead_ms(node));
        let Some(claimed) = collection.claim_run(UPSTREAM, until).await? else { return Ok(false) };
        let id = claimed.run_id()?;
        if locked(&self.0.upstream).landed.contains(&id) {
            self.violation(format!("run {id}, which has landed, is collected again"));
        }
        let holding = locked(&self.0.upstream).holders.claim(id, self.now_ms(), until_ms);
        let generation = match holding {
            Ok(generation) => generation,
            Err(_) if !is_exact => 0,
            Err(problem) => {
                self.violation(format!("a collected run: {problem}"));
                return Ok(true);
            }
        };
        if !is_steady && numbers.chance(400) {
            let wait_ms = numbers.between(0, 2 * LEASE_MS);
            shared.schedule.sleep_until(node, self.now_ms() + wait_ms).await;
        }
        match if is_steady { 0 } else { numbers.below(5) } {
            0..=2 => {
                let (index, sent_ms) = (self.index_of(id), self.now_ms());
                if let Some(index) = index {
                    locked(&self.0.ledger).runs[index].finish_sent_ms.get_or_insert(sent_ms);
                }
                let was_lost = locked(&self.0.upstream).holders.is_lost(id, generation);
                collection
                    .land(
                        UPSTREAM,
                        &claimed,
                        &self.finish_body(id),
                        LandedLog { records: 1, pages: 1, components_due_at: None },
                    )
                    .await?;
                if was_lost && is_exact {
                    self.violation(format!("run {id} landed with a lost lease"));
                }
                if !locked(&self.0.upstream).landed.insert(id) {
                    self.violation(format!("run {id} landed twice"));
                }
                if let Some(index) = index {
                    self.note_finished(index);
                }
            }
            3 => {
                locked(&self.0.upstream).holders.give_up(id, generation);
                let retry_at = Timestamp::clamped(self.now_ms() + 1_000);
                let failed = FailedAttempt { error: "away".to_owned(), expected: None, retry_at };
                collection.record_failure(UPSTREAM, &claimed, &failed).await?;
            }
            // The collector disappears without releasing its claim.
            _ => {}
        }
        Ok(true)
    }

    pub(crate) fn index_of(&self, id: RunId) -> Option<usize> {
        locked(&self.0.ledger).runs.iter().position(|run| run.id == id)
    }
}
