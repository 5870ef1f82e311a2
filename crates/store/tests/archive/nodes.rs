//! Several nodes on one catalog and one bucket.

use std::collections::BTreeSet;
use std::time::Duration;

use runlog_model::{FileFormat, Record, RecordOrder};
use runlog_store::{PageStatus, Store};

use crate::common::{Archive, places, record};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_store_and_build_and_every_record_is_there_once() {
    let archive = Archive::<places::postgres_and_s3>::new().await;
    let nodes = [archive.store.clone(), archive.another_node().await, archive.another_node().await];
    let push = |node: Store, batch: usize| {
        let run_id = archive.run_id;
        let records: Vec<Record> =
            (0..20).map(|row| record((batch * 7 + row) as i64, &format!("{batch}-{row}"))).collect();
        tokio::spawn(async move {
            let mut writer = node.begin_batch(run_id, Some(&format!("b{batch}"))).await.unwrap();
            for record in records {
                writer.push(&record).await.unwrap();
            }
            writer.commit().await.unwrap()
        })
    };
    // Each batch comes through two nodes at once, as after a retry.
    let pushes: Vec<_> = (0..30)
        .flat_map(|batch| [push(nodes[batch % 3].clone(), batch), push(nodes[(batch + 1) % 3].clone(), batch)])
        .collect();
    let mut stored = 0;
    for done in pushes {
        stored += usize::from(!done.await.unwrap().repeated);
    }
    assert_eq!(stored, 30);
    let records = archive.records().await;
    let texts: BTreeSet<_> = records.iter().filter_map(|record| record.message.clone()).collect();
    assert_eq!((records.len(), texts.len()), (600, 600));
    assert!(records.is_sorted_by_key(|record| record.time));

    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let tickets = futures::future::join_all(nodes.iter().map(|node| node.request_page(&request))).await;
    let built = futures::future::join_all(nodes.iter().map(Store::build_wanted_page)).await;
    // The same page is wanted three times and built once.
    assert_eq!(built.into_iter().filter(|built| *built.as_ref().unwrap()).count(), 1);
    for (node, ticket) in nodes.iter().rev().zip(tickets) {
        let status = node.page_status(archive.run_id, &ticket.unwrap().token, Duration::ZERO).await.unwrap();
        assert!(matches!(status, PageStatus::Ready(_)), "{status:?}");
    }
    let keys: BTreeSet<_> = futures::future::join_all(nodes.iter().map(|node| node.signing_keys("links")))
        .await
        .into_iter()
        .map(|keys| keys.unwrap()[0].value.clone())
        .collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_hours_ahead_takes_nothing_out_of_the_hands_of_another() {
    let archive = Archive::<places::postgres_and_folder>::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;

    assert_eq!(archive.store.seal().await.unwrap().runs, 1);
    assert_eq!(archive.store.due_summaries(1).await.unwrap().len(), 1);
    assert!(ahead.due_summaries(1).await.unwrap().is_empty(), "the lease is as long for every clock");
    its_clock.advance_ms(HOUR_MS + 60_000);
    assert_eq!(ahead.due_summaries(1).await.unwrap().len(), 1, "a lease that ran out is taken over");
}
