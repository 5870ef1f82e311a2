//! Alerts: what happened that somebody wants to be told of, told once each, with a link.
//!
//! ```text
//! rules ▸ find (from the catalog) ▸ noted, one row an occurrence and destination ▸ claimed ▸ sent ▸ noted as delivered
//! ```
//!
//! Any number of nodes may do this together. An occurrence is noted once, whoever sees it, and one node at a time sends
//! it. What was sent and not noted, because the node died in between, is sent again with the same id (`Message-ID`,
//! `X-Runlog-Id`): told at least once, and twice only then.

mod find;
mod mail;
mod rule;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use runlog_client::Wait;
use runlog_model::{Clock, Timestamp};
use runlog_store::{DueAlert, Store};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use mail::{Mail, MailLogin, MailSecurity};
pub use rule::{AlertRule, Condition, Destination};
pub use webhook::Webhook;

use find::Occurrence;

/// How often the catalog is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Each so many looks are thorough.
const THOROUGH_EVERY: u64 = 20;

/// The wait after the first attempt that came to nothing, and the longest.
const AGAIN_FIRST_MS: i64 = 10_000;
const AGAIN_MAX_MS: i64 = 3_600_000;

/// Why an alert could not be sent, or looked for.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The archive is away.
    #[error("the archive did not answer")]
    Archive(#[from] runlog_store::Error),
    /// The destination did not take it.
    #[error("{0}")]
    Refused(String),
    /// What was to be sent could not be made.
    #[error("{0}")]
    Unsendable(String),
}

/// How closely the catalog is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Runs that have ended since then, and what is waiting.
    Quick {
        /// When it was last looked.
        since: Timestamp,
    },
    /// Everything: tasks that are late, runs that go on, new errors, and what ended long ago.
    Thorough,
}

/// The rules of the settings, and where they send.
pub struct Alerts {
    store: Store,
    rules: Vec<AlertRule>,
    destinations: BTreeMap<String, Destination>,
    /// Address of the service, for links; without it there are none.
    public_url: Option<url::Url>,
}

impl Alerts {
    /// Alerts over an archive.
    pub fn new(store: Store, rules: Vec<AlertRule>, public_url: Option<url::Url>) -> Self {
        let destinations = rules.iter().flat_map(|rule| &rule.to).map(|it| (it.name(), it.clone())).collect();
        Self { store, rules, destinations, public_url }
    }

    /// Looks and sends until `stop`.
    pub async fn run(&self, clock: &dyn Clock, wait: &dyn Wait, stop: CancellationToken) {
        let (mut looks, mut looked_at) = (0, None);
        while !stop.is_cancelled() {
            let now = clock.now();
            let look = match looked_at {
                Some(at) if looks % THOROUGH_EVERY != 0 => Look::Quick { since: at },
                _ => Look::Thorough,
            };
            match self.find(look, now).await {
                Ok(_) => {
                    looks += 1;
                    looked_at = Some(now);
                }
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "alerts could not be looked for")
                }
            }
            match self.send_due(clock, &stop).await {
                Ok(0) => {}
                Ok(sent) => info!(sent, "alerts were sent"),
                Err(error) => error!(error = &error as &dyn std::error::Error, "alerts could not be sent"),
            }
            tokio::select! { () = wait.sleep(LOOK_EVERY) => {}, () = stop.cancelled() => {} }
        }
    }

    /// Notes what has happened since the rules are known. How many alerts are new.
    pub async fn find(&self, look: Look, now: Timestamp) -> Result<u64, AlertError> {
        let mut new = 0;
        for rule in &self.rules {
            let since = self.store.alert_rule_since(&rule.name).await?;
            let found = find::occurrences(&self.store, rule, look, since, now).await?;
            let alerts: Vec<_> = found.iter().flat_map(|it| self.alerts_of(rule, it, now)).collect();
            if !alerts.is_empty() {
                new += self.store.note_alerts(&alerts).await?;
            }
        }
        if look == Look::Thorough {
            self.store.forget_alerts().await?;
        }
        Ok(new)
    }

    /// Sends what is due; what does not arrive is tried again later. How many were sent.
    pub async fn send_due(&self, clock: &dyn Clock, stop: &CancellationToken) -> Result<u64, AlertError> {
        let names: Vec<String> = self.destinations.keys().cloned().collect();
        let mut sent = 0;
        while !stop.is_cancelled() {
            let Some(alert) = self.store.claim_alert(&names).await? else { break };
            let Some(destination) = self.destinations.get(&alert.destination) else { break };
            match destination.send(&id_of(&alert), &alert.body, clock.now()).await {
                Ok(()) => {
                    self.store.alert_delivered(&alert).await?;
                    sent += 1;
                }
                Err(error) => self.set_back(&alert, &error, clock.now()).await?,
            }
        }
        Ok(sent)
    }

    async fn set_back(&self, alert: &DueAlert, error: &AlertError, now: Timestamp) -> Result<(), AlertError> {
        let text = error.to_string();
        let wait_ms = AGAIN_FIRST_MS.saturating_mul(1 << (alert.attempts.clamp(1, 20) - 1)).min(AGAIN_MAX_MS);
        warn!(alert.rule, alert.destination, attempts = alert.attempts, problem = text, "an alert did not arrive");
        Ok(self.store.alert_failed(alert, &text, now.plus_millis(wait_ms)).await?)
    }

    /// Tries each destination; what each said.
    pub async fn check(&self, now: Timestamp) -> Vec<(String, Result<(), AlertError>)> {
        let mut tried = Vec::new();
        for (name, destination) in &self.destinations {
            tried.push((name.clone(), destination.check(now).await));
        }
        tried
    }

    fn alerts_of(&self, rule: &AlertRule, found: &Occurrence, now: Timestamp) -> Vec<runlog_store::NewAlert> {
        let body = found.body(&rule.name, self.public_url.as_ref(), now);
        let alert = |destination: &Destination| runlog_store::NewAlert {
            rule: rule.name.clone(),
            destination: destination.name(),
            occurrence: found.key.clone(),
            body: body.clone(),
        };
        rule.to.iter().map(alert).collect()
    }
}

/// The same for each attempt to tell the same.
fn id_of(alert: &DueAlert) -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{}\n{}\n{}", alert.rule, alert.destination, alert.occurrence);
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
