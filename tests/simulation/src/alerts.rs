//! The program's alerts on the nodes: each destination is notified of each failed run, once if it keeps ids, and of the
//! end of the alert; and of nothing that happened while the rule was muted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use runlog_client::{HttpClientBuilder, SimulatedNetwork, TlsSettings};
use runlog_collector::alerts::{
    AlertError, AlertRule, Alerts, ChannelSettings, Condition, Destination, GroupBy, SearchScope, Webhook,
};
use runlog_model::wire::alerts::{AlertState, NewAlertMute};
use runlog_model::{Clock, RunId};
use runlog_store::Store;
use runlog_store::alerts::AlertFilter;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::clients::{Answer, Clients, DAY_MS, HOUR_MS};
use crate::locked;
use crate::peers::{HOOKS, MUTED, PAGER, PeerNetwork, Peers, Session};
use crate::seed::Numbers;
use crate::sinks::Secrets;

const RULE: &str = "failures";
const MUTED_RULE: &str = "muted";
/// Maximum time for which a failed run is not reported because its problem is not known. Unit: milliseconds.
const WAIT_MS_MAX: i64 = 120_000;
/// Maximum age of the end of a run that is reported. Unit: milliseconds.
const LOOK_BACK_MS: i64 = 2 * DAY_MS;
/// Age after which an alert that cannot be sent is given up. Unit: milliseconds.
const GIVE_UP_MS: i64 = 3 * DAY_MS;
/// Maximum number of rounds until all alerts are sent, once the faults are over.
const ROUNDS_MAX: usize = 60;

/// The settings of alerts, chosen by the seed.
#[derive(Debug, Clone)]
pub(crate) struct AlertProfile {
    is_grouped: bool,
    recovery: bool,
    has_pager: bool,
}

impl AlertProfile {
    pub(crate) fn of(numbers: &mut Numbers) -> Self {
        Self { is_grouped: numbers.chance(500), recovery: numbers.chance(800), has_pager: numbers.chance(700) }
    }
}

/// Finds and sends alerts during one life of a node.
pub(crate) struct NodeAlerts {
    alerts: Alerts,
    clock: Arc<dyn Clock>,
    session: Arc<Mutex<Session>>,
    /// Held while it sends.
    alone: tokio::sync::Mutex<()>,
}

/// The known state of searches.
#[derive(Default)]
pub(crate) struct Searches {
    /// The start times of successful searches. Unit: epoch milliseconds.
    begun_ms: Vec<i64>,
}

/// Whether a run fails, in deployments with alerts.
pub(crate) fn is_bad(id: RunId) -> bool {
    id.to_string().bytes().fold(0_u8, u8::wrapping_add) % 2 == 1
}

pub(crate) fn start(peers: &Arc<Peers>, profile: &AlertProfile, node: usize, store: &Store) -> Result<NodeAlerts> {
    let (clock, session) = (store.shared_clock(), Arc::<Mutex<Session>>::default());
    let network: Arc<dyn SimulatedNetwork> =
        Arc::new(PeerNetwork { peers: Arc::clone(peers), node, session: Arc::clone(&session) });
    let hook = |host: &str| {
        let http = HttpClientBuilder::new(&TlsSettings::default()).simulated(Some(Arc::clone(&network)));
        Ok::<_, anyhow::Error>(Destination::Webhook(Webhook::new(format!("https://{host}/").parse()?, None, http)?))
    };
    let mut to = vec![hook(HOOKS)?];
    if profile.has_pager {
        let tables = [
            json!({ "kind": "pagerduty", "routing_key": { "env": "KEY" }, "url": format!("https://{PAGER}/v2/enqueue") }),
            json!({ "kind": "slack", "url": "https://chat.example/services/T0" }),
        ];
        let read = |table: &Value| {
            let table: Map<String, Value> = table.as_object().cloned().unwrap_or_default();
            ChannelSettings::read(table).map_err(|error| anyhow::anyhow!("{}", error.message))
        };
        let channels = tables.iter().map(read).collect::<Result<Vec<_>>>()?;
        let built = ChannelSettings::simulate_all(&channels, RULE, &Secrets, &clock, &network);
        to.extend(built.map_err(|error| anyhow::anyhow!("{error}"))?);
    }
    let rule = |name: &str, to: Vec<Destination>| AlertRule {
        group_by: if profile.is_grouped { GroupBy::Rule } else { GroupBy::None },
        group_wait: Duration::from_secs(30),
        recovery: profile.recovery,
        to,
        ..AlertRule::new(name, vec![Condition::RunFailed])
    };
    let rules = vec![rule(RULE, to), rule(MUTED_RULE, vec![hook(MUTED)?])];
    let alerts = Alerts::new(store, rules, None);
    Ok(NodeAlerts { alerts, clock, session, alone: tokio::sync::Mutex::default() })
}

impl NodeAlerts {
    async fn find(&self, look: SearchScope) -> Result<(), AlertError> {
        self.alerts.find(look, self.clock.now()).await.map(drop)
    }

    /// Sends the alerts that are due, as a node does every few seconds.
    async fn send(&self, peers: &Peers, tick: u64) -> Result<(), AlertError> {
        let Ok(_alone) = self.alone.try_lock() else { return Ok(()) };
        Session::begin(&self.session, tick);
        self.alerts.send_due(self.clock.as_ref(), &CancellationToken::new()).await?;
        peers.record(Session::end(&self.session));
        Ok(())
    }
}

impl Clients {
    pub(crate) fn has_alerts(&self) -> bool {
        self.0.shared.profile.alerts.is_some()
    }

    /// Whether a run fails.
    pub(crate) fn fails(&self, id: RunId) -> bool {
        self.has_alerts() && is_bad(id)
    }

    /// Stores the rules, and mutes one of them permanently.
    pub(crate) async fn set_up_alerts(&self) -> bool {
        if !self.has_alerts() {
            return true;
        }
        self.find_alerts(SearchScope::Thorough).await && self.set_mute(MUTED_RULE, true).await
    }

    async fn set_mute(&self, rule: &'static str, is_muted: bool) -> bool {
        if is_muted && rule == RULE {
            self.0.has_muted.store(true, Ordering::SeqCst);
        }
        let muting = self.call(self.some_node(), "mute a rule", false, move |store| async move {
            store.alerts().set_mute(rule, is_muted.then(NewAlertMute::default).as_ref(), "admin").await
        });
        matches!(muting.await.0, Answer::Of(Ok(())))
    }

    /// Lets a node search for alerts. Returns true if it succeeded.
    async fn find_alerts(&self, look: SearchScope) -> bool {
        let (node, begun_ms) = (self.some_node(), self.now_ms());
        let shared = Arc::clone(&self.0.shared);
        let finding = self.call(node, "look for alerts", false, move |_| {
            let alerts = shared.alerts_of(node);
            async move {
                let Some(alerts) = alerts else { return Ok(false) };
                alerts.find(look).await.map(|()| true)
            }
        });
        match finding.await.0 {
            Answer::Of(Ok(has_looked)) => {
                if has_looked {
                    locked(&self.0.searches).begun_ms.push(begun_ms);
                }
                has_looked
            }
            Answer::Of(Err(error)) => {
                self.expect_usual_alert_error(&error);
                false
            }
            Answer::Lost => false,
        }
    }

    async fn send_alerts(&self) {
        let Some(peers) = self.0.shared.peers.clone() else { return };
        let (node, tick) = (self.some_node(), self.tick());
        let shared = Arc::clone(&self.0.shared);
        let sending = self.call(node, "send alerts", false, move |_| {
            let alerts = shared.alerts_of(node);
            async move {
                let Some(alerts) = alerts else { return Ok(()) };
                alerts.send(&peers, tick).await
            }
        });
        if let Answer::Of(Err(error)) = sending.await.0 {
            self.expect_usual_alert_error(&error);
        }
    }

    fn expect_usual_alert_error(&self, error: &AlertError) {
        match error {
            AlertError::Archive(error) => self.expect_usual("an alert", error),
            error => self.violation(format!("an alert: {error}")),
        }
    }

    /// Searches for alerts and sends them, often after a run has ended.
    pub(crate) async fn alert(&self, run: usize) {
        if self.chance(600) {
            self.start_run().await;
            self.finish(run).await;
            self.sleep_ms(121_000).await;
        }
        self.find_alerts(if self.chance(300) { SearchScope::Once } else { SearchScope::Thorough }).await;
        for _ in 0..1 + self.below(4) {
            self.sleep_ms([1_000, 31_000, 121_000][self.below(3)]).await;
            self.send_alerts().await;
        }
    }

    /// Ends a run while the rule is muted, and searches for alerts meanwhile: no notification may be sent.
    pub(crate) async fn end_while_muted(&self, run: usize) {
        let Ok(_alone) = self.0.muting.try_lock() else { return };
        let Some(peers) = self.0.shared.peers.clone() else { return };
        let id = self.run_id(run);
        let is_new = locked(&self.0.ledger).runs[run].finish_sent_ms.is_none();
        let is_muted = self.set_mute(RULE, true).await;
        if is_muted && is_new && self.fails(id) && locked(&self.0.ledger).runs[run].finish_sent_ms.is_none() {
            let has_ended = self.finish(run).await;
            if has_ended && self.find_alerts(SearchScope::Once).await {
                peers.mute(id.to_string());
            }
        }
        // No other client ends it until this one has its response.
        for _ in 0..50 {
            if self.set_mute(RULE, false).await {
                return;
            }
            self.sleep_ms(60_000).await;
        }
    }

    /// Sends all remaining alerts once the faults are over, and ends them with a successful run.
    pub(crate) async fn tell_the_rest(&self) {
        let Some(peers) = self.0.shared.peers.clone().filter(|_| self.has_alerts()) else { return };
        self.set_mute(RULE, false).await;
        self.find_alerts(SearchScope::Thorough).await;
        if !self.tell_until_nothing_is_left().await {
            return self.violation("there is always an alert left to send".to_owned());
        }
        self.check_told(&peers).await;
        self.sleep_ms(2 * HOUR_MS).await;
        if !self.end_a_good_run().await {
            return self.violation("no run can be started and ended, and nothing fails any more".to_owned());
        }
        self.sleep_ms(HOUR_MS).await;
        for _ in 0..2 {
            // An intermittent alert is not reported before it has been over for half an hour.
            self.find_alerts(SearchScope::Thorough).await;
            self.sleep_ms(HOUR_MS).await;
        }
        if !self.tell_until_nothing_is_left().await {
            return self.violation("there is always an alert left to send".to_owned());
        }
        self.check_ends(&peers);
        let before = peers.requests();
        self.find_alerts(SearchScope::Thorough).await;
        for _ in 0..self.0.shared.profile.nodes {
            self.send_alerts().await;
        }
        if peers.requests() != before {
            self.violation("alerts are sent although nothing has happened".to_owned());
        }
    }

    /// Starts a run, and ends it as successful; false when that is not possible.
    async fn end_a_good_run(&self) -> bool {
        let run = locked(&self.0.ledger).runs.len();
        for _ in 0..ROUNDS_MAX {
            let has_started = locked(&self.0.ledger).runs.len() > run;
            match has_started {
                true if self.finish(run).await => return true,
                true => {}
                false => self.start_a_good_run().await,
            }
        }
        false
    }

    async fn tell_until_nothing_is_left(&self) -> bool {
        for round in 0..ROUNDS_MAX {
            self.send_alerts().await;
            let asking = self.call(self.some_node(), "ask what alerts wait", false, |store| async move {
                store.alerts().backlog().await
            });
            if matches!(asking.await.0, Answer::Of(Ok(backlog)) if backlog.is_empty()) && round > 0 {
                return true;
            }
            self.sleep_ms(if round % 2 == 0 { 61_000 } else { HOUR_MS }).await;
        }
        false
    }

    /// Checks that each failed run was reported, unless the archive has a reason.
    async fn check_told(&self, peers: &Peers) {
        let listing = self.call(self.some_node(), "list alerts", false, |store| async move {
            store.alerts().history(&AlertFilter { limit: 10_000, ..AlertFilter::default() }).await
        });
        let history = match listing.await.0 {
            Answer::Of(Ok((history, _))) => history,
            Answer::Of(Err(error)) => return self.expect_usual("a list of alerts", &error),
            Answer::Lost => return,
        };
        let ended: Vec<(RunId, i64, i64)> = {
            let ledger = locked(&self.0.ledger);
            let times = |run: &crate::ledger::Run| Some((run.id, run.finish_sent_ms?, run.finished_ms?));
            ledger.runs.iter().filter_map(times).filter(|(id, ..)| is_bad(*id)).collect()
        };
        let begun_ms = locked(&self.0.searches).begun_ms.clone();
        let told = peers.told();
        for (id, sent_ms, finished_ms) in ended {
            let span = finished_ms + WAIT_MS_MAX..sent_ms + LOOK_BACK_MS;
            if !begun_ms.iter().any(|at| span.contains(at)) {
                continue;
            }
            let of = |at: &&runlog_model::wire::alerts::AlertBody| at.rule == RULE && at.run_id == Some(id);
            let is_old = |at: &&runlog_model::wire::alerts::AlertBody| {
                self.now_ms() - at.noted_at.as_millis() > GIVE_UP_MS && at.state == AlertState::Refused
            };
            let all: Vec<_> = history.iter().filter(of).collect();
            let states: Vec<_> =
                all.iter().filter(|at| !is_old(at)).map(|at| (at.destination.as_str(), at.state)).collect();
            let to_hook = states.iter().find(|(to, _)| to.contains(HOOKS)).map(|(_, state)| *state);
            let was_told = told.iter().any(|at| at.to == HOOKS && !at.is_end && at.runs.contains(&id.to_string()));
            let is_excused = match to_hook {
                Some(AlertState::Dropped) => true,
                Some(AlertState::Muted) => peers.is_muted(&id.to_string()) || self.0.had_mute(),
                None => all.iter().any(|at| at.destination.contains(HOOKS)),
                _ => false,
            };
            if !was_told && !is_excused {
                self.violation(format!("{HOOKS} was never told that run {id} failed: {states:?}"));
            }
            if let Some((to, state)) = states.iter().find(|(_, state)| *state == AlertState::Refused) {
                self.violation(format!("the alert of run {id} to {to} was given up: {state:?}"));
            }
        }
    }

    /// Checks that the end of each open alert was reported.
    fn check_ends(&self, peers: &Peers) {
        let told = peers.told();
        let mut last: std::collections::BTreeMap<(&str, &str), bool> = std::collections::BTreeMap::new();
        for at in told.iter().filter(|at| at.to == PAGER) {
            last.insert((&at.to, &at.id), at.is_end);
        }
        if let Some(((to, id), _)) = last.iter().find(|(_, is_end)| !**is_end) {
            self.violation(format!("{to} was never told that {id} is over"));
        }
        let is_told_of_ends = self.0.shared.profile.alerts.as_ref().is_some_and(|profile| profile.recovery);
        let of_hook = |is_end: bool| told.iter().any(|at| at.to == HOOKS && at.is_end == is_end);
        if is_told_of_ends && of_hook(false) && !of_hook(true) && !self.0.had_mute() {
            self.violation(format!("{HOOKS} was never told of an end"));
        }
    }
}
