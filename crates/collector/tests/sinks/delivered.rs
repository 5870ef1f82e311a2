//! Alerts about an archive and its sinks: each is sent once to each destination, independently of the others.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use runlog_client::{HttpClientBuilder, TlsSettings, Wait};
use runlog_collector::alerts::{AlertRule, Alerts, Condition, Destination, SearchScope, Webhook};
use runlog_model::wire::problems::NewProblemState;
use runlog_model::{Clock, ProblemState, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;

const MINUTE_MS: i64 = 60_000;

/// A rule with one condition and webhooks at these addresses.
fn alerts(stage: &Stage, condition: Condition, urls: &[&str]) -> Alerts {
    let rule = AlertRule { to: urls.iter().map(|url| webhook_to(url)).collect(), ..rule(condition) };
    Alerts::new(&stage.store, vec![rule], None)
}

/// A webhook at this address.
pub(crate) fn webhook_to(url: &str) -> Destination {
    let http = HttpClientBuilder::new(&TlsSettings::default());
    Destination::Webhook(Webhook::new(url.parse().unwrap(), None, http).unwrap())
}

/// A rule with one condition and no destination.
pub(crate) fn rule(condition: Condition) -> AlertRule {
    AlertRule { recovery: false, ..AlertRule::new("night-shift", vec![condition]) }
}

/// Searches for alerts, and returns the number of new ones.
async fn new(stage: &Stage, alerts: &Alerts) -> u64 {
    alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap()
}

/// Ends a run, which is then due for the sink.
async fn due_run(stage: &Stage) {
    stage.run(1, &[]).await;
    assert_eq!(stage.store.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap(), 1);
}

/// Delivers the run that has been due for longest to the sink.
async fn deliver_one(stage: &Stage) {
    let until = stage.clock.now().plus_millis(MINUTE_MS);
    let claimed = stage.store.deliveries().claim("sink", until).await.unwrap().unwrap();
    stage.store.deliveries().finish(&claimed).await.unwrap();
}

/// While a sink caught up, each search found it behind with another run, and reported each of them: a thousand mails.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_falls_behind_is_reported_once() {
    let stage = Stage::new().await;
    stage.store.deliveries().register_sink("sink", "loki", None).await.unwrap();
    let alerts = alerts(&stage, Condition::SinkBehind, &["http://127.0.0.1:9/"]);
    for _ in 0..3 {
        due_run(&stage).await;
        stage.pass(15 * MINUTE_MS);
    }
    assert_eq!(new(&stage, &alerts).await, 0, "the first has been due for three quarters of an hour");
    stage.pass(20 * MINUTE_MS);
    assert_eq!((new(&stage, &alerts).await, new(&stage, &alerts).await), (1, 0));

    deliver_one(&stage).await;
    assert_eq!(new(&stage, &alerts).await, 0, "it catches up");
    stage.pass(15 * MINUTE_MS);
    assert_eq!(new(&stage, &alerts).await, 0, "the second has been due for more than an hour now");
    deliver_one(&stage).await;
    deliver_one(&stage).await;
    assert_eq!(new(&stage, &alerts).await, 0, "it has caught up");

    due_run(&stage).await;
    stage.pass(59 * MINUTE_MS);
    assert_eq!(new(&stage, &alerts).await, 0);
    stage.pass(2 * MINUTE_MS);
    assert_eq!((new(&stage, &alerts).await, new(&stage, &alerts).await), (1, 0), "it has fallen behind again");
}

/// A record that came three days after its run had ended put the sink behind by 72 hours at once.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_old_runs_do_not_put_a_sink_behind_before_it_had_time_to_take_them() {
    let stage = Stage::new().await;
    let alerts = alerts(&stage, Condition::SinkBehind, &["http://127.0.0.1:9/"]);
    let run = stage.run(1, &[]).await;
    stage.pass(3 * 24 * 60 * MINUTE_MS);
    stage.store.deliveries().register_sink("sink", "loki", None).await.unwrap();
    assert_eq!(stage.store.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap(), 1);
    assert_eq!(new(&stage, &alerts).await, 0, "a sink that is new is not behind with the history");
    deliver_one(&stage).await;
    stage.pass(3 * 24 * 60 * MINUTE_MS);
    stage.push(run, 1..2, &[]).await;
    assert_eq!(new(&stage, &alerts).await, 0, "the record came half a minute ago");
    stage.pass(61 * MINUTE_MS);
    assert_eq!(new(&stage, &alerts).await, 1);
}

/// Starts a webhook that accepts everything. Returns its URL and a receiver of the messages.
pub(crate) async fn hook() -> (String, UnboundedReceiver<Value>) {
    let (sender, told) = unbounded_channel();
    let take = move |Json(body): Json<Value>| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(body);
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

/// Two rules with the same URL sent all their alerts with the headers of the second, and the credentials in them.
#[tokio::test(flavor = "multi_thread")]
async fn rules_with_the_same_webhook_send_their_own_headers() {
    let stage = Stage::new().await;
    let (sender, mut told) = unbounded_channel();
    let take = move |headers: HeaderMap, Json(body): Json<Value>| {
        let sender = sender.clone();
        async move {
            let _ = sender.send((headers["x-rule"].to_str().unwrap().to_owned(), body["rule"].clone()));
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let rule_named = |name: &str| {
        let http = HttpClientBuilder::new(&TlsSettings::default());
        let http = http.secret_header("X-Rule", &SecretString::from(name)).unwrap();
        let webhook = Webhook::new(url.parse().unwrap(), None, http).unwrap().of_rule(name);
        AlertRule { name: name.to_owned(), to: vec![Destination::Webhook(webhook)], ..rule(Condition::RunFailed) }
    };
    let alerts = Alerts::new(&stage.store, vec![rule_named("day"), rule_named("night")], None);
    assert_eq!(new(&stage, &alerts).await, 0);
    stage.failed_run("no table").await;
    assert_eq!(new(&stage, &alerts).await, 2);
    assert_eq!(alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap(), 2);
    let mut sent = [told.try_recv().unwrap(), told.try_recv().unwrap()];
    sent.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(sent, [("day".to_owned(), json!("day")), ("night".to_owned(), json!("night"))]);
}

/// Alerts that waited for a webhook whose URL was replaced waited for ever, and alerts that had been sent were sent
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_url_is_renewed_gets_what_waited_and_nothing_twice() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = |url: &str, is_named: bool| {
        let http = HttpClientBuilder::new(&TlsSettings::default());
        let webhook = Webhook::new(url.parse().unwrap(), None, http).unwrap();
        let webhook = if is_named { webhook.of_rule("night-shift") } else { webhook };
        let to = vec![Destination::Webhook(webhook)];
        Alerts::new(&stage.store, vec![AlertRule { to, ..rule(Condition::RunFailed) }], None)
    };
    let send = async |alerts: &Alerts| alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
    // An archive of an earlier version knows the webhook by its URL.
    let former = alerts(&url, false);
    assert_eq!(new(&stage, &former).await, 0);
    stage.failed_run("no table").await;
    assert_eq!((new(&stage, &former).await, send(&former).await), (1, 1));
    stage.failed_run("no table").await;
    assert_eq!(new(&stage, &former).await, 1);
    let named = alerts(&url, true);
    assert_eq!((new(&stage, &named).await, send(&named).await), (0, 1), "what waited is sent, and nothing twice");
    stage.failed_run("no table").await;
    assert_eq!(new(&stage, &named).await, 1);
    let renewed = alerts(&format!("{url}?token=renewed"), true);
    assert_eq!((new(&stage, &renewed).await, send(&renewed).await), (0, 1));
    assert!(stage.store.alerts().backlog().await.unwrap().is_empty());
    assert_eq!(std::iter::from_fn(|| told.try_recv().ok()).count(), 3);
}

/// Alerts for a destination that was removed from the settings waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_destination_that_was_removed_is_given_up() {
    let stage = Stage::new().await;
    let before = alerts(&stage, Condition::RunFailed, &["http://127.0.0.1:9/removed"]);
    assert_eq!(new(&stage, &before).await, 0);
    stage.failed_run("no table").await;
    assert_eq!(new(&stage, &before).await, 1);
    let after = alerts(&stage, Condition::RunFailed, &[]);
    stage.pass(2 * 24 * 60 * MINUTE_MS);
    new(&stage, &after).await;
    assert_eq!(stage.store.alerts().backlog().await.unwrap().len(), 1, "it may come back");
    stage.pass(24 * 60 * MINUTE_MS + MINUTE_MS);
    new(&stage, &after).await;
    assert!(stage.store.alerts().backlog().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_webhook_is_sent_the_headers_that_its_rule_names() {
    let (sender, mut told) = unbounded_channel();
    let take = move |headers: HeaderMap| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(headers);
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let http = HttpClientBuilder::new(&TlsSettings::default());
    let http = http.secret_header("X-Hook-Key", &SecretString::from("a-secret")).unwrap();
    let webhook = Webhook::new(url.parse().unwrap(), None, http).unwrap();
    let mut rule = rule(Condition::RunFailed);
    rule.to = vec![Destination::Webhook(webhook)];
    let stage = Stage::new().await;
    let tried = Alerts::new(&stage.store, vec![rule], None).check(stage.clock.now()).await;
    assert!(tried[0].1.is_ok(), "{tried:?}");
    let headers = told.recv().await.unwrap();
    assert_eq!(
        (&headers["x-hook-key"], &headers["content-type"]),
        (&"a-secret".parse().unwrap(), &"application/json".parse().unwrap())
    );
    assert!(headers["user-agent"].to_str().unwrap().starts_with("runlog/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_reported_with_its_problem_unless_muted() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = alerts(&stage, Condition::RunFailed, &[&url]);
    let look = async || {
        let found = alerts.find(SearchScope::Thorough, stage.clock.now()).await.unwrap();
        alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
        found
    };
    let summarize = async || {
        while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
        runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();
    };
    assert_eq!(look().await, 0);
    let run = stage.run(1, &[]).await;
    assert_eq!(look().await, 0, "its problem may be known soon");
    summarize().await;
    assert_eq!(look().await, 1);
    let body = told.try_recv().unwrap();
    let problem = stage.store.problems().of_run(run).await.unwrap().unwrap();
    assert_eq!((body["runId"].as_str(), body["problem"]["id"].as_str()), (Some(&*run.to_string()), Some(&*problem.id)));
    let shown = problem.headline.as_deref().unwrap_or(&problem.title);
    assert!(body["text"].as_str().unwrap().ends_with(&format!(": {shown}")), "{body}");

    let mute_for_good = NewProblemState { state: ProblemState::Muted, until: None, note: None };
    stage.store.problems().set_state(&problem.id, &mute_for_good, "ada").await.unwrap();
    stage.run(1, &[]).await;
    summarize().await;
    stage.pass(2 * MINUTE_MS);
    assert_eq!(look().await, 0, "the problem is muted");
    let mute = NewProblemState { until: Some(stage.clock.now().plus_millis(MINUTE_MS)), ..mute_for_good.clone() };
    stage.store.problems().set_state(&problem.id, &mute, "ada").await.unwrap();
    stage.pass(2 * MINUTE_MS);
    assert_eq!(look().await, 0, "the mute has ended, and the run failed before");
    let back = stage.run(1, &[]).await;
    summarize().await;
    assert_eq!(look().await, 1, "the problem came back with a run, and only that is told");
    assert_eq!(told.try_recv().unwrap()["runId"].as_str(), Some(&*back.to_string()));
    stage.store.problems().set_state(&problem.id, &mute_for_good, "ada").await.unwrap();
    stage.run(1, &[]).await;
    summarize().await;
    assert_eq!(look().await, 0);
    let open = NewProblemState { state: ProblemState::Open, until: None, note: None };
    stage.store.problems().set_state(&problem.id, &open, "ada").await.unwrap();
    assert_eq!(look().await, 0, "it failed while the problem was muted");

    // Nobody summarises its log.
    let run = stage.run(1, &[]).await;
    stage.pass(MINUTE_MS);
    assert_eq!(look().await, 1);
    let body = told.try_recv().unwrap();
    assert_eq!((body["runId"].as_str(), body.get("problem")), (Some(&*run.to_string()), None));
}

/// Does not wait, and does not change the clock.
struct NoWait;

impl Wait for NoWait {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::task::yield_now())
    }
}

/// While a webhook delayed each attempt by half a minute, no alerts were searched for, and other destinations received
/// none.
#[tokio::test(flavor = "multi_thread")]
async fn an_unresponsive_destination_delays_neither_detection_nor_others() {
    let stage = Stage::new().await;
    // The system accepts connections for it, and no program responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, mut told) = hook().await;
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let alerts = alerts(&stage, Condition::RunFailed, &[&silent_url, &url]);
    assert_eq!(new(&stage, &alerts).await, 0);
    let stop = CancellationToken::new();
    let what_happens = async {
        for _ in 0..3 {
            let run = stage.run(1, &[]).await;
            // Its problem is waited for no longer.
            stage.pass(MINUTE_MS);
            assert_eq!(told.recv().await.unwrap()["runId"], run.to_string());
        }
        let waiting = stage.store.alerts().backlog().await.unwrap();
        assert!(waiting.iter().all(|it| it.last_error.is_none()), "the first attempt still goes on: {waiting:?}");
        stop.cancel();
    };
    tokio::join!(alerts.run(&*stage.clock, &NoWait, stop.clone()), what_happens);

    // Alerts that were being sent when it was stopped are no longer claimed.
    let waiting = stage.store.alerts().backlog().await.unwrap();
    let silent = waiting.into_iter().find(|it| it.waiting == 3).unwrap();
    assert_eq!(silent.last_error.as_deref(), Some("stopped while it was being sent"));
    for _ in 0..3 {
        assert!(stage.store.alerts().claim(&silent.destination).await.unwrap().is_some());
    }
}

/// After an outage that was over each alert waited for its own next attempt, up to an hour.
#[tokio::test(flavor = "multi_thread")]
async fn all_waiting_alerts_are_sent_once_a_destination_recovers() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = alerts(&stage, Condition::RunFailed, &[&url]);
    assert_eq!(new(&stage, &alerts).await, 0);
    for _ in 0..3 {
        stage.run(1, &[]).await;
    }
    assert_eq!(new(&stage, &alerts).await, 3);
    let destination = stage.store.alerts().backlog().await.unwrap().remove(0).destination;
    let now = stage.clock.now();
    for waits_minutes in [1, 30, 60] {
        let alert = stage.store.alerts().claim(&destination).await.unwrap().unwrap();
        let again_at = now.plus_millis(waits_minutes * MINUTE_MS);
        stage.store.alerts().record_failure(std::slice::from_ref(&alert), "it is away", again_at).await.unwrap();
    }
    stage.pass(2 * MINUTE_MS);
    assert_eq!(alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap(), 3);
    for _ in 0..3 {
        assert!(told.try_recv().is_ok());
    }
    assert!(stage.store.alerts().backlog().await.unwrap().is_empty());
}

/// A clock that advances by 25 seconds each time it is read.
struct FastClock(AtomicI64);

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.fetch_add(25_000, Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_ends_after_a_minute_and_the_next_one_sends_the_rest() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = alerts(&stage, Condition::RunFailed, &[&url]);
    assert_eq!(new(&stage, &alerts).await, 0);
    for _ in 0..3 {
        stage.run(1, &[]).await;
    }
    assert_eq!(new(&stage, &alerts).await, 3);
    let (clock, stop) = (FastClock(AtomicI64::new(0)), CancellationToken::new());
    for sent in [1, 1, 1, 0] {
        assert_eq!(alerts.send_due(&clock, &stop).await.unwrap(), sent);
    }
    let mut runs = Vec::new();
    while let Ok(body) = told.try_recv() {
        runs.push(body["runId"].to_string());
    }
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 3, "each was told: {runs:?}");
}
