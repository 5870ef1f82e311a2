//! Looks for what the rules tell of, and sends what is due.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use runlog_client::Wait;
use runlog_model::{Clock, Timestamp, hex};
use runlog_store::Store;
use runlog_store::alerts::ClaimedAlert;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::error::AlertError;
use super::find::{AlertArchive, Look, Occurrence, occurrences};
use super::rule::{AlertRule, Destination};

/// How often the catalog is looked at, and what is due at a destination is tried.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Each so many looks are thorough.
const THOROUGH_EVERY: u64 = 20;

/// After how long a pass over what is due at a destination begins with no further alert. Unit: milliseconds.
///
/// `collect --once` ends, however much is waiting and however slow a destination is.
const PASS_MS_MAX: i64 = 60_000;

/// The wait after the first attempt that came to nothing, and the longest.
const AGAIN_FIRST_MS: i64 = 10_000;
const AGAIN_MAX_MS: i64 = 600_000;

/// The rules of the settings, and where they send.
pub struct Alerts {
    archive: AlertArchive,
    rules: Vec<AlertRule>,
    destinations: BTreeMap<String, Destination>,
    /// Address of the service, for links; without it there are none.
    public_url: Option<url::Url>,
}

/// What looking and sending share.
struct Rounds<'a> {
    clock: &'a dyn Clock,
    wait: &'a dyn Wait,
    /// Told when something was found that is to be sent.
    found: Notify,
    stop: &'a CancellationToken,
}

impl Alerts {
    /// Alerts over an archive.
    pub fn new(store: &Store, rules: Vec<AlertRule>, public_url: Option<url::Url>) -> Self {
        let destinations = rules.iter().flat_map(|rule| &rule.to).map(|it| (it.name(), it.clone())).collect();
        Self { archive: AlertArchive::of(store), rules, destinations, public_url }
    }

    /// Looks and sends until `stop`, and ends at once then.
    pub async fn run(&self, clock: &dyn Clock, wait: &dyn Wait, stop: CancellationToken) {
        let rounds = Rounds { clock, wait, found: Notify::new(), stop: &stop };
        let sending = join_all(self.destinations.values().map(|destination| self.send_on(destination, &rounds)));
        tokio::join!(self.look_on(&rounds), sending);
    }

    async fn look_on(&self, rounds: &Rounds<'_>) {
        let (mut looks, mut looked_at) = (0, None);
        while !rounds.stop.is_cancelled() {
            let now = rounds.clock.now();
            let look = match looked_at {
                Some(at) if looks % THOROUGH_EVERY != 0 => Look::Quick { since: at },
                _ => Look::Thorough,
            };
            match self.find(look, now).await {
                Ok(new) => {
                    looks += 1;
                    looked_at = Some(now);
                    if new > 0 {
                        rounds.found.notify_waiters();
                    }
                }
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "cannot check for alerts")
                }
            }
            tokio::select! { () = rounds.wait.sleep(LOOK_EVERY) => {}, () = rounds.stop.cancelled() => {} }
        }
    }

    async fn send_on(&self, destination: &Destination, rounds: &Rounds<'_>) {
        while !rounds.stop.is_cancelled() {
            match self.send_to(destination, rounds.clock, rounds.stop).await {
                Ok(0) => {}
                Ok(sent) => info!(alert.destination = destination.name(), sent, "alerts were sent"),
                Err(error) => error!(error = &error as &dyn std::error::Error, "cannot send alerts"),
            }
            tokio::select! {
                () = rounds.wait.sleep(LOOK_EVERY) => {}
                () = rounds.found.notified() => {}
                () = rounds.stop.cancelled() => {}
            }
        }
    }

    /// Notes what has happened since the rules are known. How many alerts are new.
    pub async fn find(&self, look: Look, now: Timestamp) -> Result<u64, AlertError> {
        let mut new = 0;
        for rule in &self.rules {
            let since = self.archive.alerts.rule_known_since(&rule.name).await?;
            let found = occurrences(&self.archive, rule, look, since, now).await?;
            let alerts: Vec<_> = found.iter().flat_map(|it| self.alerts_of(rule, it, now)).collect();
            if !alerts.is_empty() {
                new += self.archive.alerts.enqueue(&alerts).await?;
            }
        }
        if look == Look::Thorough {
            self.archive.alerts.delete_delivered().await?;
        }
        Ok(new)
    }

    /// Sends what is due, to all destinations at a time; what does not arrive is tried again later. How many were sent.
    ///
    /// Ends within about two minutes, even when not everything was tried.
    pub async fn send_due(&self, clock: &dyn Clock, stop: &CancellationToken) -> Result<u64, AlertError> {
        let passes = self.destinations.values().map(|destination| self.send_to(destination, clock, stop));
        let mut sent = 0;
        for pass in join_all(passes).await {
            sent += pass?;
        }
        Ok(sent)
    }

    /// A pass over what is due at a destination, until something does not arrive there. How many were sent.
    async fn send_to(
        &self,
        destination: &Destination,
        clock: &dyn Clock,
        stop: &CancellationToken,
    ) -> Result<u64, AlertError> {
        let (name, began) = (destination.name(), clock.now());
        let mut sent = 0;
        while !stop.is_cancelled() && clock.now().millis_since(began) < PASS_MS_MAX {
            let Some(alert) = self.archive.alerts.claim(&name).await? else { break };
            let id = id_of(&alert);
            let attempt = tokio::select! {
                // What has arrived is noted, even when it is time to stop.
                biased;
                attempt = destination.send(&id, &alert.body, clock.now()) => attempt,
                () = stop.cancelled() => {
                    // Nobody waits until the claim ends: the next node sends it at once.
                    self.archive.alerts.record_failure(&alert, "stopped while it was being sent", clock.now()).await?;
                    break;
                }
            };
            match attempt {
                Ok(()) => {
                    self.archive.alerts.mark_delivered(&alert).await?;
                    sent += 1;
                }
                Err(error) => {
                    self.set_back(&alert, &error, clock.now()).await?;
                    // The next one would take as long to fail; it is tried in the next pass.
                    break;
                }
            }
        }
        Ok(sent)
    }

    async fn set_back(&self, alert: &ClaimedAlert, error: &AlertError, now: Timestamp) -> Result<(), AlertError> {
        let text = error.to_string();
        let wait_ms = AGAIN_FIRST_MS.saturating_mul(1 << (alert.attempts.clamp(1, 20) - 1)).min(AGAIN_MAX_MS);
        warn!(
            alert.rule,
            alert.destination,
            attempts = alert.attempts,
            problem = text,
            "an alert could not be delivered"
        );
        Ok(self.archive.alerts.record_failure(alert, &text, now.plus_millis(wait_ms)).await?)
    }

    /// Tries all destinations at a time; what each said.
    pub async fn check(&self, now: Timestamp) -> Vec<(String, Result<(), AlertError>)> {
        let tried = join_all(self.destinations.values().map(|destination| destination.check(now))).await;
        self.destinations.keys().cloned().zip(tried).collect()
    }

    fn alerts_of(&self, rule: &AlertRule, found: &Occurrence, now: Timestamp) -> Vec<runlog_store::alerts::NewAlert> {
        let body = found.body(&rule.name, self.public_url.as_ref(), now);
        let alert = |destination: &Destination| runlog_store::alerts::NewAlert {
            rule: rule.name.clone(),
            destination: destination.name(),
            occurrence: found.key.clone(),
            body: body.clone(),
        };
        rule.to.iter().map(alert).collect()
    }
}

/// The same for each attempt to tell the same.
fn id_of(alert: &ClaimedAlert) -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{}\n{}\n{}", alert.rule, alert.destination, alert.occurrence);
    hex::encode(&Sha256::digest(text)[..16])
}
