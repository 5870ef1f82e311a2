//! The final phase: the faults are over, time passes, and all work must be completed.

use runlog_model::wire::admin::AuditEntry;
use runlog_model::{Record, RecordOrder, RunId, TimeRange};
use runlog_store::audit::AuditFilter;
use runlog_store::{Error, ErrorKind};

use crate::clients::{Answer, Clients, HOUR_MS};
use crate::collection::UPSTREAM;
use crate::deliveries::SINK;
use crate::locked;

/// Maximum number of attempts without faults.
const ATTEMPTS_MAX: usize = 20;
/// Maximum number of rounds until all work is done.
const ROUNDS_MAX: usize = 60;

impl Clients {
    pub(crate) async fn check_the_end(&self) {
        // Claims of nodes and leases have to expire, and work that was scheduled by a clock that was ahead has to
        // become due.
        self.sleep_ms(2 * HOUR_MS + 2 * self.0.shared.profile.skew_ms).await;
        let (runs, nodes) = (locked(&self.0.ledger).runs.len(), self.0.shared.profile.nodes);
        if !self.0.shared.profile.runs_jobs && self.chance(500) {
            self.check_damage(false).await;
        }
        for run in 0..runs {
            self.settle(run).await;
        }
        self.collect_the_rest().await;
        self.do_the_rest().await;
        self.deliver_the_rest().await;
        self.tell_the_rest().await;
        for run in 0..runs {
            for node in 0..nodes {
                self.read_again(run, node).await;
            }
            self.request_together(run).await;
            if !self.walk_to_the_end(run).await {
                self.violation(format!("the pages of run {run} cannot be fetched, and nothing fails any more"));
            }
        }
        self.read_lake_at_the_end().await;
        let mut has_left = true;
        for _ in 0..3 {
            // Intents of crashed writers are swept after six hours, and replaced segments after one.
            self.sleep_ms(8 * HOUR_MS).await;
            has_left = !self.sweep().await || self.verify(self.some_node()).await != Some(0);
        }
        if has_left {
            self.violation("objects are left that no row names".to_owned());
        }
        for run in 0..runs {
            self.read_again(run, self.some_node()).await;
            self.check_audit(run).await;
        }
        self.check_nodes().await;
        if self.chance(300) {
            self.check_damage(true).await;
        }
    }

    /// Sends everything again that was not acknowledged, and ends the run.
    async fn settle(&self, run: usize) {
        let batches = locked(&self.0.ledger).runs[run].batches.len();
        for number in 0..batches {
            let is_open = locked(&self.0.ledger).runs[run].batches[number].acknowledged.is_empty();
            if is_open && !self.push(run, number, ATTEMPTS_MAX).await {
                self.violation(format!("batch {number} of run {run} cannot be stored, and nothing fails any more"));
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            if self.finish(run).await {
                return;
            }
        }
        self.violation(format!("run {run} cannot be ended, and nothing fails any more"));
    }

    /// Seals, summarizes, collects and delivers until nothing is left to do.
    async fn do_the_rest(&self) {
        if self.0.shared.profile.skew_ms > runlog_store::limits::FINISHED_RUNS_LOOKBACK_MS {
            // Runs that ended before the searched period, by a clock that was behind, are found by a new search of all
            // runs.
            let search = self.call(self.some_node(), "look for runs anew", false, |store| async move {
                store.deliveries().rescan_finished_runs(SINK).await
            });
            if let Answer::Of(Err(error)) = search.await.0 {
                self.expect_usual("a look for runs", &error);
            }
        }
        let collected = self.0.shared.cloud.as_ref().map_or(0, |cloud| cloud.runs().len());
        let mut idle = 0;
        for round in 0..ROUNDS_MAX + collected {
            self.sleep_ms(if round % 2 == 0 { 61_000 } else { HOUR_MS }).await;
            let mut has_done = self.seal().await;
            has_done |= self.summarize(true).await;
            has_done |= self.collect(true).await;
            has_done |= self.deliver(true).await;
            idle = if has_done { 0 } else { idle + 1 };
            if idle == 4 {
                let again = self.call(self.some_node(), "retry deliveries", false, |store| async move {
                    store.deliveries().retry(SINK).await
                });
                match again.await.0 {
                    Answer::Of(Ok(0)) => break,
                    Answer::Of(Ok(_)) => idle = 0,
                    Answer::Of(Err(error)) => self.expect_usual("a delivery", &error),
                    Answer::Lost => {}
                }
            }
        }
        if idle < 4 {
            self.violation("there is always something left to do".to_owned());
        }
        let runs = locked(&self.0.ledger).runs.len();
        for run in 0..runs {
            let Some(log) = self.check_summary(run, self.some_node(), true).await else {
                self.violation(format!("run {run} cannot be read, and nothing fails any more"));
                continue;
            };
            let Some(records) = self.records_of(run, self.some_node()).await else { continue };
            let id = self.run_id(run);
            let accepted = locked(&self.0.sink).accepted_of(id, log.epoch);
            let missing =
                records.iter().filter_map(|record| record.message.clone()).find(|text| !accepted.contains(text));
            if let Some(missing) = missing {
                self.violation(format!("{missing} of run {run} was never delivered"));
            }
            if records.len() as u64 != log.records {
                self.violation(format!("run {run} has {} records, and counts {}", records.len(), log.records));
            }
        }
        self.check_landed().await;
    }

    /// Checks that the lakehouse table contains everything once all logs are sealed.
    async fn read_lake_at_the_end(&self) {
        if !self.0.shared.profile.has_lake {
            return;
        }
        for _ in 0..4 {
            self.sleep_ms(61_000).await;
            self.seal().await;
        }
        for _ in 0..ATTEMPTS_MAX {
            if self.read_lake(0, true).await {
                return;
            }
        }
        self.violation("the table cannot be loaded, and nothing fails any more".to_owned());
    }

    async fn check_landed(&self) {
        let listed: Vec<RunId> =
            locked(&self.0.ledger).runs.iter().filter(|run| run.is_listed).map(|run| run.id).collect();
        let asked = listed.clone();
        let landed = self.call(self.some_node(), "list what has landed", false, move |store| async move {
            store.collection().landed_among(UPSTREAM, &asked).await
        });
        let Answer::Of(Ok(landed)) = landed.await.0 else { return };
        if let Some(missing) = listed.iter().find(|run| !landed.contains(run)) {
            self.violation(format!("run {missing} was listed by the upstream, and never landed"));
        }
    }

    async fn read_again(&self, run: usize, node: usize) {
        for _ in 0..2 {
            self.read(run, node).await;
        }
    }

    async fn walk_to_the_end(&self, run: usize) -> bool {
        for _ in 0..3 {
            if self.walk_pages(run).await {
                return true;
            }
        }
        false
    }

    /// The records of a log; `None` when they could not be read.
    pub(crate) async fn records_of(&self, run: usize, node: usize) -> Option<Vec<Record>> {
        let id = self.run_id(run);
        let reading = self.call(node, "read", false, move |store| async move {
            let mut reader = store.logs().read_records(id, TimeRange::ALL, RecordOrder::Asc).await?;
            let mut records = Vec::new();
            while let Some(more) = reader.next().await? {
                records.extend(more);
            }
            Ok::<_, Error>(records)
        });
        match reading.await.0 {
            Answer::Of(Ok(records)) => Some(records),
            Answer::Of(Err(error)) => {
                self.violation(format!("run {run} cannot be read: {}", error.with_causes()));
                None
            }
            Answer::Lost => None,
        }
    }

    /// Checks that each deletion has its entry in the audit log.
    async fn check_audit(&self, run: usize) {
        let Some(log) = self.check_summary(run, self.some_node(), false).await else { return };
        let filter =
            AuditFilter { subject: Some(self.run_id(run).to_string()), limit: 10_000, ..AuditFilter::default() };
        let listing = self.call(self.some_node(), "read the audit log", false, move |store| async move {
            store.audit().entries(&filter).await
        });
        let Answer::Of(Ok((entries, _))) = listing.await.0 else { return };
        let is_deletion = |entry: &&AuditEntry| entry.action == "delete log" && entry.status == 200;
        let entries = entries.iter().filter(is_deletion).count() as u64;
        if entries != log.epoch {
            self.violation(format!(
                "the log of run {run} was deleted {} times, with {entries} audit entries",
                log.epoch
            ));
        }
    }

    /// Checks that all reserved memory was released.
    async fn check_nodes(&self) {
        for node in 0..self.0.shared.profile.nodes {
            let measuring = self.call(node, "measure", false, |store| async move { store.node_metrics() });
            let Answer::Of(metrics) = measuring.await.0 else { continue };
            if metrics.ingest_held_bytes > 0 {
                self.violation(format!("node {node} holds {} bytes of batches", metrics.ingest_held_bytes));
            }
            let waiting: usize = metrics.catalog.iter().map(|pool| pool.waiting).sum();
            if waiting > 0 {
                self.violation(format!("on node {node}, {waiting} calls wait for a connection"));
            }
        }
    }

    /// Removes or alters an object: readers must get the original data or an error that names the object, and a
    /// verification must name it. With `is_sealed`, all work is done, so that each object has a row in the catalog.
    async fn check_damage(&self, is_sealed: bool) {
        let disk = self.0.shared.disk.clone();
        let keys: Vec<String> =
            disk.keys().into_iter().filter(|key| key.starts_with("segments/") || key.starts_with("sealed/")).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.below(keys.len())].clone();
        let Some(bytes) = disk.bytes(&key) else { return };
        let is_named = self.verify(self.some_node()).await == Some(0) && is_sealed;
        let damaged = if self.chance(300) {
            None
        } else {
            let mut altered = bytes.to_vec();
            // A letter of a record is replaced by another one, which only a checksum can detect.
            let at = altered.windows(3).position(|text| text == b"r0e").map_or(self.below(altered.len()), |at| at + 1);
            altered[at] ^= 1;
            Some(altered.into())
        };
        self.0.shared.schedule.note(|| format!("an object is damaged: {}", damaged.is_some()));
        disk.set(&key, damaged);
        let runs = locked(&self.0.ledger).runs.len();
        for run in 0..runs {
            self.read_beside_damage(run, &key).await;
        }
        let verifying = self.call(self.some_node(), "verify", false, |store| async move {
            store.maintenance().verify(false, |_| ()).await
        });
        if let Answer::Of(Ok(verified)) = verifying.await.0 {
            let names = verified.problem_texts.iter().any(|problem| problem.starts_with(&format!("object {key}: ")));
            if is_sealed && names != is_named {
                self.violation(format!("a damaged object, which rows name: {is_named}; a verification: {names}"));
            }
        }
        disk.set(&key, Some(bytes));
    }

    async fn read_beside_damage(&self, run: usize, key: &str) {
        let id = self.run_id(run);
        let reading = self.call(self.some_node(), "read", false, move |store| async move {
            let mut reader = store.logs().read_records(id, TimeRange::ALL, RecordOrder::Asc).await?;
            let mut records = Vec::new();
            while let Some(more) = reader.next().await? {
                records.extend(more);
            }
            Ok::<_, Error>(records)
        });
        match reading.await {
            (Answer::Of(Ok(records)), span) => self.check("the log", run, &records, span, true),
            (Answer::Of(Err(error)), _) => {
                let is_right = error.kind() == ErrorKind::Corrupt && error.damaged_object() == Some(key);
                if !is_right {
                    self.violation(format!("run {run} beside a damaged object: {}", error.with_causes()));
                }
            }
            (Answer::Lost, _) => {}
        }
    }
}
