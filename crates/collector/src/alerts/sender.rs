//! Finds occurrences of the rules, and sends due alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use runlog_client::Wait;
use runlog_model::wire::alerts::{AlertPreviewBody, AlertRuleDescription};
use runlog_model::{Clock, Timestamp, hex, millis, planted};
use runlog_store::Store;
use runlog_store::alerts::{ClaimedAlert, NewAlert, Recovery};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::archive::AlertArchive;
use super::error::AlertError;
use super::find::{LOOK_BACK_MS, Occurrence, SearchScope, occurrences};
use super::maintenance::{Maintenance, described, held_until};
use super::message::{Message, Purpose};
use super::recover::{AlertSubject, RecoveryCheck, body, is_recovery_deferred};
use super::rule::{AlertRule, Condition, Destination, GroupBy};

/// The interval of searches, and of attempts to send due alerts.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Each search with this number is a full one.
const THOROUGH_EVERY: u64 = 20;

/// After this time, a pass over the due alerts of a destination does not start to send another one. Unit: milliseconds.
///
/// Thus, `collect --once` ends, however many alerts are due and however slow a destination is.
const PASS_MS_MAX: i64 = 60_000;

/// The delay after the first failed attempt, and the maximum.
const AGAIN_FIRST_MS: i64 = 10_000;
const AGAIN_MAX_MS: i64 = 600_000;

/// After how many events of a rule a preview of it ends.
const PREVIEW_EVENTS_MAX: usize = 2_000;

/// How many events of a rule a preview lists.
const PREVIEW_ITEMS_MAX: usize = 100;

/// The rules and destinations from the settings.
pub struct Alerts {
    archive: AlertArchive,
    rules: Vec<AlertRule>,
    destinations: BTreeMap<String, Destination>,
    windows: Vec<Maintenance>,
    /// Base URL of the service, for links; without it, there are no links.
    public_url: Option<url::Url>,
}

/// The shared state of searching and sending.
struct Rounds<'a> {
    clock: &'a dyn Clock,
    wait: &'a dyn Wait,
    /// Notified when an alert becomes due.
    found: Notify,
    stop: &'a CancellationToken,
}

impl Alerts {
    /// Creates a sender for an archive.
    pub fn new(store: &Store, rules: Vec<AlertRule>, public_url: Option<url::Url>) -> Self {
        let destinations = rules.iter().flat_map(|rule| &rule.to).map(|it| (it.name(), it.clone())).collect();
        let windows = Vec::new();
        Self { archive: AlertArchive::of(store), rules, destinations, windows, public_url }
    }

    /// Holds alerts in these maintenance windows.
    #[must_use]
    pub fn with_maintenance(self, windows: Vec<Maintenance>) -> Self {
        Self { windows, ..self }
    }

    /// Searches and sends until `stop`, then returns immediately.
    pub async fn run(&self, clock: &dyn Clock, wait: &dyn Wait, stop: CancellationToken) {
        let rounds = Rounds { clock, wait, found: Notify::new(), stop: &stop };
        let sending =
            join_all(self.destinations.values().map(|destination| self.send_continuously(destination, &rounds)));
        tokio::join!(self.search_continuously(&rounds), sending);
    }

    async fn search_continuously(&self, rounds: &Rounds<'_>) {
        let (mut looks, mut looked_at) = (0, None);
        while !rounds.stop.is_cancelled() {
            let now = rounds.clock.now();
            let scope = match looked_at {
                Some(at) if looks % THOROUGH_EVERY != 0 => SearchScope::Quick { since: at },
                _ => SearchScope::Thorough,
            };
            match self.find(scope, now).await {
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

    async fn send_continuously(&self, destination: &Destination, rounds: &Rounds<'_>) {
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

    /// Records new occurrences since the rules were added. Returns the number of new alerts.
    pub async fn find(&self, scope: SearchScope, now: Timestamp) -> Result<u64, AlertError> {
        let mut new = 0;
        for rule in &self.rules {
            let since = self.archive.alerts.rule_known_since(&rule.name).await?;
            if !matches!(scope, SearchScope::Quick { .. }) {
                let maintenance = described(&self.windows, now);
                let description = AlertRuleDescription { maintenance, ..rule.description() };
                self.archive.alerts.describe_rule(&rule.name, &description).await?;
                for (former, destinations) in rule.replacements() {
                    self.archive.alerts.replace_destination(&rule.name, &former, &destinations).await?;
                }
            }
            let since = since.max(now.plus_millis(-LOOK_BACK_MS));
            let mut found = occurrences(&self.archive, rule, scope, since, now, usize::MAX).await?;
            if found.iter().any(Occurrence::is_one_while_open) {
                let open = self.archive.alerts.open_states(&rule.name).await?;
                let mut members: BTreeSet<String> = open.into_iter().map(|state| state.member).collect();
                found.retain(|it| {
                    !it.is_one_while_open() || it.state().is_none_or(|state| members.insert(state.member))
                });
            }
            let mut alerts: Vec<_> = found.iter().flat_map(|it| self.alerts_of(rule, it, scope, now)).collect();
            let is_muted = self.archive.alerts.is_muted(&rule.name).await? && !planted::is("mute-ignored");
            if is_muted {
                alerts.iter_mut().for_each(|alert| alert.is_muted = true);
            }
            if !alerts.is_empty() {
                new += self.archive.alerts.enqueue(&alerts).await?;
            }
            new += self.queue_recoveries(rule, is_muted, now).await?;
        }
        if !matches!(scope, SearchScope::Quick { .. }) {
            self.archive.alerts.delete_delivered().await?;
            let known: Vec<String> = self.destinations.keys().cloned().collect();
            let given_up = self.archive.alerts.give_up_without_destination(&known).await?;
            if given_up > 0 {
                warn!(given_up, "alerts whose destinations are no longer in the settings were given up");
            }
        }
        Ok(new)
    }

    /// Queues messages about what was reported and is over; returns how many.
    async fn queue_recoveries(&self, rule: &AlertRule, is_muted: bool, now: Timestamp) -> Result<u64, AlertError> {
        let alerts = &self.archive.alerts;
        let mut ends = RecoveryCheck::new(&self.archive, rule, now);
        let mut queued = 0;
        for mut state in alerts.open_states(&rule.name).await? {
            let about: Option<AlertSubject> = serde_json::from_str(&state.about).ok();
            let why = match &about {
                Some(about) => ends.resolution(about).await?,
                // A later version has recorded it.
                None => None,
            };
            let Some(why) = why else {
                if state.ended_at.is_some() {
                    alerts.set_ended(&state, None).await?;
                }
                continue;
            };
            if state.ended_at.is_none() {
                alerts.set_ended(&state, Some(now)).await?;
                state.ended_at = Some(now.as_millis());
            }
            let ended_at = state.ended_at.map_or(now, Timestamp::clamped);
            let is_flapping = alerts.is_flapping(&rule.name, &state.subject).await?;
            if is_recovery_deferred(is_flapping, ended_at, now) {
                continue;
            }
            // Destinations in which an alert would stay open are sent its end even if the rule does not report
            // recoveries.
            let to = rule.to.iter().filter(|to| rule.recovery || to.keeps_state());
            let to = to.map(|to| Recovery { destination: to.name(), is_muted: is_muted && !to.keeps_state() });
            let due_at = held_until(&self.windows, &ends.affected_scopes_of(about.as_ref(), &state.body).await?, now);
            queued += alerts.end(&state, &body(&state.body, &why, now), &to.collect::<Vec<_>>(), due_at).await?;
        }
        Ok(queued)
    }

    /// Returns the alerts that each rule would report about events since then; nothing is recorded or sent.
    ///
    /// Late tasks and incomplete logs are those of now, and sinks that are behind are left out.
    pub async fn preview(&self, since: Timestamp, now: Timestamp) -> Result<Vec<AlertPreviewBody>, AlertError> {
        let mut previews = Vec::new();
        for rule in &self.rules {
            let mut rule = rule.clone();
            // To search for these changes the catalog.
            rule.when.retain(|condition| *condition != Condition::SinkBehind);
            let found = occurrences(&self.archive, &rule, SearchScope::Once, since, now, PREVIEW_EVENTS_MAX).await?;
            let mut items: Vec<_> = found.iter().map(Occurrence::previewed).collect();
            items.sort_by_key(|item| std::cmp::Reverse(item.at));
            let (events, muted) = (items.len() as u64, items.iter().filter(|item| item.muted).count() as u64);
            items.truncate(PREVIEW_ITEMS_MAX);
            let complete = found.len() < PREVIEW_EVENTS_MAX;
            previews.push(AlertPreviewBody { rule: rule.name, events, muted, complete, items });
        }
        Ok(previews)
    }

    /// Sends due alerts to all destinations concurrently; failed ones are retried later. Returns the number of alerts
    /// sent.
    ///
    /// Returns after about two minutes, even if some were not tried.
    pub async fn send_due(&self, clock: &dyn Clock, stop: &CancellationToken) -> Result<u64, AlertError> {
        let passes = self.destinations.values().map(|destination| self.send_to(destination, clock, stop));
        let mut sent = 0;
        for pass in join_all(passes).await {
            sent += pass?;
        }
        Ok(sent)
    }

    /// One pass over the due alerts of a destination, until one fails. Returns the number of alerts sent.
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
            let is_grouped = self.rules.iter().any(|rule| rule.name == alert.rule && rule.group_by != GroupBy::None);
            let mut together = match alert.subject.is_some() && (is_grouped || alert.is_held()) {
                true => self.archive.alerts.claim_others(&alert, !is_grouped).await?,
                // Alerts that were in the same message before stay together under its ID, even if the rule has changed.
                false if alert.was_sent_before() => self.archive.alerts.claim_others(&alert, false).await?,
                false => Vec::new(),
            };
            together.insert(0, alert);
            let message = message_of(&together);
            let attempt = tokio::select! {
                // A delivered alert is recorded, even during a shutdown.
                biased;
                attempt = destination.send(&message, clock.now()) => attempt,
                () = stop.cancelled() => {
                    // The claim is released, so that the next node can send it immediately.
                    let problem = "stopped while it was being sent";
                    self.archive.alerts.record_failure(&together, problem, clock.now()).await?;
                    break;
                }
            };
            match attempt {
                Ok(()) => {
                    if !planted::is("alert-not-recorded") {
                        self.archive.alerts.mark_delivered(&together).await?;
                    }
                    sent += together.len() as u64;
                }
                Err(error) => {
                    self.set_back(together, &error, clock.now()).await?;
                    // The next alert would take as long to fail; it is tried in the next pass.
                    if !matches!(error, AlertError::Rejected(_)) {
                        break;
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Records that a message could not be delivered.
    async fn set_back(&self, alerts: Vec<ClaimedAlert>, error: &AlertError, now: Timestamp) -> Result<(), AlertError> {
        let text = error.to_string();
        let is_hopeless = |alert: &ClaimedAlert| matches!(error, AlertError::Rejected(_)) || alert.is_too_old(now);
        let (hopeless, waiting): (Vec<_>, Vec<_>) = alerts.into_iter().partition(is_hopeless);
        for alert in &hopeless {
            error!(alert.rule, alert.destination, problem = text, "an alert was given up");
            self.archive.alerts.give_up(alert, &text).await?;
        }
        let Some(attempts) = waiting.iter().map(|alert| alert.attempts).max() else { return Ok(()) };
        let wait_ms = AGAIN_FIRST_MS.saturating_mul(1 << (attempts.clamp(1, 20) - 1)).min(AGAIN_MAX_MS);
        let asked_ms = match error {
            AlertError::Busy { after: Some(after), .. } => millis(*after),
            _ => 0,
        };
        for alert in &waiting {
            let problem = &text;
            warn!(alert.rule, alert.destination, attempts = alert.attempts, problem, "an alert could not be delivered");
        }
        let again_at = now.plus_millis(wait_ms.max(asked_ms));
        Ok(self.archive.alerts.record_failure(&waiting, &text, again_at).await?)
    }

    /// Tests all destinations concurrently, a channel of several rules once; returns the result of each.
    pub async fn check(&self, now: Timestamp) -> Vec<(String, Result<(), AlertError>)> {
        let mut tested_keys = BTreeSet::new();
        let tested =
            self.destinations.iter().filter(|(_, destination)| tested_keys.insert(destination.destination_key()));
        join_all(tested.map(async |(name, destination)| (self.shown_name(name), destination.check(now).await))).await
    }

    /// A destination as its rule names it: `night-shift: webhook example.com (1 of 2)`. Its name in the archive ends
    /// with a hash.
    fn shown_name(&self, name: &str) -> String {
        let is_hash = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let kind = name.rsplit_once(' ').filter(|(_, word)| is_hash(word)).map_or(name, |(kind, _)| kind);
        let place = self.rules.iter().find_map(|rule| {
            let at = rule.to.iter().position(|to| to.name() == name)?;
            let kind = kind.strip_suffix(&format!(" ({})", rule.name)).unwrap_or(kind);
            Some(format!("{}: {kind} ({} of {})", rule.name, at + 1, rule.to.len()))
        });
        place.unwrap_or_else(|| name.to_owned())
    }

    fn alerts_of(&self, rule: &AlertRule, found: &Occurrence, scope: SearchScope, now: Timestamp) -> Vec<NewAlert> {
        let body = found.body(&rule.name, self.public_url.as_ref(), now);
        let held_until = held_until(&self.windows, &found.affected_scopes(), now);
        // A process that does not search again soon does not wait either.
        let waits = rule.group_by != GroupBy::None && scope != SearchScope::Once;
        let due_at = held_until.or_else(|| waits.then(|| now.plus_millis(millis(rule.group_wait))));
        let alert = |destination: &Destination| NewAlert {
            rule: rule.name.clone(),
            destination: destination.name(),
            occurrence: found.key.clone(),
            body: body.clone(),
            is_muted: found.is_muted,
            subject: found.subject(rule.group_by),
            state: found.state(),
            due_at,
            is_held: held_until.is_some(),
        };
        rule.to.iter().map(alert).collect()
    }
}

/// The message about alerts that are sent together.
fn message_of(alerts: &[ClaimedAlert]) -> Message {
    let first = alerts.first();
    let id = first.map(id_of).unwrap_or_default();
    let subject_id = first.map_or_else(|| id.clone(), subject_id_of);
    let is_recovery = first.is_some_and(ClaimedAlert::is_recovery);
    let purpose = if is_recovery { Purpose::Recovery } else { Purpose::Alert };
    Message::new(id, subject_id, purpose, alerts.iter().map(|alert| alert.body.as_str()))
}

/// Returns an ID that is equal for all alerts of a rule about the same subject, at each destination.
fn subject_id_of(alert: &ClaimedAlert) -> String {
    match &alert.subject {
        Some(subject) => digest(&[&alert.rule, subject]),
        None => id_of(alert),
    }
}

/// Returns an ID that is equal for each attempt to send the same message.
fn id_of(alert: &ClaimedAlert) -> String {
    digest(&[&alert.rule, &alert.destination, alert.sent_with()])
}

fn digest(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(&Sha256::digest(parts.join("\n"))[..16])
}
