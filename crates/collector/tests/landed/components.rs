//! Component metrics land with the log, once and completely, and never hold it up.

use serde_json::{Value, json};

use super::*;
use crate::support::Metrics;

/// This many metrics of a run.
fn measured(metrics: usize) -> Vec<Value> {
    let metric = |number: usize| {
        json!({"pid": "p", "connector_type": "tDBOutput", "connector_label": "write", "connector_id": format!("tDBOutput_{number}"),
            "component_start_time_seconds": 1_700_000_000, "component_connection_rows_total": number, "target_id": "tLogRow_1"})
    };
    (0..metrics).map(metric).collect()
}

fn script(metrics: usize) -> Script {
    let mut script = Script::of(plain_log(25));
    script.metrics = Some(Metrics { items: measured(metrics), page_items_max: 200, overlap: 0 });
    script
}

impl Landing {
    async fn components(&self) -> Option<Vec<Value>> {
        let components = self.store.components().all(RUN.parse().unwrap()).await.unwrap()?;
        Some(components.items.iter().map(|item| serde_json::to_value(item).unwrap()).collect())
    }

    /// The problem that keeps metrics from landing.
    async fn problem(&self) -> Option<String> {
        self.store.collection().metrics("service").await.unwrap().components_problem
    }

    async fn waiting(&self) -> u64 {
        self.store.collection().metrics("service").await.unwrap().components_waiting
    }

    fn later(&self, minutes: i64) {
        self.stage.time.pass(minutes * 60_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_land_with_the_log_to_the_letter_and_in_the_order_of_the_service() {
    let landing = Landing::of(script(450), |_| ()).await;
    let landed = landing.round().await;
    assert_eq!((landed.landed, landed.records, landed.components), (1, 25, 1));
    assert_eq!(landing.components().await, Some(measured(450)));
    assert_eq!(landing.stage.seen(At::Components), ["0 200", "200 200", "400 200"]);
    let read = landing.store.components().all(RUN.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(
        (read.total, read.run.engine_id.as_deref(), read.processes[0].job_name.as_str()),
        (450, Some("engine-of-metrics"), "Main")
    );
    // They are not requested again.
    landing.later(600);
    landing.round().await;
    assert_eq!(landing.stage.count(At::Components), 3);
    assert_eq!(landing.waiting().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_gives_few_metrics_a_page_is_read_to_the_end() {
    let mut script = script(7);
    script.metrics = Some(Metrics { items: measured(7), page_items_max: 3, overlap: 0 });
    let landing = Landing::of(script, |_| ()).await;
    landing.round().await;
    assert_eq!(landing.components().await, Some(measured(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_requested_when_metrics_are_not_wanted_and_all_when_they_are_again() {
    let mut landing = Landing::of(script(3), |settings| settings.component_metrics = false).await;
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!((landing.stage.count(At::Components), landing.components().await), (0, None));
    landing.upstream.settings.component_metrics = true;
    // The run of these tests ended years ago by the clock, so its metrics have been deleted.
    landing.restart();
    assert_eq!(landing.land().await.components, 0);
    let long_ago = Timestamp::clamped(0);
    landing.store.collection().schedule_missing_components("service", long_ago).await.unwrap();
    assert_eq!(landing.land().await.components, 1);
    assert_eq!(landing.components().await, Some(measured(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_do_not_fit_together_are_read_again_and_nothing_of_them_lands() {
    let page = |items: &[Value], total: usize| {
        let body = json!({"processes": [], "metrics": {"items": items, "limit": 200, "offset": 0, "total": total}});
        Fault::Answer(200, vec![], body.to_string())
    };
    let all = measured(450);
    let twice: Vec<Value> = [&all[199..200], &all[201..400]].concat();
    for (fault, what) in [
        (page(&[], 450), "an empty page"),
        (page(&all[200..400], 449), "another total"),
        (page(&[&all[200..400], &all[..100]].concat(), 450), "too many"),
        // One moved to the next page while the pages were read, and another was overlooked.
        (page(&twice, 450), "one on two pages"),
    ] {
        let landing = Landing::of(script(450).with(At::Components, 2, fault), |_| ()).await;
        let landed = landing.round().await;
        assert_eq!((landed.landed, landed.components), (1, 1), "{what}");
        assert_eq!(landing.components().await, Some(measured(450)), "{what}");
    }
}

/// Metrics whose total did not fit them were given up after a day of attempts, although each attempt received the same.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_land_whatever_the_service_says_is_their_total() {
    for (items, total) in [(60, 1_000), (60, 0), (60, 59), (450, 449), (450, 200), (200, 0), (400, 400)] {
        let mut script = script(items);
        script.total = Some(total);
        let landing = Landing::of(script, |_| ()).await;
        assert_eq!(landing.round().await.components, 1, "{items} of {total}");
        assert_eq!(landing.components().await, Some(measured(items)), "{items} of {total}");
        let read = landing.store.components().all(RUN.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(read.total, items as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_begin_with_the_end_of_the_one_before_are_joined() {
    for items in [399, 400, 403, 450, 600] {
        let mut script = script(0);
        script.metrics = Some(Metrics { items: measured(items), page_items_max: 200, overlap: 3 });
        let landing = Landing::of(script, |_| ()).await;
        assert_eq!(landing.round().await.components, 1, "{items}");
        assert_eq!(landing.components().await, Some(measured(items)), "{items}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_others_each_time_do_not_land() {
    let page = |number: usize| {
        let body = json!({"metrics": {"items": measured(number), "limit": 200, "offset": 0, "total": 9}});
        Fault::Answer(200, vec![], body.to_string())
    };
    let mut script = script(9);
    // Each reading has another page, and an empty one behind it.
    for reading in 0..3 {
        script = script.with(At::Components, 2 * reading + 1, page(reading + 1)).with(
            At::Components,
            2 * reading + 2,
            page(0),
        );
    }
    let landing = Landing::of(script, |_| ()).await;
    let landed = landing.round().await;
    assert_eq!((landed.landed, landed.components), (1, 0), "the log does not wait");
    assert_eq!(landing.components().await, None);
    // The run ended long ago, so the attempt was the last one; asked for again, they land.
    landing.store.collection().retry("service").await.unwrap();
    assert_eq!(landing.land().await.components, 1);
    assert_eq!(landing.components().await, Some(measured(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_metric_twice_on_two_pages_is_kept_twice() {
    let mut items = measured(300);
    items[250] = items[3].clone();
    let mut script = script(0);
    script.metrics = Some(Metrics { items: items.clone(), page_items_max: 200, overlap: 0 });
    let landing = Landing::of(script, |_| ()).await;
    landing.round().await;
    assert_eq!(landing.components().await, Some(items));
    assert_eq!(landing.stage.count(At::Components), 4, "a second reading tells a repetition from a shift");
}

/// A run that has just ended, with these faults of its metrics.
async fn fresh(faults: Vec<Fault>) -> Landing {
    fresh_by_clock(0, faults).await
}

/// The same, at a service whose clock is behind by this much.
async fn fresh_by_clock(clock_behind_ms: i64, faults: Vec<Fault>) -> Landing {
    let now = 1_800_000_000_000 - clock_behind_ms;
    let records = vec![(now - 300_000, "one".to_owned()), (now - 120_000, "two".to_owned())];
    let mut script = Script { clock_behind_ms, ..Script::of(records) };
    script.metrics = Some(Metrics { items: measured(3), page_items_max: 200, overlap: 0 });
    for (number, fault) in faults.into_iter().enumerate() {
        script = script.with(At::Components, number + 1, fault);
    }
    Landing::of(script, |_| ()).await
}

fn refused(status: u16, message: &str) -> Fault {
    Fault::Answer(status, vec![], json!({"status": status, "message": message, "requestId": "r"}).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_and_the_log_lands_all_the_same() {
    let landing = fresh(vec![refused(403, "Forbidden"), refused(403, "Forbidden")]).await;
    let landed = landing.round().await;
    assert_eq!((landed.landed, landed.set_back, landed.components), (1, 0, 0));
    assert_eq!(landing.archived().await.0.len(), 2);
    let problem = landing.problem().await.unwrap();
    for word in ["Operator", "TMC_OPERATOR", "component_metrics = false", "Forbidden"] {
        assert!(problem.contains(word), "{word}: {problem}");
    }
    // The right is tenant-wide: not every run asks for it again.
    landing.later(5);
    landing.land().await;
    assert_eq!(landing.stage.count(At::Components), 1);
    landing.later(15);
    landing.land().await;
    assert_eq!(landing.stage.count(At::Components), 2);
    landing.later(60);
    assert_eq!(landing.land().await.components, 1);
    assert_eq!((landing.problem().await, landing.waiting().await), (None, 0));
    assert_eq!(landing.components().await, Some(measured(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_come_late_are_waited_for_an_hour() {
    let empty = json!({"metrics": {"items": [], "limit": 200, "offset": 0, "total": 0}}).to_string();
    let empty = Fault::Answer(200, vec![], empty);
    let landing = fresh(vec![refused(404, "not found"), empty.clone()]).await;
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.waiting().await, 1);
    landing.later(3);
    landing.land().await;
    assert_eq!((landing.stage.count(At::Components), landing.waiting().await), (2, 1));
    landing.later(10);
    assert_eq!(landing.land().await.components, 1);

    let landing = fresh(vec![refused(404, "not found"); 2]).await;
    landing.round().await;
    landing.later(61);
    landing.land().await;
    assert_eq!((landing.stage.count(At::Components), landing.waiting().await), (2, 0), "a run without metrics");
    landing.later(600);
    landing.land().await;
    assert_eq!(landing.stage.count(At::Components), 2);
}

/// Two readings in a row that lacked the same metric were taken for a service that counts wrongly.
#[tokio::test(flavor = "multi_thread")]
async fn fewer_metrics_than_the_service_counts_land_only_after_a_second_attempt() {
    let page = |items: &[Value]| {
        let body = json!({"metrics": {"items": items, "limit": 200, "offset": 0, "total": 3}});
        Fault::Answer(200, vec![], body.to_string())
    };
    let short = || (0..2).flat_map(|_| [page(&measured(2)), page(&[])]);
    let landing = fresh(short().collect()).await;
    assert_eq!(landing.round().await.components, 0);
    assert!(landing.problem().await.unwrap().contains("counts more"));
    landing.later(2);
    assert_eq!(landing.land().await.components, 1);
    assert_eq!((landing.components().await, landing.problem().await), (Some(measured(3)), None));

    // A service that counts wrongly every time.
    let landing = fresh(short().chain(short()).collect()).await;
    assert_eq!(landing.round().await.components, 0);
    landing.later(2);
    assert_eq!(landing.land().await.components, 1);
    assert_eq!(landing.components().await, Some(measured(2)));
}

/// A collector whose clock was hours ahead took metrics that had not come yet for metrics that would never come.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_come_late_are_waited_for_by_the_clock_of_the_service() {
    for clock_behind_ms in [10_800_000, -10_800_000] {
        let landing = fresh_by_clock(clock_behind_ms, vec![refused(404, "not found")]).await;
        assert_eq!((landing.round().await.landed, landing.waiting().await), (1, 1), "{clock_behind_ms}");
        landing.later(10);
        assert_eq!(landing.land().await.components, 1, "{clock_behind_ms}");
        assert_eq!(landing.components().await, Some(measured(3)), "{clock_behind_ms}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_runlog_that_has_not_collected_them_itself_is_asked_again_for_as_long_as_it_takes() {
    let empty = json!({"metrics": {"items": [], "limit": 200, "offset": 0, "total": 0}}).to_string();
    let pending = vec![("x-runlog-component-metrics", "pending".to_owned())];
    let pending = Fault::Answer(200, pending, empty);
    let landing = fresh(vec![pending.clone(), pending]).await;
    landing.round().await;
    landing.later(120);
    landing.land().await;
    assert_eq!(landing.waiting().await, 1, "after an hour, the vendor would have none");
    assert!(landing.problem().await.unwrap().contains("has not collected"));
    landing.later(120);
    assert_eq!(landing.land().await.components, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_or_throttles_is_asked_again() {
    for fault in [
        refused(500, "Internal Server Error"),
        Fault::Answer(429, vec![("retry-after", "1".to_owned())], String::new()),
        Fault::Answer(200, vec![], "<html>".to_owned()),
        Fault::Answer(200, vec![], json!({"metrics": {"items": []}}).to_string()),
    ] {
        let landing = fresh(vec![fault]).await;
        assert_eq!(landing.round().await.landed, 1);
        landing.later(5);
        landing.land().await;
        assert_eq!(landing.components().await, Some(measured(3)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_wrong_every_time_are_given_up_and_those_of_other_runs_are_not_held_up() {
    let landing = fresh(vec![refused(400, "not a data integration job"); 30]).await;
    landing.round().await;
    for _ in 0..40 {
        landing.later(400);
        landing.land().await;
    }
    assert_eq!((landing.stage.count(At::Components), landing.waiting().await), (12, 0));
}
