//! Deliveries to each sink. Remote services are replaced by strict fake servers that follow the vendors' documentation:
//! they reject what the vendor rejects, fail on request, and store accepted records, with duplicates where the vendor
//! would have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

#[path = "sinks/azure_monitor.rs"]
mod azure_monitor;
#[path = "support/catalog.rs"]
mod catalog;
#[path = "sinks/channels.rs"]
mod channels;
#[path = "sinks/datadog.rs"]
mod datadog;
#[path = "sinks/delivered.rs"]
mod delivered;
#[path = "sinks/fake_server.rs"]
mod fake_server;
#[path = "sinks/lasting.rs"]
mod lasting;
#[path = "sinks/openlineage.rs"]
mod openlineage;
#[path = "sinks/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_monitor::AZURE_MONITOR;
use datadog::DATADOG;
use fake_server::{ELASTICSEARCH, FakeServer, Fault, LOKI, OTLP, SPLUNK, Vendor, WEBHOOK};
use runlog_collector::{
    Batch, DeliveryStats, Destination, Encoded, Item, Origin, RecordOutcome, Redaction, Redactor, Sink, SinkFilter,
    SinkFuture, SinkResponse, SinkSettings,
};
use runlog_model::Clock;
use runlog_model::record::Severity;
use runlog_model::tenant_audit_log::TenantAuditLog;
use runlog_store::ErrorKind;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stage::{Stage, sink};
use tokio_util::sync::CancellationToken;

/// Starts a fake server of this vendor, and returns it with a sink that delivers to it.
async fn destination(stage: &Stage, vendor: &Vendor) -> (FakeServer, Destination) {
    let server = FakeServer::start(vendor).await;
    let destination = destination_of(stage, vendor, (vendor.settings)(&server.url));
    (server, destination)
}

fn destination_of(stage: &Stage, vendor: &Vendor, settings: Value) -> Destination {
    sink(vendor.kind, settings, stage.clock.clone()).unwrap().destination
}

const RECORD_SINKS: [Vendor; 6] = [ELASTICSEARCH, LOKI, SPLUNK, OTLP, DATADOG, AZURE_MONITOR];

#[tokio::test(flavor = "multi_thread")]
async fn each_record_arrives_once_in_order_with_a_sink_that_is_well() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        let runs = [stage.run(25, &[]).await, stage.run(3, &[]).await];
        let (server, to) = destination(&stage, &vendor).await;
        to.check().await.unwrap();
        let deliverer = stage.deliverer(to);
        let round = stage.deliver(&deliverer).await;
        assert_eq!((round.runs, round.records, round.refused), (2, 28, 0), "{kind}");
        assert_eq!(server.took(), 28, "{kind}");
        for run in runs {
            assert_eq!(server.messages(run), stage.messages(run).await, "{kind}");
        }
        // A second round, and a second deliverer, have nothing to do.
        assert_eq!(stage.deliver(&deliverer).await.records, 0);
        assert_eq!(stage.figures().await.due, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_limits_and_connections_that_break_lose_nothing_and_double_nothing() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        let run = stage.run(45, &[]).await;
        let (server, to) = destination(&stage, &vendor).await;
        server.will([
            Fault::Status(503, None),
            Fault::BreakAfter,
            Fault::Pass,
            Fault::Status(429, Some("2")),
            Fault::Status(502, None),
            Fault::BreakAfter,
            Fault::SomeBusy,
            Fault::Status(413, None),
        ]);
        let deliverer = stage.deliverer(to);
        stage.deliver_all(&deliverer).await;
        assert_eq!(server.messages(run), stage.messages(run).await, "{kind}");
        let figures = stage.figures().await;
        assert_eq!((figures.done, figures.records, figures.refused), (1, 45, 0), "{kind}");
        // Some vendors cannot detect duplicates.
        let broken = if vendor.knows_repeats { 0 } else { 2 * 10 };
        assert_eq!(server.took(), 45 + broken, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_sink_increases_only_its_own_lag() {
    let stage = Stage::new().await;
    let run = stage.run(5, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    server.will(std::iter::repeat_n(Fault::Status(503, None), 12));
    let deliverer = stage.deliverer(to);
    let round = stage.deliver(&deliverer).await;
    assert_eq!((round.runs, round.set_back), (0, 1));
    let figures = stage.figures().await;
    assert!(figures.last_error.unwrap().contains("503"));
    assert_eq!((figures.due, figures.failing), (1, 1));
    let (other, to) = destination(&stage, &LOKI).await;
    let healthy = stage.named_deliverer("healthy", to);
    assert_eq!(stage.deliver(&healthy).await.records, 5);
    assert_eq!(other.took(), 5);
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.messages(run), stage.messages(run).await);
    assert_eq!(stage.figures().await.last_error, None);
}

/// A sink that was away and asked for no delay was sent hundreds of requests a second, and `deliver --once` did not end.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_asks_for_no_delay_is_left_alone_all_the_same() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    for after in ["0", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        server.will(std::iter::repeat_n(Fault::Status(503, Some(after)), 5));
    }
    let deliverer = stage.deliverer(to);
    for pause_ms in [5_000, 10_000] {
        let before = stage.now_ms();
        let round = stage.deliver(&deliverer).await;
        assert_eq!((round.runs, round.set_back), (0, 1));
        assert_eq!(stage.now_ms() - before, 7_500);
        let failing = stage.store.deliveries().failing("sink", 9).await.unwrap();
        assert_eq!(failing[0].due_at - stage.now_ms(), pause_ms);
        stage.pass(pause_ms);
    }
    assert_eq!(stage.deliver(&deliverer).await.records, 5);
}

/// A clock that was ahead for a moment paused a sink, and delayed its runs, by as much as it was ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_for_a_moment_delays_no_delivery() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    server.will(std::iter::repeat_n(Fault::Status(503, None), 5));
    let deliverer = stage.deliverer(to);
    stage.pass(36_000_000);
    assert_eq!(stage.deliver(&deliverer).await.set_back, 1);
    stage.pass(-36_000_000);
    assert_eq!(stage.deliver(&deliverer).await.records, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_refused_are_kept_with_the_reason_and_sent_again_when_asked() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        let run = stage.run(25, &[4, 17]).await;
        let (server, to) = destination(&stage, &vendor).await;
        let deliverer = stage.deliverer(to);
        stage.deliver_all(&deliverer).await;
        let letters = stage.store.deliveries().dead_letters("sink", 99).await.unwrap();
        let arrivals: Vec<i64> = letters.iter().map(|letter| letter.arrival).collect();
        // OTLP says how many of a batch are refused, and not which: here it refuses batches that have one.
        assert_eq!(arrivals, [4, 17], "{kind} {letters:?}");
        assert!(letters[0].reason.contains(fake_server::REASON), "{kind} {}", letters[0].reason);
        assert_eq!(stage.figures().await.records, 23, "{kind}");

        server.mend();
        assert_eq!(stage.store.deliveries().retry("sink").await.unwrap(), 1);
        stage.deliver_all(&deliverer).await;
        let figures = stage.figures().await;
        assert_eq!((figures.done, figures.records, figures.refused), (1, 25, 0), "{kind}");
        let there: BTreeSet<String> = server.messages(run).into_iter().collect();
        assert_eq!(there, stage.messages(run).await.into_iter().collect(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loki_takes_no_old_lines_and_the_others_arrive() {
    let stage = Stage::new().await;
    let run = stage.run(25, &[]).await;
    let (server, to) = destination(&stage, &LOKI).await;
    server.refuse_before(stage.time(8));
    stage.deliver_all(&stage.deliverer(to)).await;
    assert_eq!(server.messages(run), stage.messages(run).await[8..]);
    let letters = stage.store.deliveries().dead_letters("sink", 99).await.unwrap();
    assert_eq!(
        letters.iter().map(|letter| (letter.arrival, letter.last_arrival, letter.records)).collect::<Vec<_>>(),
        [(0, 7, 8)]
    );
    assert!(letters[0].reason.contains("does not accept lines from before"), "{}", letters[0].reason);
}

/// The limit of one stream was applied to all: lines that Loki had stored became dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn loki_takes_old_lines_of_one_stream_though_it_takes_none_of_another() {
    let stage = Stage::new().await;
    let run = stage.run(25, &[]).await;
    let (server, to) = destination(&stage, &LOKI).await;
    server.refuse_before_at("INFO", stage.time(8));
    stage.deliver_all(&stage.deliverer(to)).await;
    // Records 3 and 7 are errors.
    let all = stage.messages(run).await;
    let taken: Vec<String> = [all[3].clone(), all[7].clone()].into_iter().chain(all[8..].iter().cloned()).collect();
    assert_eq!(server.messages(run), taken);
    let letters = stage.store.deliveries().dead_letters("sink", 99).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.records).sum::<i64>(), 6, "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_reported_and_nothing_is_lost() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        stage.run(5, &[]).await;
        let (server, to) = destination(&stage, &vendor).await;
        let refusals = if vendor.has_access_tokens { 2 } else { 1 };
        server.will(std::iter::repeat_n(Fault::Status(401, None), refusals));
        assert!(to.check().await.unwrap_err().to_string().contains("401"), "{kind}");
        server.will([Fault::Status(403, None)]);
        let deliverer = stage.deliverer(to);
        assert_eq!(stage.deliver(&deliverer).await.set_back, 1, "{kind}");
        stage.deliver_all(&deliverer).await;
        assert_eq!(stage.figures().await.records, 5, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_everything_keeps_its_runs_due() {
    let stage = Stage::new().await;
    stage.run(30, &[]).await;
    let (server, to) = destination(&stage, &OTLP).await;
    server.will(std::iter::repeat_n(Fault::Status(400, None), 200));
    let mut setup = stage.setup("sink", to);
    setup.bounds.records = 30;
    let round = stage.deliver(&stage.deliverer_of(setup)).await;
    assert_eq!((round.set_back, round.refused), (1, 0));
    assert!(round.problem.unwrap().contains("rejects everything it receives"));
    assert_eq!(stage.figures().await.refused, 0);
}

/// 100,000 records that were refused one by one, within answers, became as many dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_everything_within_its_answers_keeps_its_runs_due() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        let all: Vec<usize> = (0..40).collect();
        let run = stage.run(40, &all).await;
        let (server, to) = destination(&stage, &vendor).await;
        let mut setup = stage.setup("sink", to);
        setup.bounds.records = 40;
        let deliverer = stage.deliverer_of(setup);
        let round = stage.deliver(&deliverer).await;
        assert_eq!((round.set_back, round.refused), (1, 0), "{kind}");
        let problem = round.problem.unwrap();
        assert!(
            problem.contains("rejects everything it receives") && problem.contains(fake_server::REASON),
            "{problem}"
        );
        assert!(stage.store.deliveries().dead_letters("sink", 9).await.unwrap().is_empty(), "{kind}");
        assert_eq!(stage.figures().await.due, 1);

        server.mend();
        stage.deliver_all(&deliverer).await;
        assert_eq!(server.messages(run), stage.messages(run).await, "{kind}");
    }
}

/// The same in runs that are individually too small to show it: after the first records, no more dead letters are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_every_small_run_keeps_most_of_them_due_and_gets_them_when_it_is_mended() {
    let stage = Stage::new().await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(stage.run(5, &[0, 1, 2, 3, 4]).await);
    }
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    let deliverer = stage.deliverer(to);
    stage.deliver(&deliverer).await;
    let figures = stage.figures().await;
    assert_eq!((figures.done, figures.due, figures.refused), (3, 5, 15));
    assert_eq!(stage.store.deliveries().dead_letters("sink", 99).await.unwrap().len(), 3, "neighbours stand together");
    assert!(figures.last_error.unwrap().contains("rejects everything it receives"), "it is the sink, and not the runs");

    server.mend();
    stage.deliver_all(&deliverer).await;
    assert_eq!(stage.store.deliveries().retry("sink").await.unwrap(), 3);
    stage.deliver_all(&deliverer).await;
    for run in runs {
        assert_eq!(server.messages(run).len(), 5);
    }
    let figures = stage.figures().await;
    assert_eq!((figures.refused, figures.last_error), (0, None));
}

/// Every record of a batch of 2,000 became a dead letter when one was rejected, and the replay sent 1,999 twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_success_keeps_what_was_refused_and_a_replay_sends_nothing_that_was_taken() {
    let stage = Stage::new().await;
    let run = stage.run(40, &[5]).await;
    let (server, to) = destination(&stage, &OTLP).await;
    server.reject_in_part();
    let mut setup = stage.setup("sink", to);
    setup.bounds.records = 20;
    let deliverer = stage.deliverer_of(setup);
    stage.deliver_all(&deliverer).await;
    let figures = stage.figures().await;
    assert_eq!((figures.done, figures.records, figures.refused), (1, 39, 1));
    let letters = stage.store.deliveries().dead_letters("sink", 9).await.unwrap();
    assert_eq!((letters.len(), letters[0].records, letters[0].of_records), (1, 1, 20));
    assert_eq!((letters[0].arrival, letters[0].last_arrival), (0, 19));

    server.mend();
    let before = server.requests();
    assert_eq!(stage.store.deliveries().retry("sink").await.unwrap(), 0);
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.requests(), before, "nobody knows which one it is");
    assert_eq!(stage.store.deliveries().retry_uncertain("sink").await.unwrap(), 1);
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.messages(run), stage.messages(run).await);
    assert_eq!(stage.figures().await.refused, 0);
}

/// The events before an invalid event were sent again, and indexed two or three times.
#[tokio::test(flavor = "multi_thread")]
async fn splunk_has_taken_what_stands_before_an_invalid_event() {
    for status in [400, 503] {
        let stage = Stage::new().await;
        let run = stage.run(25, &[3, 7, 16]).await;
        let (server, to) = destination(&stage, &SPLUNK).await;
        server.answer_invalid_with(status);
        stage.deliver_all(&stage.deliverer(to)).await;
        assert_eq!(server.took(), 22, "each once, with {status}");
        assert_eq!(stage.figures().await.refused, 3);
        assert_eq!(server.messages(run).len(), 22);
    }
}

/// Bodies of 7.5 MB where 800 KiB were allowed: further fields were not counted.
#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_larger_than_a_batch_may_be_and_what_is_too_large_is_split_in_whatever_words() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        for (status, words) in [
            (413, ""),
            (400, "http: request body too large"),
            (500, "rpc error: code = ResourceExhausted desc = received message larger than max (9 vs. 4)"),
            (429, "grpc: received message after decompression larger than max (9 vs. 4)"),
        ] {
            let stage = Stage::new().await;
            let run = stage.run_with_extra(30, 2_000).await;
            let (server, to) = destination(&stage, &vendor).await;
            let mut setup = stage.setup("sink", to);
            (setup.bounds.records, setup.bounds.bytes) = (1_000, 20_000);
            let deliverer = stage.deliverer_of(setup);
            server.too_large(12_000, status, words);
            stage.deliver_all(&deliverer).await;
            assert_eq!(server.messages(run), stage.messages(run).await, "{kind} {status}");
            let figures = stage.figures().await;
            assert_eq!((figures.records, figures.refused), (30, 0), "{kind} {status}");
            let largest = server.largest_body();
            assert!((12_000..=20_000).contains(&largest), "{kind} {status}: {largest}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_is_too_large_is_refused_with_the_reason_and_the_others_arrive() {
    let stage = Stage::new().await;
    let run = stage.run_with_extra(3, 30_000).await;
    stage.push(run, 3..12, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    server.too_large(20_000, 500, "larger than max");
    stage.deliver_all(&stage.deliverer(to)).await;
    assert_eq!(server.messages(run).len(), 9);
    let letters = stage.store.deliveries().dead_letters("sink", 9).await.unwrap();
    assert_eq!(letters[0].records, 3);
    assert!(letters[0].reason.contains("too large") && letters[0].reason.contains("500"), "{}", letters[0].reason);
}

/// A record of half a year ago became a dead letter, and so did each of a hundred million.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_older_than_loki_takes_them_are_left_out_and_counted() {
    let stage = Stage::new().await;
    let run = stage.run(25, &[]).await;
    let server = FakeServer::start(&LOKI).await;
    let age_ms = stage.clock.now().millis_since(stage.time(8));
    let settings = json!({ "url": server.url, "token": { "env": "SECRET" }, "max_age": format!("{age_ms}ms") });
    stage.deliver_all(&stage.deliverer(destination_of(&stage, &LOKI, settings))).await;
    assert_eq!(server.messages(run), stage.messages(run).await[8..]);
    let figures = stage.figures().await;
    assert_eq!((figures.records, figures.refused, figures.too_old), (17, 0, 8));
}

/// A sink that reports outcomes of fewer records than it was sent.
struct Forgetful;

impl Sink for Forgetful {
    fn kind(&self) -> &'static str {
        "forgetful"
    }

    fn location(&self) -> String {
        "here".to_owned()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn encode(&self, _origin: &Origin, item: &Item) -> Encoded {
        Encoded { position: item.position, head: Vec::new(), body: item.id.clone().into_bytes() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move { Ok(SinkResponse::all_accepted(batch.records.len() - 1)) })
    }
}

/// Records that a response did not mention counted as delivered.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_fewer_records_than_were_sent_counts_for_none() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    let round = stage.deliver(&stage.deliverer(Forgetful.into())).await;
    assert_eq!((round.set_back, round.records), (1, 0));
    assert!(round.problem.unwrap().contains("it answered for 4 of 5 records"));
}

/// Refuses the first records of a run for one reason, then all for two reasons in turn, then none.
#[derive(Clone, Default)]
struct Moody {
    mood: Arc<AtomicU8>,
    took: Arc<Mutex<Vec<u64>>>,
}

impl Sink for Moody {
    fn kind(&self) -> &'static str {
        "moody"
    }

    fn location(&self) -> String {
        "here".to_owned()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn encode(&self, _origin: &Origin, item: &Item) -> Encoded {
        Encoded { position: item.position, head: Vec::new(), body: item.id.clone().into_bytes() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        let outcome = |(index, record): (usize, &Encoded)| match (self.mood.load(Ordering::SeqCst), index % 2) {
            (0, _) if record.position.arrival < 2_000 => RecordOutcome::Refused("a field is unknown".to_owned()),
            (1, 0) => RecordOutcome::Refused("the message is too long".to_owned()),
            (1, _) => RecordOutcome::Refused("the time is too early".to_owned()),
            _ => {
                self.took.lock().unwrap().push(record.position.arrival);
                RecordOutcome::Taken
            }
        };
        let outcomes = batch.records.iter().enumerate().map(outcome).collect();
        Box::pin(async move { Ok(SinkResponse::Each(outcomes)) })
    }
}

/// One dead letter of 2,000 records became 2,000 dead letters when they were sent again and refused for other reasons.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_no_more_dead_letters_than_are_kept_of_a_run_and_loses_no_record() {
    let stage = Stage::new().await;
    stage.run(2_400, &[]).await;
    let sink = Moody::default();
    let mut setup = stage.setup("sink", sink.clone().into());
    setup.bounds.records = 2_400;
    let deliverer = stage.deliverer_of(setup);
    stage.deliver_all(&deliverer).await;
    let letters = async || stage.store.deliveries().dead_letters("sink", 9_999).await.unwrap();
    let refused = async || letters().await.iter().map(|letter| letter.records).sum::<i64>();
    assert!(letters().await.len() < 10 && refused().await == 2_000, "{:?}", letters().await.len());

    sink.mood.store(1, Ordering::SeqCst);
    stage.store.deliveries().retry("sink").await.unwrap();
    let round = stage.deliver(&deliverer).await;
    assert!(round.problem.unwrap().contains("it has refused more than is kept of that"));
    assert_eq!((letters().await.len(), refused().await), (1_000, 2_000));
    // The same again, as long as the cause remains.
    stage.pass(600_000);
    stage.deliver(&deliverer).await;
    assert_eq!((letters().await.len(), refused().await), (1_000, 2_000));

    sink.mood.store(2, Ordering::SeqCst);
    stage.pass(600_000);
    stage.deliver_all(&deliverer).await;
    assert_eq!(refused().await, 999, "what was refused as often as is kept is not sent again by itself");
    stage.store.deliveries().retry("sink").await.unwrap();
    stage.deliver_all(&deliverer).await;
    assert!(letters().await.is_empty());
    let mut took = sink.took.lock().unwrap().clone();
    took.sort_unstable();
    assert_eq!(took, (0..2_400).collect::<Vec<_>>(), "each record once");
}

/// While one delivery took long, no other run became due, and the sink appeared idle.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_delivery_delays_neither_others_nor_heartbeats() {
    let stage = Stage::new().await;
    let slow = stage.run(3, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    server.hang_for(slow);
    let mut setup = stage.setup("sink", to);
    setup.parallel = 2;
    let deliverer = stage.deliverer_in_real_time(setup);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (deliverer, stop) = (deliverer.clone(), stop.clone());
        async move { deliverer.run(stop).await }
    });
    let until = async |what: &dyn Fn() -> bool| {
        while !what() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all = async {
        until(&|| server.hangs()).await;
        let next = stage.run(2, &[]).await;
        until(&|| server.messages(next).len() == 2).await;
        let seen = stage.figures().await.seen_at;
        while stage.figures().await.seen_at == seen {
            stage.pass(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(server.hangs());
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_wanted_leaves_and_nothing_secret_with_it() {
    let stage = Stage::new().await;
    let run = stage.run(12, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    let mut setup = stage.setup("sink", to);
    setup.filter = SinkFilter { severity: Some(Severity::Warn), ..SinkFilter::default() };
    setup.redactor = Redactor::new(vec![Redaction::named("secret").unwrap()]);
    stage.deliver_all(&stage.deliverer_of(setup)).await;
    let messages = server.messages(run);
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages.iter().all(|message| message.contains("password=<secret>")), "{messages:?}");

    let mut setup = stage.setup("other", destination(&stage, &ELASTICSEARCH).await.1);
    setup.filter = SinkFilter { task_names: vec!["hourly-*".to_owned()], ..SinkFilter::default() };
    assert_eq!(stage.deliver(&stage.deliverer_of(setup)).await.runs, 0);
}

/// A run without wanted records marked its sink as healthy, and an unavailable sink was retried immediately.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_which_nothing_is_wanted_says_nothing_of_its_sink() {
    let stage = Stage::new().await;
    stage.run(12, &[]).await;
    // None of its records is a warning.
    stage.run(3, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    server.will(std::iter::repeat_n(Fault::Status(503, None), 100));
    let mut setup = stage.setup("sink", to);
    setup.filter = SinkFilter { severity: Some(Severity::Warn), ..SinkFilter::default() };
    let deliverer = stage.deliverer_of(setup);
    let mut paused_for_ms = Vec::new();
    for runs in [0, 1] {
        let round = stage.deliver(&deliverer).await;
        assert_eq!((round.runs, round.set_back), (runs, 1));
        let failing = stage.store.deliveries().failing("sink", 9).await.unwrap();
        paused_for_ms.push(failing[0].due_at - stage.clock.now().as_millis());
        stage.pass(600_000);
    }
    assert_eq!(paused_for_ms, [5_000, 10_000], "longer each time");
}

/// An object that could not be read ended the round, and a second later the next one, without an error message.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_archive_cannot_give_says_why_and_is_delivered_later() {
    let stage = Stage::new().await;
    let run = stage.run(5, &[]).await;
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    let deliverer = stage.deliverer(to);
    let (objects, aside) = (stage.folder().join("objects"), stage.folder().join("aside"));
    std::fs::rename(&objects, &aside).unwrap();
    std::fs::write(&objects, "").unwrap();
    let round = stage.deliver(&deliverer).await;
    assert_eq!((round.runs, round.set_back), (0, 1));
    let failing = stage.store.deliveries().failing("sink", 9).await.unwrap();
    assert!(failing[0].last_error.contains("object store"), "{failing:?}");
    assert_eq!(stage.figures().await.last_error, None, "nothing is wrong with the sink");

    std::fs::remove_file(&objects).unwrap();
    std::fs::rename(&aside, &objects).unwrap();
    stage.pass(600_000);
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.messages(run), stage.messages(run).await);
}

/// An error of one of several concurrent deliveries cancelled the others, and their runs stayed claimed.
#[tokio::test]
async fn claimed_runs_are_delivered_though_the_next_claim_fails() {
    let stage = Stage::new().await;
    let (run, next) = (stage.run(3, &[]).await, stage.run(3, &[]).await);
    let (server, to) = destination(&stage, &ELASTICSEARCH).await;
    let mut setup = stage.setup("sink", to);
    setup.parallel = 2;
    let deliverer = stage.deliverer_of(setup);
    deliverer.register().await.unwrap();
    assert_eq!(deliverer.offer().await.unwrap(), 2);
    let unknown = "UPDATE deliveries SET run_id = '00000000-0000-4000-8000-00000000dead'";
    catalog::change(&stage.folder().join("catalog.sqlite"), &format!("{unknown} WHERE run_id = '{next}'"));

    let error = deliverer.deliver_due(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(server.messages(run), stage.messages(run).await);
    assert_eq!(stage.figures().await.done, 1);
}

/// A blocked catalog prevented a deliverer from stopping.
#[tokio::test]
async fn a_deliverer_stops_on_request_while_its_catalog_is_unresponsive() {
    let stage = Stage::new().await;
    stage.run(3, &[]).await;
    let (_stand_in, to) = destination(&stage, &ELASTICSEARCH).await;
    let deliverer = stage.deliverer(to);
    deliverer.register().await.unwrap();
    assert_eq!(deliverer.offer().await.unwrap(), 1);
    let _held = catalog::Held::of(&stage.folder().join("catalog.sqlite"));
    let (stop, before) = (CancellationToken::new(), stage.random_used());
    let stopping = async {
        // Each claim has a name of its own.
        while stage.random_used() == before {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(deliverer.deliver_due(&stop), stopping) };
    let (round, ()) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert_eq!(round.unwrap(), DeliveryStats::default());
}

/// The sign-in page of a proxy counted as a successful delivery.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_is_no_receiver_of_summaries() {
    let stage = Stage::new().await;
    stage.run(3, &[]).await;
    let settings = json!({ "url": channels::proxy().await, "signing_secret": { "env": "SECRET" } });
    let to = sink("webhook", settings, stage.clock.clone()).unwrap().destination;
    assert!(to.check().await.unwrap_err().to_string().contains("a web page"));
    let round = stage.deliver(&stage.deliverer(to)).await;
    assert_eq!((round.runs, round.set_back), (0, 1));
    assert!(round.problem.unwrap().contains("a web page"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_a_signed_summary_of_each_run_and_again_when_records_come_late() {
    let stage = Stage::new().await;
    let run = stage.run(12, &[]).await;
    let (server, to) = destination(&stage, &WEBHOOK).await;
    to.check().await.unwrap();
    let deliverer = stage.deliverer(to);
    server.will([Fault::Status(500, None), Fault::BreakAfter]);
    stage.deliver_all(&deliverer).await;
    let summaries = server.summaries();
    assert_eq!(summaries.len(), 1, "{summaries:?}");
    let summary = &summaries[0];
    assert_eq!(summary["run"]["id"], Value::from(run.to_string()));
    assert_eq!((&summary["run"]["status"], &summary["log"]["records"]), (&"execution_failed".into(), &12.into()));
    assert_eq!((&summary["task"]["name"], &summary["log"]["severities"]["error"]), (&"nightly".into(), &3.into()));

    stage.push(run, 12..14, &[]).await;
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.summaries()[1]["log"]["records"], 14);

    stage.run(1, &[]).await;
    server.will([Fault::Status(410, None)]);
    assert_eq!(stage.deliver(&deliverer).await.dead, 1);
    stage.store.deliveries().retry("sink").await.unwrap();
    stage.deliver_all(&deliverer).await;
    assert_eq!(server.summaries().len(), 3);
}

/// The number of records of the first attempt was recorded as delivered, and the summary of all records was sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_between_two_attempts_are_in_the_summary_that_arrives_and_cause_no_other() {
    let stage = Stage::new().await;
    let run = stage.run(12, &[]).await;
    let (server, to) = destination(&stage, &WEBHOOK).await;
    let deliverer = stage.deliverer(to);
    server.will([Fault::Status(401, None)]);
    assert_eq!(stage.deliver(&deliverer).await.set_back, 1);
    stage.push(run, 12..14, &[]).await;
    stage.pass(600_000);
    assert_eq!(stage.deliver(&deliverer).await.runs, 1);
    assert_eq!(server.summaries()[0]["log"]["records"], 14);
    stage.pass(600_000);
    assert_eq!(stage.deliver(&deliverer).await, DeliveryStats::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_whole_named_by_the_template_and_the_same_when_written_again() {
    for (format, compression) in
        [("ndjson", "none"), ("ndjson", "gzip"), ("ndjson", "zstd"), ("text", "none"), ("parquet", "")]
    {
        let stage = Stage::new().await;
        let run = stage.run(25, &[]).await;
        let folder = tempfile::tempdir().unwrap();
        let files = |to: &std::path::Path| {
            let name = "{workspace}/{task}/{status}/{run_id}-{part}";
            let mut settings = json!({ "folder": to, "file_name": name, "format": format });
            if !compression.is_empty() {
                settings["compression"] = compression.into();
            }
            sink("files", settings, stage.clock.clone()).unwrap().destination
        };
        let deliverer = stage.deliverer(files(folder.path()));
        deliverer.check().await.unwrap();
        stage.deliver_all(&deliverer).await;
        let found = stage::files_below(folder.path());
        assert_eq!(found.len(), 3, "{found:?}");
        let first = found[0].strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
        assert!(first.starts_with(&format!("team/nightly/execution_failed/{run}-0001.")), "{first}");
        if format == "ndjson" {
            let text: String = found.iter().map(|file| stage::unpacked(file)).collect();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let messages: Vec<String> =
                lines.iter().map(|line| line["logMessage"].as_str().unwrap().to_owned()).collect();
            assert_eq!(messages, stage.messages(run).await);
            assert_eq!(lines[3]["id"], Value::from(format!("{run}-3")));
        }
        stage.push(run, 25..27, &[]).await;
        stage.deliver_all(&deliverer).await;
        assert_eq!(stage::files_below(folder.path()).len(), 4);

        let again = tempfile::tempdir().unwrap();
        stage.deliver_all(&stage.named_deliverer("again", files(again.path()))).await;
        let other = stage::files_below(again.path());
        assert_eq!(std::fs::read(&found[0]).unwrap(), std::fs::read(&other[0]).unwrap());
    }
}

/// A file ended at the next error after 100,000 records that were not wanted, however few it had.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_left_out_do_not_end_a_file() {
    let stage = Stage::new().await;
    stage.run_with_errors_at(100_010, &[0, 100_005, 100_007]).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({ "folder": folder.path(), "severity": "ERROR" });
    let deliverer = stage.deliverer_of(sink("files", settings, stage.clock.clone()).unwrap());
    stage.deliver_all(&deliverer).await;
    let found = stage::files_below(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(stage::unpacked(&found[0]).lines().count(), 3);
    assert_eq!(stage.figures().await.records, 3);
}

/// An entry of the audit logs of a tenant; one in ten cannot be taken.
fn audit_log(number: usize, is_bad: bool) -> TenantAuditLog {
    let user = if is_bad { "unmappable" } else { "kim" };
    let text = format!(
        r#"{{"logId":"00000000-0000-4000-8000-{number:012}","timestamp":"2026-11-23T11:{:02}:00.000Z","username":"{user}",
            "eventType":"security","eventOperation":"create","response":{{"code":"201"}},"password":"hunter2"}}"#,
        59 - number
    );
    TenantAuditLog::read(RawValue::from_string(text).unwrap()).unwrap()
}

async fn keep_audit_logs(stage: &Stage, numbers: std::ops::Range<usize>) {
    let entries: Vec<_> = numbers.map(|number| audit_log(number, false)).collect();
    stage.store.tenant_audit_logs().store("cloud", &entries).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_of_tenants_arrive_at_sinks_that_ask_for_them_whatever_breaks() {
    for vendor in RECORD_SINKS {
        let kind = vendor.kind;
        let stage = Stage::new().await;
        keep_audit_logs(&stage, 0..25).await;
        let (server, to) = destination(&stage, &vendor).await;
        let stop = CancellationToken::new();
        let without = stage.named_deliverer("without", to.clone());
        assert_eq!(without.deliver_audit_logs(true, &stop).await.unwrap(), DeliveryStats::default(), "{kind}");
        let mut setup = stage.setup("sink", to);
        setup.audit_logs = true;
        let deliverer = stage.deliverer_of(setup);
        server.will([Fault::Status(503, None), Fault::Pass, Fault::BreakAfter, Fault::Status(429, Some("2"))]);
        let round = deliverer.deliver_audit_logs(true, &stop).await.unwrap();
        assert_eq!((round.audit_logs, round.refused, round.set_back), (25, 0, 0), "{kind} {round:?}");
        let broken = if vendor.knows_repeats { 0 } else { 10 };
        assert_eq!(server.took(), 25 + broken, "{kind}");
        assert_eq!(deliverer.deliver_audit_logs(true, &stop).await.unwrap().audit_logs, 0, "{kind}");
        keep_audit_logs(&stage, 20..28).await;
        assert_eq!(deliverer.deliver_audit_logs(true, &stop).await.unwrap().audit_logs, 3, "{kind}");
        let state = stage.store.tenant_audit_logs().delivery_state("sink").await.unwrap().unwrap();
        assert_eq!((state.delivered, state.due, state.refused, state.problem), (28, 0, 0, None), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_wait_for_a_sink_that_is_away() {
    let stage = Stage::new().await;
    keep_audit_logs(&stage, 0..5).await;
    let (server, to) = destination(&stage, &SPLUNK).await;
    let mut setup = stage.setup("sink", to);
    setup.audit_logs = true;
    let deliverer = stage.deliverer_of(setup);
    server.will(std::iter::repeat_n(Fault::Status(503, None), 5));
    let stop = CancellationToken::new();
    let round = deliverer.deliver_audit_logs(true, &stop).await.unwrap();
    assert_eq!((round.audit_logs, round.set_back), (0, 1));
    let state = stage.store.tenant_audit_logs().delivery_state("sink").await.unwrap().unwrap();
    assert!(state.problem.unwrap().contains("503"));
    stage.pass(600_000);
    assert_eq!(deliverer.deliver_audit_logs(true, &stop).await.unwrap().audit_logs, 5);
    assert_eq!(server.took(), 5);
}

/// Entries that were too old for a sink that had been away were dropped, and nothing said so.
#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_that_are_too_old_for_a_sink_are_counted_and_can_be_sent_again() {
    let stage = Stage::new().await;
    keep_audit_logs(&stage, 0..5).await;
    stage.pass(19 * 3_600_000);
    let server = FakeServer::start(&DATADOG).await;
    let stop = CancellationToken::new();
    let deliverer = |max_age: &str| {
        let settings = json!({ "url": server.url, "token": { "env": "SECRET" }, "max_age": max_age });
        let mut setup = stage.setup("sink", sink("datadog", settings, stage.clock.clone()).unwrap().destination);
        setup.audit_logs = true;
        stage.deliverer_of(setup)
    };
    let state = async || stage.store.tenant_audit_logs().delivery_state("sink").await.unwrap().unwrap();
    let round = deliverer("18h").deliver_audit_logs(true, &stop).await.unwrap();
    assert_eq!((round.audit_logs, round.refused, round.set_back), (0, 5, 0));
    assert_eq!((state().await.delivered, state().await.due, state().await.refused), (0, 0, 5));
    stage.store.tenant_audit_logs().retry_delivery("sink").await.unwrap();
    let round = deliverer("0s").deliver_audit_logs(true, &stop).await.unwrap();
    assert_eq!((round.audit_logs, round.refused), (5, 0));
    assert_eq!((state().await.delivered, state().await.due, state().await.refused), (5, 0, 0));
    assert_eq!(server.took(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_does_not_decode_is_refused_and_holds_up_nothing() {
    let stage = Stage::new().await;
    let mut entries: Vec<_> = (0..5).map(|number| audit_log(number, false)).collect();
    let odd = entries[2].body.get().replace("\"hunter2\"", "1e999");
    entries[2] = TenantAuditLog::read(RawValue::from_string(odd).unwrap()).unwrap();
    stage.store.tenant_audit_logs().store("cloud", &entries).await.unwrap();
    let (server, to) = destination(&stage, &SPLUNK).await;
    let mut setup = stage.setup("sink", to);
    setup.audit_logs = true;
    let deliverer = stage.deliverer_of(setup);
    let stop = CancellationToken::new();
    let round = deliverer.deliver_audit_logs(true, &stop).await.unwrap();
    assert_eq!((round.audit_logs, round.refused, round.set_back), (4, 1, 0));
    assert_eq!(server.took(), 4);
    let state = stage.store.tenant_audit_logs().delivery_state("sink").await.unwrap().unwrap();
    assert_eq!((state.delivered, state.due, state.refused, state.problem), (4, 0, 1, None));
    // Sent again, it is refused again.
    stage.store.tenant_audit_logs().retry_delivery("sink").await.unwrap();
    let round = deliverer.deliver_audit_logs(true, &stop).await.unwrap();
    assert_eq!((round.audit_logs, round.refused), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_become_redacted_files_once_they_fill_one_or_have_waited_for_an_hour() {
    let stage = Stage::new().await;
    keep_audit_logs(&stage, 0..12).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({ "folder": folder.path(), "audit_logs": true, "batch_records": 10, "redact": ["secret"] });
    let deliverer = stage.deliverer_of(sink("files", settings, stage.clock.clone()).unwrap());
    let stop = CancellationToken::new();
    assert_eq!(deliverer.deliver_audit_logs(false, &stop).await.unwrap().audit_logs, 10);
    assert_eq!(deliverer.deliver_audit_logs(false, &stop).await.unwrap().audit_logs, 0);
    stage.pass(3_600_001);
    assert_eq!(deliverer.deliver_audit_logs(false, &stop).await.unwrap().audit_logs, 2);
    let read = |name: &str| std::fs::read_to_string(folder.path().join("tenant-audit-logs/cloud").join(name)).unwrap();
    let lines = read("000000000000.ndjson") + &read("000000000010.ndjson");
    assert_eq!(lines.lines().count(), 12);
    assert!(!lines.contains("hunter2"), "{lines}");
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["extra"]["eventOperation"], "create");
    assert_eq!((&first["upstream"], &first["logMessage"]), (&json!("cloud"), &json!("kim, security / create, 201")));
    assert_eq!(first.get("executionId"), None);
}

#[test]
fn only_sinks_that_take_records_take_audit_logs() {
    let given = json!({ "name": "sink", "kind": "webhook", "url": "http://127.0.0.1:9", "audit_logs": true });
    let error = SinkSettings::read(given.as_object().unwrap().clone()).map(drop).unwrap_err();
    assert!(error.message.contains("audit_logs is not a setting of webhook"), "{}", error.message);
}
