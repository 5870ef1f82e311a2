//! The background work of `runlog serve`, `collect` and `deliver`, until they are stopped.

use std::sync::Arc;

use runlog_client::TokioWait;
use runlog_collector::alerts::Alerts;
use runlog_collector::{CollectProgress, Collector, Deliverer, SinkConfig};
use runlog_store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::render::terminal::note;
use crate::settings::Scheduled;
use crate::system::SystemClock;

/// Collects upstreams until stopped.
pub(crate) async fn collect_continuously(
    store: Store,
    upstreams: Vec<Scheduled>,
    progress: Arc<dyn CollectProgress>,
    stop: CancellationToken,
) {
    let mut running = JoinSet::new();
    for Scheduled { upstream, pause } in upstreams {
        note(format!("collecting {} from {}", upstream.name, upstream.client.settings().base_url));
        let collector = Collector::new(&store, upstream, Arc::clone(&progress));
        let stop = stop.clone();
        running.spawn(async move { collector.run(move |now| pause.from(now), stop).await });
    }
    while running.join_next().await.is_some() {}
}

/// Checks for alerts and sends them, until `stop`.
pub(crate) async fn send_alerts(store: &Store, alerts: Option<Arc<Alerts>>, stop: CancellationToken) {
    let Some(alerts) = alerts else { return };
    let clock = store.shared_clock();
    let sending = || {
        let (alerts, clock, stop) = (Arc::clone(&alerts), Arc::clone(&clock), stop.clone());
        async move {
            alerts.run(&*clock, &TokioWait, stop).await;
            Ok::<_, std::convert::Infallible>(())
        }
    };
    store.supervisor().run("alerts", &stop, sending).await;
}

/// Returns the deliverers, one for each sink.
pub(crate) fn deliverers(store: &Store, sinks: Vec<SinkConfig>) -> Vec<Deliverer> {
    let deliverer = |sink| Deliverer::new(store, sink, Arc::new(SystemClock), Arc::new(TokioWait));
    sinks.into_iter().map(deliverer).collect()
}

/// Starts delivery to every sink until `stop`; the returned future completes when all deliveries have ended.
pub(crate) fn spawn_delivery(store: &Store, sinks: Vec<SinkConfig>, stop: &CancellationToken) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for deliverer in deliverers(store, sinks) {
        note(format!("delivering to {}: {}", deliverer.name(), deliverer.location()));
        let stop = stop.clone();
        running.spawn(async move { deliverer.run(stop).await });
    }
    running
}

/// Delivers until `stop`.
pub(crate) async fn run_all(deliverers: Vec<Deliverer>, stop: CancellationToken) {
    let mut running = JoinSet::new();
    for deliverer in deliverers {
        let stop = stop.clone();
        running.spawn(async move { deliverer.run(stop).await });
    }
    while running.join_next().await.is_some() {}
}
