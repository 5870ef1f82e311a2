//! The audit logs of tenants: stored once whoever stores them, read by sinks in an order in which nothing appears behind them,
//! copied, and deleted by age.

use runlog_model::tenant_audit_log::TenantAuditLog;
use runlog_store::ErrorKind;
use runlog_store::query::CatalogView;
use runlog_store::tenant_audit_logs::{AuditDeliveryStep, StoredTenantAuditLog, TenantAuditFilter};
use serde_json::value::RawValue;

use super::{Archive, Copy};

fn entry(number: i64) -> TenantAuditLog {
    let at = runlog_model::Timestamp::clamped(1_700_000_000_000 + number / 2 * 1_000);
    let text = format!(
        r#"{{"logId":"00000000-0000-4000-8000-{number:012}","timestamp":"{at}","username":"Kim \u0000","later": 1.0}}"#
    );
    TenantAuditLog::read(RawValue::from_string(text).unwrap()).unwrap()
}

fn entries(numbers: std::ops::Range<i64>) -> Vec<TenantAuditLog> {
    numbers.map(entry).collect()
}

async fn kept(archive: &runlog_store::Store) -> Vec<StoredTenantAuditLog> {
    let filter = TenantAuditFilter { limit: 10_000, ..TenantAuditFilter::default() };
    archive.tenant_audit_logs().list(&filter).await.unwrap().0
}

async fn concurrent_collectors_store_each_entry_once() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    let writers = (0..4_i64).map(|writer| {
        let logs = logs.clone();
        tokio::spawn(async move { logs.store("cloud", &entries(writer * 50..writer * 50 + 100)).await.unwrap() })
    });
    let mut stored = 0;
    for writer in writers.collect::<Vec<_>>() {
        stored += writer.await.unwrap();
    }
    assert_eq!(stored, 250);
    let kept = kept(&archive.store).await;
    assert_eq!(kept.len(), 250);
    assert!(kept.windows(2).all(|pair| (pair[0].time, &pair[0].id) > (pair[1].time, &pair[1].id)), "newest first");
    assert_eq!(kept[0].body.get(), entry(249).body.get());
    let of_user = TenantAuditFilter { user: Some("kim \0".to_owned()), limit: 1, ..TenantAuditFilter::default() };
    assert_eq!(logs.list(&of_user).await.unwrap().1, 250);
    let view = CatalogView::TenantAuditLogs;
    let rows = async |workspaces| {
        let all = (0..view.columns().len()).collect();
        let mut scan = archive.store.query().scan_view(view, all, workspaces, Vec::new());
        scan.next().await.unwrap().unwrap().num_rows()
    };
    assert_eq!((rows(None).await, rows(Some(Vec::new())).await), (250, 0));
    let workspace = archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id;
    assert_eq!(rows(Some(vec![workspace])).await, 0, "they belong to no workspace");
}

async fn a_sink_reads_on_misses_nothing_and_keeps_what_it_refused() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    logs.store("cloud", &entries(0..3)).await.unwrap();
    logs.register_sink("sink").await.unwrap();
    let until = || archive.now().plus_millis(60_000);
    let mut claimed = logs.claim_delivery("sink", until()).await.unwrap().unwrap();
    assert!(logs.claim_delivery("sink", until()).await.unwrap().is_none(), "in one pair of hands");
    let due = logs.read_due(&claimed, 2).await.unwrap();
    let step = AuditDeliveryStep {
        next_sequence: Some(due[1].sequence + 1),
        delivered: 1,
        refused: vec![(due[1].sequence, "odd\0".to_owned())],
        replayed: Vec::new(),
    };
    logs.commit_delivery(&mut claimed, &step, until()).await.unwrap();
    // Older entries that are stored later come later.
    logs.store("cloud", &entries(-4..3)).await.unwrap();
    let rest = logs.read_due(&claimed, 99).await.unwrap();
    assert_eq!(rest.len(), 5);
    assert!(rest.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let state = logs.delivery_state("sink").await.unwrap().unwrap();
    assert_eq!((state.delivered, state.due, state.refused), (1, 5, 1));
    logs.release_delivery(&claimed, Some(("away\0", archive.now().plus_millis(5_000)))).await.unwrap();
    assert!(logs.claim_delivery("sink", until()).await.unwrap().is_none(), "not before its time");
    assert_eq!(logs.retry_delivery("sink").await.unwrap(), 1);
    archive.clock.advance_ms(120_000);
    let mut again = logs.claim_delivery("sink", until()).await.unwrap().unwrap();
    let lost = logs.commit_delivery(&mut claimed, &AuditDeliveryStep::default(), until()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    let replays = logs.read_replays(&again, 9).await.unwrap();
    assert_eq!(replays.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [due[1].sequence]);
    let step = AuditDeliveryStep { delivered: 1, replayed: vec![due[1].sequence], ..AuditDeliveryStep::default() };
    logs.commit_delivery(&mut again, &step, until()).await.unwrap();
    let state = logs.delivery_state("sink").await.unwrap().unwrap();
    assert_eq!((state.delivered, state.due, state.refused), (2, 5, 0));
}

async fn entries_are_copied_and_deleted_by_age_here_and_in_the_copy() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    logs.store("cloud", &entries(0..6)).await.unwrap();
    logs.store("other", &entries(6..8)).await.unwrap();
    logs.register_sink("sink").await.unwrap();
    let copy = Copy::empty().await;
    let maintenance = archive.store.maintenance();
    maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    let ids =
        |kept: Vec<StoredTenantAuditLog>| kept.into_iter().map(|kept| (kept.id, kept.sequence)).collect::<Vec<_>>();
    assert_eq!(ids(kept(&copy.store).await), ids(kept(&archive.store).await));
    assert!(copy.store.tenant_audit_logs().delivery_state("sink").await.unwrap().is_some());
    let middle = runlog_model::Timestamp::clamped(1_700_000_001_000);
    assert_eq!(logs.expire("cloud", middle).await.unwrap(), 2);
    assert_eq!(kept(&archive.store).await.len(), 6);
    maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(ids(kept(&copy.store).await), ids(kept(&archive.store).await));
    assert_eq!(copy.store.tenant_audit_logs().store("cloud", &entries(0..10)).await.unwrap(), 4);
}

async fn entries_of_a_copy_in_use_give_way_to_those_of_the_source() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    logs.store("cloud", &entries(0..4)).await.unwrap();
    logs.register_sink("sink").await.unwrap();
    let copy = Copy::empty().await;
    let maintenance = archive.store.maintenance();
    maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    // The same numbers are given here and there.
    let logs_there = copy.store.tenant_audit_logs();
    logs_there.store("cloud", &entries(10..13)).await.unwrap();
    logs.store("cloud", &entries(4..8)).await.unwrap();
    let until = archive.now().plus_millis(60_000);
    let mut claimed = logs.claim_delivery("sink", until).await.unwrap().unwrap();
    let step = AuditDeliveryStep { next_sequence: Some(8), delivered: 8, ..AuditDeliveryStep::default() };
    logs.commit_delivery(&mut claimed, &step, until).await.unwrap();
    logs.release_delivery(&claimed, None).await.unwrap();
    for _ in 0..2 {
        maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
        let here = kept(&archive.store).await;
        let there = kept(&copy.store).await;
        assert_eq!((here.len(), there.len()), (8, 11));
        for entry in here {
            let same = there.iter().find(|other| other.id == entry.id).unwrap();
            assert_eq!(same.sequence, entry.sequence);
        }
        let state = logs_there.delivery_state("sink").await.unwrap().unwrap();
        assert_eq!((state.delivered, state.due), (8, 3), "what only the copy has is due there");
    }
    assert_eq!(logs_there.store("cloud", &entries(20..22)).await.unwrap(), 2);
    assert_eq!(logs_there.delivery_state("sink").await.unwrap().unwrap().due, 5);
}

async fn what_sinks_said_of_entries_is_deleted_with_them_and_a_copy_keeps_none() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    logs.store("cloud", &entries(0..2)).await.unwrap();
    logs.register_sink("sink").await.unwrap();
    let until = archive.now().plus_millis(60_000);
    logs.claim("cloud", until).await.unwrap().unwrap();
    let mut claimed = logs.claim_delivery("sink", until).await.unwrap().unwrap();
    let refused = vec![(0, "odd".to_owned())];
    let step = AuditDeliveryStep { next_sequence: Some(2), refused, ..AuditDeliveryStep::default() };
    logs.commit_delivery(&mut claimed, &step, until).await.unwrap();
    let copy = Copy::empty().await;
    let maintenance = archive.store.maintenance();
    maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    let keep = std::time::Duration::from_secs(86_400);
    assert!(logs.oldest_kept(keep).await.unwrap() <= archive.now().plus_millis(-86_400_000));
    let later = runlog_model::Timestamp::clamped(1_700_000_009_000);
    assert_eq!(logs.expire("cloud", later).await.unwrap(), 2);
    assert_eq!(logs.delivery_state("sink").await.unwrap().unwrap().refused, 0);
    assert_eq!(kept(&copy.store).await.len(), 2);
    maintenance.copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert!(kept(&copy.store).await.is_empty());
}

async fn one_collector_at_a_time_collects_and_time_only_advances() {
    let archive = Archive::new().await;
    let logs = archive.store.tenant_audit_logs();
    let until = || archive.now().plus_millis(60_000);
    let mut claimed = logs.claim("cloud", until()).await.unwrap().unwrap();
    assert!(logs.claim("cloud", until()).await.unwrap().is_none());
    let now = archive.now();
    logs.advance(&mut claimed, now, until()).await.unwrap();
    logs.advance(&mut claimed, now.plus_millis(-5_000), until()).await.unwrap();
    logs.release(&claimed, Some(now), Some("refused\0")).await.unwrap();
    let state = logs.collection("cloud").await.unwrap().unwrap();
    assert_eq!((state.listed_until, state.problem.as_deref()), (Some(now.as_millis()), Some("refused\u{fffd}")));
    let mut next = logs.claim("cloud", until()).await.unwrap().unwrap();
    assert_eq!((next.listed_until, next.looked_back_at), (Some(now), Some(now)));
    assert_eq!(logs.renew(&claimed, until()).await.unwrap_err().kind(), ErrorKind::Conflict);
    logs.advance(&mut next, now, until()).await.unwrap();
    logs.release(&next, None, None).await.unwrap();
    let last = logs.claim("cloud", until()).await.unwrap().unwrap();
    assert_eq!(last.looked_back_at, Some(now));
    assert_eq!(logs.collection("elsewhere").await.unwrap(), None);
}

crate::common::pairs::on_each_pair! {
    async: concurrent_collectors_store_each_entry_once,
        a_sink_reads_on_misses_nothing_and_keeps_what_it_refused,
        entries_are_copied_and_deleted_by_age_here_and_in_the_copy,
        entries_of_a_copy_in_use_give_way_to_those_of_the_source,
        what_sinks_said_of_entries_is_deleted_with_them_and_a_copy_keeps_none,
        one_collector_at_a_time_collects_and_time_only_advances;
    sync:
}
