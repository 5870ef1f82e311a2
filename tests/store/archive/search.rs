//! Queries of the web UI.

use super::*;
use std::collections::HashSet;
use std::time::Duration;

use runlog_model::Clock;
use runlog_model::wire::admin::{NewServiceAccount, NewTask};
use runlog_store::accounts::AccessToken;
use runlog_store::logs::RecordFilter;
use runlog_store::query::SearchOrder;
use runlog_store::runs::{OverviewFilter, TaskOrder, TaskOverviewFilter};

const SEVERITIES: [&str; 4] = ["INFO", "warn", "ERROR", "odd"];

/// A log of this many records in batches that overlap in time, some of it sealed; and the same in order.
async fn mixed_log(archive: &Archive, times: &[i64], batch_records: usize, is_sealed: bool) -> Vec<Record> {
    let records: Vec<Record> = times
        .iter()
        .enumerate()
        .map(|(index, ms)| Record {
            severity: Some(SEVERITIES[index % 4].to_owned()),
            ..record(*ms, &format!("Line {} of {}", index % 5, index % 3))
        })
        .collect();
    for (index, batch) in records.chunks(batch_records).enumerate() {
        archive.push(&format!("b{index}"), batch).await;
    }
    if is_sealed {
        archive.finish(RunStatus::Successful).await.unwrap();
        archive.clock.advance_ms(31_000);
        archive.store.maintenance().seal().await.unwrap();
    }
    sorted(records, TimeRange::ALL)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(pairs::cases()))]

    fn records_by_position_are_those_of_the_log(
        times in times(), batch_records in 1..40_usize, is_sealed in any::<bool>(), from in 0..130_u64, count in 1..60_u64,
    ) {
        runtime().block_on(async {
            let archive = Archive::new().await;
            let log = mixed_log(&archive, &times, batch_records, is_sealed).await;
            let found = archive.store.logs().records_from(archive.run_id, from, count).await.unwrap();
            let wanted: Vec<Record> = log.iter().skip(from as usize).take(count as usize).cloned().collect();
            prop_assert_eq!((found.total, found.records), (log.len() as u64, wanted));
            Ok(())
        })?;
    }

    fn the_position_of_a_record_is_that_in_the_log(times in times(), batch_records in 1..40_usize, is_sealed in any::<bool>()) {
        runtime().block_on(async {
            let archive = Archive::new().await;
            let log = mixed_log(&archive, &times, batch_records, is_sealed).await;
            let query = SearchQuery::newest("".parse().unwrap(), 1_000, Duration::from_secs(60));
            for hit in archive.store.query().search(query).await.unwrap().items {
                let position = archive.store.logs().position(hit.run_id, hit.time, hit.arrival).await.unwrap();
                prop_assert_eq!((log[position as usize].time, &log[position as usize].message), (hit.time, &hit.message));
            }
            Ok(())
        })?;
    }

    fn a_search_in_steps_finds_what_fits_with_its_position(
        times in times(), batch_records in 1..40_usize, is_sealed in any::<bool>(), from in 0..130_u64, step in 1..9_usize,
        is_ascending in any::<bool>(),
    ) {
        runtime().block_on(async {
            let archive = Archive::new().await;
            let log = mixed_log(&archive, &times, batch_records, is_sealed).await;
            let order = if is_ascending { RecordOrder::Asc } else { RecordOrder::Desc };
            let mut filter = RecordFilter {
                from,
                to: None,
                order,
                severities: HashSet::from([Severity::Warn, Severity::Other]),
                texts: ["LINE", "of 1"].map(|text| text.parse().unwrap()).to_vec(),
                count: step,
            };
            let fits = |record: &Record| {
                matches!(record.severity.as_deref(), Some("warn" | "odd"))
                    && record.message.as_deref().is_some_and(|message| message.ends_with("of 1"))
            };
            let all = log.iter().enumerate().map(|(index, record)| (index as u64, record.clone()));
            let mut wanted: Vec<(u64, Record)> = all.filter(|(_, record)| fits(record)).collect();
            match order {
                RecordOrder::Asc => wanted.retain(|(index, _)| *index >= from),
                RecordOrder::Desc => {
                    wanted.retain(|(index, _)| *index <= from);
                    wanted.reverse();
                }
            }
            let (mut found, mut scanned) = (Vec::new(), 0);
            loop {
                let part = archive.store.logs().find_records(archive.run_id, &filter).await.unwrap();
                prop_assert!(part.records.len() <= step);
                scanned += part.scanned;
                found.extend(part.records);
                let Some(next) = part.next else { break };
                filter.from = next;
            }
            let span = match order {
                RecordOrder::Asc => (log.len() as u64).saturating_sub(from),
                RecordOrder::Desc => (log.len() as u64).min(from + 1),
            };
            prop_assert_eq!((found, scanned), (wanted, span));
            Ok(())
        })?;
    }

    fn a_histogram_has_each_record_in_its_bucket(
        times in times(), range in ranges(), batch_records in 1..40_usize, is_sealed in any::<bool>(), buckets in 1..30_u64,
    ) {
        runtime().block_on(async {
            let archive = Archive::new().await;
            let log = mixed_log(&archive, &times, batch_records, is_sealed).await;
            let inside = sorted(log.clone(), range);
            let histogram = archive.store.logs().histogram(archive.run_id, range, buckets).await.unwrap();
            let start = histogram.start.unwrap_or(Timestamp::MIN);
            prop_assert!(histogram.buckets.len() as u64 <= buckets);
            let mut wanted = vec![[0; 7]; histogram.buckets.len()];
            prop_assert!(inside.is_empty() || !wanted.is_empty());
            for record in &inside {
                let bucket = record.time.millis_since(start) as u64 / histogram.bucket_ms;
                wanted[bucket as usize][Severity::of(record.severity.as_deref()) as usize] += 1;
            }
            let before = match range.start {
                Some(start) => log.iter().filter(|record| record.time < start).count() as u64,
                None => 0,
            };
            prop_assert_eq!((histogram.buckets, histogram.before, histogram.estimated), (wanted, before, false));
            Ok(())
        })?;
    }
}

async fn records_dated_far_away_make_no_bucket_of_decades() {
    let (now, far) = (1_795_435_200_000, 10_413_792_000_000);
    for is_sealed in [false, true] {
        let archive = Archive::new().await;
        let times: Vec<i64> = [0, 5].into_iter().chain((0..60).map(|at| now + at * 1_000)).chain([far]).collect();
        mixed_log(&archive, &times, 100, is_sealed).await;
        let histogram = archive.store.logs().histogram(archive.run_id, TimeRange::ALL, 30).await.unwrap();
        let totals: Vec<u64> = histogram.buckets.iter().map(|bucket| bucket.iter().sum()).collect();
        assert_eq!((histogram.start, histogram.before), (Some(Timestamp::clamped(now)), 2));
        assert_eq!((totals.iter().sum::<u64>(), totals.len(), histogram.bucket_ms), (60, 30, 1_967));
        // Whoever asks for a range has it.
        let range = TimeRange { start: Some(Timestamp::clamped(0)), end: Some(Timestamp::clamped(far)) };
        let asked = archive.store.logs().histogram(archive.run_id, range, 30).await.unwrap();
        assert_eq!(asked.buckets.iter().flatten().sum::<u64>(), 63);
    }
}

async fn a_search_gets_past_more_slices_that_reach_over_one_instant_than_it_asks_for_at_a_time() {
    // Tasks that all begin at midnight and end together filled every answer anew, and what is older was never reached.
    let archive = Archive::new().await;
    archive.push("older", &[record(10, "Word of the day before")]).await;
    for index in 0..9 {
        let batch = [record(1_000, &format!("Word {index} begins")), record(1_300, &format!("Word {index} ends"))];
        archive.push(&format!("b{index}"), &batch).await;
    }
    let mut search = search_for_word(4, 2);
    // Once of all runs, and once of one: the catalog is asked in another way then.
    for run_id in [None, Some(archive.run_id)] {
        (search.run_ids, search.after) = (run_id.map(|id| vec![id]), None);
        let mut found = Vec::new();
        loop {
            let page = archive.store.query().search(search.clone()).await.unwrap();
            found.extend(page.items.into_iter().map(|item| (item.time.as_millis(), item.message.unwrap())));
            let Some(next) = page.next else { break };
            assert!(search.after.is_none_or(|after| next < after), "{next:?} is no further than {:?}", search.after);
            search.after = Some(next);
        }
        let ends = (0..9).rev().map(|index| (1_300, format!("Word {index} ends")));
        let begins = (0..9).rev().map(|index| (1_000, format!("Word {index} begins")));
        let mut expected: Vec<(i64, String)> = ends.chain(begins).collect();
        expected.push((10, "Word of the day before".to_owned()));
        assert_eq!(found, expected);
    }
}

async fn streams_and_new_records_are_known_from_the_catalog() {
    let archive = Archive::new().await;
    let second = archive.start_another_run().await;
    archive.push("a", &[record(1_000, "one"), record(2_999, "two")]).await;
    push(&archive.store, second, b'b', &[record(5_000, "three")]).await.unwrap();
    let query = archive.store.query();
    let all = query.streams(None, None, None, TimeRange::ALL).await.unwrap();
    let records: f64 = all.iter().map(|figures| figures.records).sum();
    assert_eq!((all.len(), records, all[0].slices), (1, 3.0, 2));
    assert!(all[0].bytes > 0.0 && all[0].severities.total() == 3 && all[0].task_id == archive.task_id);
    // Half of the first slice, whose records are taken to be spread evenly.
    let half = TimeRange { start: Some(Timestamp::clamped(1_000)), end: Some(Timestamp::clamped(1_999)) };
    let figures = query.streams(None, Some(&[archive.task_id]), None, half).await.unwrap();
    assert_eq!((figures[0].records, figures[0].slices), (1.0, 1));
    assert!(query.streams(Some(&[]), None, None, TimeRange::ALL).await.unwrap().is_empty());
    let now = archive.clock.now();
    let filter = ScanFilter { run_ids: Some(vec![second]), ..ScanFilter::default() };
    let new =
        query.runs_with_new_records(&filter, now.plus_millis(-60_000), now.plus_millis(-60_000), 10).await.unwrap();
    assert_eq!(new.iter().map(|run| (run.run_id, run.records)).collect::<Vec<_>>(), [(second, 1)]);
    let later = query.runs_with_new_records(&filter, now, now.plus_millis(60_000), 10).await.unwrap();
    assert!(later.is_empty());
}

async fn a_search_can_go_from_the_oldest_record_forwards() {
    let archive = Archive::new().await;
    let second = archive.start_another_run().await;
    for batch in 0..6_i64 {
        let records: Vec<Record> =
            (0..5).map(|index| record(1_000 + (batch % 3) * 2 + index, &format!("Word {batch}-{index}"))).collect();
        archive.push(&format!("b{batch}"), &records).await;
        let other = [record(1_003 + batch, "Word of another run"), record(1_004, "word without")];
        push(&archive.store, second, b'0' + u8::try_from(batch).unwrap(), &other).await.unwrap();
    }
    for run_ids in [None, Some(vec![second])] {
        let mut found = Vec::new();
        for order in [SearchOrder::NewestFirst, SearchOrder::OldestFirst] {
            let query = SearchQuery { order, run_ids: run_ids.clone(), ..search_for_word(4, 2) };
            let mut search = SearchQuery { message_parts: vec!["Word".to_owned()], all_fields: true, ..query };
            let mut places = Vec::new();
            loop {
                let page = archive.store.query().search(search.clone()).await.unwrap();
                places.extend(page.items.into_iter().map(|item| (item.time.as_millis(), item.run_id, item.arrival)));
                let Some(next) = page.next else { break };
                search.after = Some(next);
            }
            found.push(places);
        }
        found[0].reverse();
        assert_eq!(found[0], found[1]);
        assert_eq!(found[1].len(), if run_ids.is_some() { 6 } else { 36 });
        assert!(found[1].is_sorted());
    }
    let limited = SearchQuery { bytes_max: 10, ..search_for("word") };
    assert_eq!(archive.store.query().search(limited).await.unwrap_err().kind(), ErrorKind::Invalid);
}

async fn runs_are_counted_by_time_and_outcome_and_tasks_that_fail_stand_out() {
    let archive = Archive::new().await;
    archive.finish(RunStatus::Failed).await.unwrap();
    archive.clock.advance_ms(60_000);
    let second = archive.start_another_run().await;
    archive.finish_run(second).await;
    archive.start_another_run().await;
    let now = archive.store.runs().get(second).await.unwrap().unwrap().triggered_at;
    let start = now.plus_millis(-60_000);
    let filter = OverviewFilter { workspace_ids: None, start, end: now.plus_millis(1), bucket_ms: 60_000 };
    let counts = archive.store.runs().outcome_counts(&filter).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|count| (count.bucket, count.status, count.runs)).collect();
    assert_eq!(counts, [(0, RunStatus::Failed, 1), (1, RunStatus::Executing, 1), (1, RunStatus::Successful, 1)]);
    let none = OverviewFilter { workspace_ids: Some(Vec::new()), ..filter };
    assert_eq!(archive.store.runs().outcome_counts(&none).await.unwrap(), []);

    let lines = async |failing, since| {
        let filter = TaskOverviewFilter {
            workspace_ids: None,
            task_id: Some(archive.task_id),
            name_part: Some("IGHT".to_owned()),
            tag: None,
            since,
            failing,
            order: TaskOrder::Name,
            reversed: false,
            recent: 2,
            limit: 10,
            offset: 0,
        };
        archive.store.runs().task_overviews(&filter).await.unwrap()
    };
    let (found, total) = lines(true, start).await;
    let line = &found[0];
    assert_eq!((total, line.runs, line.failed, line.going), (1, 3, 1, 1));
    assert_eq!((line.recent.len(), line.workspace_name.as_str()), (2, "team"));
    assert!(line.recent[0].trigger_timestamp >= line.recent[1].trigger_timestamp);
    let failure = line.last_failure.as_ref().unwrap();
    assert_eq!((failure.run_id, failure.status), (archive.run_id, RunStatus::Failed), "behind the latest runs");
    assert_eq!(lines(true, now).await.1, 0);
    let (found, _) = lines(false, now.plus_millis(1)).await;
    assert_eq!((found[0].runs, found[0].recent.len()), (0, 2), "the latest runs, however long ago");
    assert_eq!(found[0].last_failure, None);
}

async fn tasks_are_sorted_by_name_by_runs_and_by_their_last_run() {
    let archive = Archive::new().await;
    let store = &archive.store;
    let first = store.workspaces().task(archive.task_id).await.unwrap().unwrap();
    let task = async |name: &str| {
        let name = name.to_owned();
        let workspace_id = first.workspace.id;
        let new = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
        store.workspaces().create_task(&new).await.unwrap().id
    };
    let (often, never) = (task("a often").await, task("B never").await);
    archive.finish(RunStatus::Failed).await.unwrap();
    for number in 0..3 {
        archive.clock.advance_ms(60_000);
        let id: RunId = format!("6c0e5a34-0000-4000-8000-00000000000{number}").parse().unwrap();
        store.runs().start(id, &StartRun::of_task(often), &archive.caller).await.unwrap();
    }
    let sorted = async |order, reversed| {
        let filter = TaskOverviewFilter {
            workspace_ids: Some(vec![first.workspace.id]),
            task_id: None,
            name_part: None,
            tag: None,
            since: Timestamp::MIN,
            failing: false,
            order,
            reversed,
            recent: 2,
            limit: 10,
            offset: 0,
        };
        let (lines, total) = store.runs().task_overviews(&filter).await.unwrap();
        assert_eq!((total, lines.iter().map(|line| line.recent.len()).sum::<usize>()), (3, 3));
        lines.into_iter().map(|line| line.task_id).collect::<Vec<_>>()
    };
    let night = archive.task_id;
    for (order, expected) in [
        (TaskOrder::Name, [often, never, night]),
        (TaskOrder::Runs, [often, night, never]),
        (TaskOrder::Failed, [night, often, never]),
        (TaskOrder::LastRun, [often, night, never]),
        (TaskOrder::LastFailure, [night, often, never]),
    ] {
        assert_eq!(sorted(order, false).await, expected, "{order:?}");
        let last = sorted(order, true).await;
        assert_eq!(last[2], expected[0], "{order:?} reversed");
    }
}

async fn a_session_ends_with_what_it_was_opened_with() {
    let archive = Archive::new().await;
    let store = &archive.store;
    let user = store.accounts().create_user(&NewUser { name: "kim".to_owned(), administrator: false }).await.unwrap();
    let token = store.accounts().create_token(&user.id, "laptop").await.unwrap();
    let text = token.token.clone().unwrap();
    let opened = store.accounts().open_session(&text).await.unwrap().unwrap();
    assert_eq!(store.accounts().session(&opened.text).await.unwrap().unwrap().caller.name, "kim");
    assert!(store.accounts().open_session(&opened.text).await.unwrap().is_none());
    assert!(store.accounts().session(&text).await.unwrap().is_none());
    store.accounts().revoke_token(&token.id, None).await.unwrap();
    assert!(store.accounts().session(&opened.text).await.unwrap().is_none());

    let new = NewServiceAccount { name: "robot".to_owned(), permissions: Vec::new() };
    let account = store.accounts().create_service_account(&new).await.unwrap();
    let expires_at = account.created_date.plus_millis(1_000);
    let proof = AccessToken { account_id: &account.id, key_id: "access-tokens-1", expires_at };
    let opened = store.accounts().open_service_account_session(proof).await.unwrap();
    let session = store.accounts().session(&opened.text).await.unwrap().unwrap();
    assert_eq!((session.key_id.as_deref(), session.expires_at), (Some("access-tokens-1"), expires_at));
    archive.clock.advance_ms(1_000);
    assert!(store.accounts().session(&opened.text).await.unwrap().is_none());
    store.maintenance().sweep().await.unwrap();
    store.saved_queries().save(&session.caller, "all", "SELECT 1").await.unwrap();
    store.accounts().delete_service_account(&account.id).await.unwrap();
    assert_eq!(store.saved_queries().list(&session.caller).await.unwrap(), []);
}

async fn a_token_that_is_good_for_a_while_ends_with_its_sessions() {
    let archive = Archive::new().await;
    let store = &archive.store;
    let user = store.accounts().create_user(&NewUser { name: "kim".to_owned(), administrator: true }).await.unwrap();
    let made = store.accounts().create_expiring_token(&user.id, "recovered", 60_000).await.unwrap();
    let text = made.token.clone().unwrap();
    assert_eq!(made.expiration_date, Some(made.created_date.plus_millis(60_000)));
    assert_eq!(store.accounts().tokens(Some(&user.id)).await.unwrap()[0].expiration_date, made.expiration_date);
    assert!(store.accounts().authenticate_token(&text).await.unwrap().is_some());
    let opened = store.accounts().open_session(&text).await.unwrap().unwrap();
    assert_eq!(Some(opened.expires_at), made.expiration_date);

    archive.clock.advance_ms(60_000);
    assert!(store.accounts().authenticate_token(&text).await.unwrap().is_none());
    assert!(store.accounts().open_session(&text).await.unwrap().is_none());
    assert!(store.accounts().session(&opened.text).await.unwrap().is_none());
    archive.clock.advance_ms(1);
    store.maintenance().sweep().await.unwrap();
    assert!(store.accounts().tokens(Some(&user.id)).await.unwrap().is_empty());
}

async fn a_probe_of_the_objects_leaves_nothing_behind() {
    let archive = Archive::new().await;
    for wait_ms in [0, 0, 1, 2, 5] {
        let stop = CancellationToken::new();
        let stopping = async {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
            stop.cancel();
        };
        tokio::join!(archive.store.maintenance().diagnose_until(&stop), stopping);
        // Whether it was in time or not.
        let _ = archive.store.check_until(&stop).await;
        let left = archive.object_files().into_iter().filter(|file| file.to_string_lossy().contains("probes"));
        assert_eq!(left.count(), 0, "stopped after {wait_ms} ms");
    }
}

crate::common::pairs::on_each_pair! {
    async: records_dated_far_away_make_no_bucket_of_decades,
        a_search_gets_past_more_slices_that_reach_over_one_instant_than_it_asks_for_at_a_time,
        a_search_can_go_from_the_oldest_record_forwards,
        streams_and_new_records_are_known_from_the_catalog,
        runs_are_counted_by_time_and_outcome_and_tasks_that_fail_stand_out,
        tasks_are_sorted_by_name_by_runs_and_by_their_last_run,
        a_session_ends_with_what_it_was_opened_with,
        a_token_that_is_good_for_a_while_ends_with_its_sessions,
        a_probe_of_the_objects_leaves_nothing_behind;
    sync: records_by_position_are_those_of_the_log,
        the_position_of_a_record_is_that_in_the_log,
        a_search_in_steps_finds_what_fits_with_its_position,
        a_histogram_has_each_record_in_its_bucket
}
