//! Requests keep to the pace, whatever holds them up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use runlog_client::{Client, ClientSettings, Credentials, Pace, PaceSetting, Result, SimulatedNetwork, TokioWait};
use runlog_model::{Clock, Random, RunId, Timestamp};
use tokio::time::Instant;

/// The clock of a runtime whose time is paused.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(1_795_434_850_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX / 2))
    }
}

struct Zero;

impl Random for Zero {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A service that takes its time to give an access token. It notes when other requests arrive.
#[derive(Debug)]
struct SlowToGiveTokens(Mutex<Vec<Instant>>);

impl SimulatedNetwork for SlowToGiveTokens {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'_, Result<reqwest::Response>> {
        Box::pin(async move {
            let body = if request.url().path().ends_with("/token") {
                tokio::time::sleep(Duration::from_secs(20)).await;
                r#"{"access_token": "t", "expires_in": 1800}"#
            } else {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                r#"{"status": "execution_successful"}"#
            };
            Ok(http::Response::new(body).into())
        })
    }
}

/// Requests took their turns while the access token was on its way, and all went out once it was there. The simulation
/// found it: six requests reached an upstream in a second that allows five.
#[tokio::test(start_paused = true)]
async fn requests_keep_to_the_pace_after_an_access_token_was_slow() {
    let credentials = Credentials::ServiceAccount { client_id: "c".to_owned(), client_secret: "s".into() };
    let pace = PaceSetting::Fixed(Pace { per_second: 2, per_minute: 600 });
    let url = "https://api.cloud.example".parse().unwrap();
    let settings = ClientSettings { pace, ..ClientSettings::new(url, credentials) };
    let network = Arc::new(SlowToGiveTokens(Mutex::default()));
    let clock = Arc::new(PausedClock(Instant::now()));
    let client = Client::simulated(settings, clock, Arc::new(Zero), Arc::new(TokioWait), network.clone()).unwrap();
    let run = RunId::random(&Zero);
    for answer in join_all((0..8).map(|_| client.execution(run))).await {
        answer.unwrap();
    }
    let sent = network.0.lock().unwrap().clone();
    let second = Duration::from_secs(1);
    let since = |from: &Instant| sent.iter().filter(|at| *at >= from && **at < *from + second).count();
    let most = sent.iter().map(since).max().unwrap();
    assert_eq!(sent.len(), 8);
    assert!(most <= 2, "{most} requests in a second");
}
