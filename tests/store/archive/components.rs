//! Component metrics: kept to the letter with their run, and gone with its log.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use runlog_model::wire::components::{ComponentMetric, ProcessMetric, RunComponents};
use runlog_model::wire::push::FinishRun;
use runlog_model::{RunId, RunStatus, Timestamp};
use runlog_store::ErrorKind;
use runlog_store::collection::{ClaimedComponents, LandedLog, UpstreamRun, UpstreamRunState};
use runlog_store::components::{ComponentField, ComponentOrder};
use runlog_store::maintenance::{LegalHold, Retention};
use runlog_store::query::CatalogView;
use serde_json::json;

use super::{Archive, Copy};
use crate::common::{push, record};

const BY_START: ComponentOrder = ComponentOrder { by: ComponentField::StartTime, is_descending: false };

/// Two metrics of one process; texts and numbers that are easily lost.
fn measured(rows: u64) -> RunComponents {
    let metric = |value| serde_json::from_value::<ComponentMetric>(value).unwrap();
    let items = vec![
        metric(
            json!({"pid": "p1", "connector_type": "tDBInput", "connector_label": "read \u{1F600}", "connector_id": "tDBInput_1",
            "target_connector_type": "tDBOutput", "target_label": "", "target_id": "tDBOutput_2",
            "component_start_time_seconds": 1_628_266_578.78, "component_connection_rows_total": rows,
            "component_execution_duration_milliseconds": 1.5, "of_later": [null, {"a": 0.1}]}),
        ),
        metric(
            json!({"pid": "p1", "connector_type": "tDBOutput", "connector_label": "write", "connector_id": "tDBOutput_2",
            "component_start_time_seconds": 1_628_266_578, "stacktrace": "java.lang.Error: no\n\tat A.b(A.java:1)"}),
        ),
    ];
    let process =
        json!({"process_id": "j1", "job_name": "Main", "pid": "p1", "father_pid": "p1", "root_pid": "p1", "odd": 1});
    let processes = vec![serde_json::from_value::<ProcessMetric>(process).unwrap()];
    RunComponents { total: items.len() as u64, items, processes, ..RunComponents::default() }
}

async fn stored(archive: &Archive, run_id: RunId) -> Option<RunComponents> {
    archive.store.components().all(run_id).await.unwrap()
}

async fn component_metrics_are_kept_to_the_letter_and_replaced_as_a_whole() {
    let archive = Archive::new().await;
    let components = archive.store.components();
    assert_eq!(stored(&archive, archive.run_id).await, None);
    components.replace(archive.run_id, &measured(48_112)).await.unwrap();
    let read = stored(&archive, archive.run_id).await.unwrap();
    assert_eq!((&read.items, &read.processes), (&measured(48_112).items, &measured(48_112).processes));
    // Sent again, and with other numbers: the run has these and no others.
    assert_eq!(components.replace(archive.run_id, &measured(48_112)).await.unwrap(), 2);
    let one = RunComponents { items: measured(7).items[..1].to_vec(), ..measured(7) };
    assert_eq!(components.replace(archive.run_id, &one).await.unwrap(), 1);
    let page = components.page(archive.run_id, BY_START, 10, 0).await.unwrap().unwrap();
    assert_eq!((page.total, page.items), (1, measured(7).items[..1].to_vec()));

    let nul = RunComponents { items: vec![measured(1).items[1].clone()], ..measured(1) };
    let mut nul = nul;
    nul.items[0].connector_label = "a\0b \\u0000".to_owned();
    components.replace(archive.run_id, &nul).await.unwrap();
    let read = stored(&archive, archive.run_id).await.unwrap();
    assert_eq!(read.items[0].connector_label, "a\u{fffd}b \\u0000");

    let error = components.replace("6c0e5a34-0000-4000-8000-00000000ffff".parse().unwrap(), &one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let many = RunComponents { items: vec![measured(1).items[1].clone(); 20_001], ..measured(1) };
    let error = components.replace(archive.run_id, &many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let nameless = RunComponents { items: vec![ComponentMetric::default()], ..measured(1) };
    let error = components.replace(archive.run_id, &nameless).await.unwrap_err();
    assert!(error.to_string().contains("items[0] has no connector_id"), "{error}");
    assert_eq!(stored(&archive, archive.run_id).await.unwrap(), read, "what was refused changed nothing");
}

async fn absent_values_come_last_in_both_orders() {
    let archive = Archive::new().await;
    archive.store.components().replace(archive.run_id, &measured(5)).await.unwrap();
    for by in [ComponentField::Rows, ComponentField::TargetLabel, ComponentField::TargetId] {
        for is_descending in [false, true] {
            let order = ComponentOrder { by, is_descending };
            let page = archive.store.components().page(archive.run_id, order, 10, 0).await.unwrap().unwrap();
            assert_eq!(page.items[0].connector_id, "tDBInput_1", "{by:?} {is_descending}");
        }
    }
    let latest = ComponentOrder { is_descending: true, ..BY_START };
    let page = archive.store.components().page(archive.run_id, latest, 1, 1).await.unwrap().unwrap();
    assert_eq!((page.items.len(), page.items[0].connector_id.as_str(), page.total), (1, "tDBOutput_2", 2));
}

async fn component_metrics_go_with_the_log_and_with_retention() {
    let archive = Archive::new().await;
    let store = &archive.store;
    push(store, archive.run_id, 1, &[record(1, "one")]).await.unwrap();
    let without_log = archive.start_another_run().await;
    for run_id in [archive.run_id, without_log] {
        store.components().replace(run_id, &measured(1)).await.unwrap();
        archive.finish_run(run_id).await;
    }
    store.maintenance().set_legal_hold(archive.run_id, Some(&LegalHold::default())).await.unwrap();
    assert!(store.maintenance().delete_log(archive.run_id).await.is_err());
    assert!(stored(&archive, archive.run_id).await.is_some());
    store.maintenance().set_legal_hold(archive.run_id, None).await.unwrap();
    store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert_eq!(stored(&archive, archive.run_id).await, None);
    assert_eq!(store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);

    let workspace = store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id;
    store.maintenance().set_retention(workspace, Retention { days: Some(1), bytes: None }).await.unwrap();
    store.maintenance().apply_retention().await.unwrap();
    assert!(stored(&archive, without_log).await.is_some(), "it is not a day old");
    archive.clock.advance_ms(2 * 86_400_000);
    assert_eq!(store.maintenance().apply_retention().await.unwrap().runs, 1);
    assert_eq!(stored(&archive, without_log).await, None);
    assert_eq!(store.maintenance().apply_retention().await.unwrap().runs, 0);
}

async fn component_metrics_are_copied_and_damage_to_them_is_found() {
    let archive = Archive::new().await;
    let store = &archive.store;
    let other = archive.start_another_run().await;
    for run_id in [archive.run_id, other] {
        store.components().replace(run_id, &measured(3)).await.unwrap();
    }
    let copy = Copy::empty().await;
    let there = async |run_id| copy.store.components().all(run_id).await.unwrap();
    store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(there(archive.run_id).await, stored(&archive, archive.run_id).await);
    assert_eq!(copy.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
    // Neither run changes, only their metrics.
    store.components().replace(archive.run_id, &measured(4)).await.unwrap();
    store.maintenance().delete_log(other).await.unwrap();
    store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(there(archive.run_id).await.unwrap().items, measured(4).items);
    assert_eq!(there(other).await, None);

    archive.change_catalog("UPDATE component_metrics SET rows_total = 5 WHERE rows_total = 4").await;
    let verified = store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(verified.problems, 1, "{:?}", verified.problem_texts);
    assert!(verified.problem_texts[0].contains(&format!("component metrics of run {}", archive.run_id)));
    // As a node of an earlier version leaves them, which does not know of metrics.
    archive.change_catalog("UPDATE runs SET log_epoch = log_epoch + 1").await;
    assert_eq!(stored(&archive, archive.run_id).await, None);
    let verified = store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.repaired), (1, 1), "{:?}", verified.problem_texts);
    assert_eq!(store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
}

/// More rows than are read at a time, whose key has a number.
async fn component_metrics_are_rows_of_the_catalog() {
    let archive = Archive::new().await;
    let item = measured(1).items[1].clone();
    let many = RunComponents { items: vec![item; 9_000], ..measured(1) };
    let other = archive.start_another_run().await;
    for run_id in [archive.run_id, other] {
        archive.store.components().replace(run_id, &many).await.unwrap();
    }
    let columns = CatalogView::ComponentMetrics.columns();
    let column = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
    let wanted = vec![column("run_id"), column("position"), column("job_name"), column("stacktrace")];
    let mut rows = archive.store.query().scan_view(CatalogView::ComponentMetrics, wanted, None, Vec::new());
    let mut positions = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        assert!(batch.column(2).as_string::<i64>().iter().all(|job| job == Some("Main")));
        positions.extend(batch.column(1).as_primitive::<Int64Type>().values().iter().copied());
    }
    let expected: Vec<i64> = (0..9_000).chain(0..9_000).collect();
    assert_eq!(positions, expected);
    archive.store.maintenance().delete_log(other).await.unwrap();
    let mut rows =
        archive.store.query().scan_view(CatalogView::ComponentMetrics, vec![0], Some(Vec::new()), Vec::new());
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 0, "no workspace may be read");
}

/// A run that has landed, and whose component metrics are due.
async fn landed(archive: &Archive) -> ClaimedComponents {
    let (collection, now) = (archive.store.collection(), archive.now());
    let run = UpstreamRun {
        run_id: archive.run_id,
        task_id: "t".to_owned(),
        progress: UpstreamRunState::Pending,
        status: "execution_failed".to_owned(),
        triggered_at: Some(now),
        finished_at: Some(now),
        due_at: now,
        body: "{}".to_owned(),
    };
    collection.upsert_runs("up", &[run]).await.unwrap();
    let lease = now.plus_millis(60_000);
    assert!(collection.claim_components("up", lease).await.unwrap().is_none(), "the log comes first");
    let claimed = collection.claim_run("up", lease).await.unwrap().unwrap();
    let log = LandedLog { records: 0, pages: 1, components_due_at: Some(now) };
    collection.land("up", &claimed, &FinishRun::with_status(RunStatus::Failed), log).await.unwrap();
    assert_eq!(collection.metrics("up").await.unwrap().components_waiting, 1);
    assert!(collection.components_are_due(archive.run_id).await.unwrap());
    let claimed = collection.claim_components("up", lease).await.unwrap().unwrap();
    assert!(collection.claim_components("up", lease).await.unwrap().is_none(), "they are in one pair of hands");
    claimed
}

async fn collected_metrics_land_once_and_not_for_a_deleted_log() {
    let archive = Archive::new().await;
    let collection = archive.store.collection();
    let claimed = landed(&archive).await;
    let retry_at = archive.now().plus_millis(5_000);
    collection.record_components_failure("up", &claimed, "the right is missing", retry_at).await.unwrap();
    let metrics = collection.metrics("up").await.unwrap();
    assert_eq!((metrics.components_waiting, metrics.components_failing), (1, 1));
    assert_eq!(metrics.components_problem.as_deref(), Some("the right is missing"));
    let lease = |archive: &Archive| archive.now().plus_millis(1_000);
    assert!(collection.claim_components("up", lease(&archive)).await.unwrap().is_none());
    archive.clock.advance_ms(6_000);
    let late = collection.claim_components("up", lease(&archive)).await.unwrap().unwrap();
    assert_eq!(late.run.attempts, 1);
    // Its lease expires, and another takes over.
    archive.clock.advance_ms(2_000);
    let claimed = collection.claim_components("up", lease(&archive)).await.unwrap().unwrap();
    let error = collection.land_components("up", &late, Some(&measured(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(stored(&archive, archive.run_id).await, None);
    assert!(collection.land_components("up", &claimed, Some(&measured(2))).await.unwrap());
    assert_eq!(stored(&archive, archive.run_id).await.unwrap().items, measured(2).items);
    assert!(!collection.components_are_due(archive.run_id).await.unwrap());
    let since = Timestamp::clamped(0);
    assert_eq!(collection.schedule_missing_components("up", since).await.unwrap(), 0);

    let archive = Archive::new().await;
    let collection = archive.store.collection();
    let claimed = landed(&archive).await;
    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert!(!collection.land_components("up", &claimed, Some(&measured(1))).await.unwrap());
    assert_eq!(stored(&archive, archive.run_id).await, None, "what was deleted does not come back");
    assert!(!collection.components_are_due(archive.run_id).await.unwrap());
}

async fn metrics_of_runs_that_landed_before_they_were_wanted_are_fetched() {
    let archive = Archive::new().await;
    let collection = archive.store.collection();
    let claimed = landed(&archive).await;
    collection.give_up_components("up", &claimed, "it is gone").await.unwrap();
    assert_eq!(collection.metrics("up").await.unwrap().components_waiting, 0);
    assert_eq!(collection.retry("up").await.unwrap(), 0);
    assert_eq!(collection.metrics("up").await.unwrap().components_waiting, 1, "retrying includes them");
    archive.change_catalog("UPDATE collected_runs SET metrics_due_at = NULL, metrics_state = NULL").await;
    let day_later = archive.now().plus_millis(86_400_000);
    assert_eq!(collection.schedule_missing_components("up", day_later).await.unwrap(), 0);
    assert_eq!(collection.schedule_missing_components("up", archive.now()).await.unwrap(), 1);
    assert_eq!(collection.metrics("up").await.unwrap().components_waiting, 1);
}

crate::common::pairs::on_each_pair! {
    async: component_metrics_are_kept_to_the_letter_and_replaced_as_a_whole,
        absent_values_come_last_in_both_orders,
        component_metrics_go_with_the_log_and_with_retention,
        component_metrics_are_copied_and_damage_to_them_is_found,
        component_metrics_are_rows_of_the_catalog,
        collected_metrics_land_once_and_not_for_a_deleted_log,
        metrics_of_runs_that_landed_before_they_were_wanted_are_fetched;
    sync:
}
