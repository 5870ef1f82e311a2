//! The program's deliverers on the nodes, with its own sinks: the records of ended runs arrive at each sink at least
//! once and always with the same id; records that the archive has recorded as delivered are not sent again; and records
//! that a sink refuses permanently are kept as dead letters, and arrive once the sink accepts them.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use runlog_collector::settings::{SecretReader, SecretSource};
use runlog_collector::{Deliverer, SinkSettings};
use runlog_store::delivery::SinkMetrics;
use runlog_store::{Error, Store};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clients::{Answer, Clients, HOUR_MS};
use crate::collectors::NodeWait;
use crate::locked;
use crate::node::NodeClock;
use crate::peers::{PeerNetwork, Peers, Session};
use crate::seed::Numbers;

/// Maximum number of rounds until everything is delivered, once the faults are over. Attempts are at most six hours
/// apart.
const ROUNDS_MAX: usize = 80;

/// A sink, chosen by the seed.
#[derive(Debug, Clone)]
pub(crate) struct SinkProfile {
    kind: SinkKind,
    batch_records: usize,
    parallel: usize,
}

/// The kinds of sinks that are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SinkKind {
    Elasticsearch,
    Loki,
    Splunk,
    Datadog,
    Webhook,
}

/// Secrets that are all equal.
pub(crate) struct Secrets;

impl SecretReader for Secrets {
    fn read(
        &self,
        _: &SecretSource,
        _: &str,
    ) -> std::result::Result<SecretString, Box<dyn std::error::Error + Send + Sync>> {
        Ok(SecretString::from("0123456789abcdef".repeat(2)))
    }
}

/// The deliverer of one life of a node.
pub(crate) struct NodeDeliverer {
    deliverer: Deliverer,
    session: Arc<Mutex<Session>>,
    /// Whether it is sent a summary of each run, and no records.
    is_of_runs: bool,
    /// Held while it is at work.
    alone: tokio::sync::Mutex<()>,
}

impl SinkProfile {
    pub(crate) fn some(numbers: &mut Numbers) -> Vec<Self> {
        use SinkKind::{Datadog, Elasticsearch, Loki, Splunk, Webhook};
        let kinds = [Elasticsearch, Elasticsearch, Loki, Splunk, Datadog, Webhook];
        let first = kinds[numbers.below(kinds.len())];
        let mut all = vec![first];
        if numbers.chance(300) {
            let second = kinds[numbers.below(kinds.len())];
            all.extend(Some(second).filter(|second| *second != first));
        }
        let of =
            |kind| Self { kind, batch_records: [1, 3, 8, 1_000][numbers.below(4)], parallel: 1 + numbers.below(2) };
        all.into_iter().map(of).collect()
    }

    fn settings(&self) -> Result<SinkSettings> {
        let Self { kind, batch_records, parallel } = self;
        let mut table = match kind {
            SinkKind::Elasticsearch => json!({ "kind": "elasticsearch", "index": "logs" }),
            SinkKind::Loki => json!({ "kind": "loki", "max_age": "0s" }),
            SinkKind::Splunk => json!({ "kind": "splunk", "token": { "env": "TOKEN" } }),
            SinkKind::Datadog => json!({ "kind": "datadog", "token": { "env": "TOKEN" }, "max_age": "0s" }),
            SinkKind::Webhook => json!({ "kind": "webhook", "signing_secret": { "env": "SECRET" } }),
        };
        let host = self.host();
        table["name"] = host.into();
        table["url"] = format!("https://{host}").into();
        table["gzip"] = false.into();
        table["parallel"] = (*parallel).into();
        if *kind != SinkKind::Webhook {
            table["batch_records"] = (*batch_records).into();
        }
        let Value::Object(table) = table else { anyhow::bail!("the settings are no table") };
        SinkSettings::read(table).map_err(|error| anyhow::anyhow!("the settings of {host}: {}", error.message))
    }

    /// Returns its host, which is also its name.
    fn host(&self) -> &'static str {
        match self.kind {
            SinkKind::Elasticsearch => "elastic.example",
            SinkKind::Loki => "loki.example",
            SinkKind::Splunk => "splunk.example",
            SinkKind::Datadog => "datadog.example",
            SinkKind::Webhook => "summaries.example",
        }
    }
}

/// Starts the deliverers of one life of a node.
pub(crate) fn start(
    peers: &Arc<Peers>,
    profiles: &[SinkProfile],
    node: usize,
    store: &Store,
    clock: &Arc<NodeClock>,
) -> Result<Vec<Arc<NodeDeliverer>>> {
    let begin = |profile: &SinkProfile| {
        let session = Arc::<Mutex<Session>>::default();
        let network = PeerNetwork { peers: Arc::clone(peers), node, session: Arc::clone(&session) };
        let config = profile.settings()?.simulated(Arc::clone(clock) as _, &Secrets, Arc::new(network));
        let config = config.map_err(|error| anyhow::anyhow!("{error}")).context("a sink cannot be set up")?;
        let wait = Arc::new(NodeWait { schedule: clock.schedule.clone(), node });
        let deliverer = Deliverer::new(store, config, Arc::clone(clock) as _, wait);
        let is_of_runs = profile.kind == SinkKind::Webhook;
        Ok(Arc::new(NodeDeliverer { deliverer, session, is_of_runs, alone: tokio::sync::Mutex::default() }))
    };
    profiles.iter().map(begin).collect()
}

impl NodeDeliverer {
    /// Delivers what is due, as `runlog deliver --once` does.
    async fn deliver(&self, peers: &Peers, tick: u64) -> Result<(), Error> {
        // Only one deliverer of a node runs at a time, as in the program.
        let Ok(_alone) = self.alone.try_lock() else { return Ok(()) };
        Session::begin(&self.session, tick);
        self.deliverer.register().await?;
        self.deliverer.offer().await?;
        let delivered = self.deliverer.deliver_due(&CancellationToken::new()).await?;
        let taken = Session::end(&self.session);
        // All records that the sink has acknowledged are recorded, unless a lease was lost.
        let recorded = if self.is_of_runs { delivered.runs } else { delivered.records };
        if recorded == taken.len() as u64 {
            peers.commit(taken);
        }
        Ok(())
    }
}

impl Clients {
    /// Lets nodes deliver to one of the sinks, often after a run has become due.
    pub(crate) async fn deliver_to_peers(&self, run: usize) {
        let sink = self.below(self.0.shared.profile.sinks.len());
        if self.chance(700) {
            self.push_new(run).await;
            self.finish(run).await;
            self.sleep_ms(31_000).await;
        }
        for _ in 0..1 + self.below(3) {
            self.deliver_to_peer(sink, self.some_node()).await;
            self.sleep_ms([1_000, 31_000, 301_000][self.below(3)]).await;
        }
    }

    async fn deliver_to_peer(&self, sink: usize, node: usize) {
        let Some(peers) = self.0.shared.peers.clone() else { return };
        let (shared, tick) = (Arc::clone(&self.0.shared), self.tick());
        let delivering = self.call(node, "deliver to a peer", false, move |_| {
            let deliverer = shared.deliverer_of(node, sink);
            async move {
                let Some(deliverer) = deliverer else { return Ok(()) };
                deliverer.deliver(&peers, tick).await
            }
        });
        if let Answer::Of(Err(error)) = delivering.await.0 {
            self.expect_usual("a delivery to a peer", &error);
        }
    }

    /// Delivers to the peers until nothing is due, once the faults are over.
    pub(crate) async fn deliver_the_rest(&self) {
        let Some(peers) = self.0.shared.peers.clone() else { return };
        for (sink, profile) in self.0.shared.profile.sinks.iter().enumerate() {
            let host = profile.host();
            if self.0.shared.profile.skew_ms > runlog_store::limits::FINISHED_RUNS_LOOKBACK_MS {
                let search = self.call(self.some_node(), "look for runs anew", false, move |store| async move {
                    store.deliveries().rescan_finished_runs(host).await
                });
                if let Answer::Of(Err(error)) = search.await.0 {
                    self.expect_usual("a look for runs", &error);
                }
            }
            let Some(metrics) = self.drain(sink, host).await else { continue };
            let missing = self.check_peer(&peers, profile, &metrics).await;
            if missing > 0 {
                peers.mend(host);
                let again = self.call(self.some_node(), "replay what was refused", false, move |store| async move {
                    store.deliveries().retry(host).await
                });
                if let Answer::Of(Err(error)) = again.await.0 {
                    self.expect_usual("a replay", &error);
                }
                let Some(metrics) = self.drain(sink, host).await else { continue };
                let missing = self.check_peer(&peers, profile, &metrics).await;
                if missing > 0 {
                    self.violation(format!("{host} still lacks {missing} records after it was mended"));
                }
            }
            let before = peers.requests();
            for node in 0..self.0.shared.profile.nodes {
                self.deliver_to_peer(sink, node).await;
            }
            if peers.requests() != before {
                self.violation(format!("{host} is sent something although nothing is due"));
            }
        }
    }

    /// Delivers until nothing is due. Returns `None` if this takes too many rounds.
    async fn drain(&self, sink: usize, host: &'static str) -> Option<SinkMetrics> {
        for round in 0..ROUNDS_MAX {
            self.deliver_to_peer(sink, self.some_node()).await;
            let measuring = self.call(self.some_node(), "measure the sinks", false, |store| async move {
                store.deliveries().metrics().await
            });
            if let Answer::Of(Ok(all)) = measuring.await.0
                && let Some(metrics) = all.into_iter().find(|metrics| metrics.name == host)
                && metrics.due == 0
                && round > 0
            {
                return Some(metrics);
            }
            self.sleep_ms(if round % 2 == 0 { 61_000 } else { HOUR_MS }).await;
        }
        self.violation(format!("there is always something left to deliver to {host}"));
        None
    }

    /// Compares the content of a peer with the archive. Returns how many records, or runs, it lacks and has refused.
    async fn check_peer(&self, peers: &Peers, profile: &SinkProfile, metrics: &SinkMetrics) -> u64 {
        let (host, runs) = (profile.host(), locked(&self.0.ledger).runs.len());
        let mut refused = 0;
        for run in 0..runs {
            let Some(log) = self.check_summary(run, self.some_node(), false).await else { continue };
            let id = self.run_id(run);
            let prefix = if log.epoch == 0 { format!("{id}-") } else { format!("{id}.{}-", log.epoch) };
            let mut accepted = peers.accepted_of(host, &prefix);
            if profile.kind == SinkKind::Webhook {
                let expected = format!("\"{id}\" {}", log.records);
                // Sinks are not notified of the deletion of a log.
                let is_due = log.epoch == 0 || log.records > 0;
                if is_due && !accepted.contains(&expected) {
                    refused += 1;
                    if !peers.refuses(host, &format!("{prefix}{}", log.records), "summary") {
                        self.violation(format!(
                            "{host} was never sent the summary of run {run} with {} records",
                            log.records
                        ));
                    }
                }
                continue;
            }
            let Some(records) = self.records_of(run, self.some_node()).await else { continue };
            accepted.sort();
            if accepted.windows(2).any(|two| two[0] == two[1]) || accepted.len() > records.len() {
                self.violation(format!("{host} has records of run {run} twice, or others: {accepted:?}"));
            }
            for text in records.iter().filter_map(|record| record.message.as_ref()) {
                if accepted.binary_search(text).is_err() {
                    refused += 1;
                    if !peers.refuses(host, &prefix, text) {
                        self.violation(format!("{text} of run {run} was never delivered to {host}"));
                    }
                }
            }
        }
        let (kept, is_exact) = match profile.kind {
            SinkKind::Webhook => (metrics.dead, false),
            _ => (metrics.refused, true),
        };
        if kept < refused || is_exact && kept != refused {
            self.violation(format!("{host} has refused {refused}, and {kept} are kept of that"));
        }
        refused
    }
}
