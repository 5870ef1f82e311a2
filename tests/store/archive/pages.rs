//! Pages whose client disconnects, whose builder is killed, whose log is deleted, or whose file is damaged.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, TryStreamExt};
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{FileFormat, Record, RecordOrder, TimeRange, Timestamp};
use runlog_store::audit::AuditFilter;
use runlog_store::maintenance::Health;
use runlog_store::pages::{PageRequest, PageStatus, PageTicket};
use runlog_store::{ErrorKind, Store};
use tokio_util::sync::CancellationToken;

use super::Archive;
use crate::common::record;

/// The jobs of an archive, until they are stopped.
struct Jobs(CancellationToken, tokio::task::JoinHandle<()>);

impl Jobs {
    /// Once they run, and builders are idle.
    async fn of(archive: &Archive) -> Self {
        let stop = CancellationToken::new();
        let (store, until) = (archive.store.clone(), stop.clone());
        let jobs = Self(stop, tokio::spawn(async move { store.maintenance().run_jobs(until).await }));
        let warm = archive.whole_log(FileFormat::Text, RecordOrder::Desc);
        let ticket = archive.store.pages().request_page(&warm).await.unwrap();
        assert!(matches!(status(archive, &ticket, 60_000).await, PageStatus::Ready(_)));
        jobs
    }

    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap();
    }
}

async fn status(archive: &Archive, ticket: &PageTicket, wait_ms: u64) -> PageStatus {
    let wait = Duration::from_millis(wait_ms);
    archive.store.pages().page_status(archive.run_id, &ticket.token, wait).await.unwrap()
}

/// The log up to so many milliseconds, and some.
fn page_up_to(archive: &Archive, ms: i64) -> PageRequest {
    let range = TimeRange { start: None, end: Some(Timestamp::clamped(ms + 10)) };
    PageRequest { range, ..archive.whole_log(FileFormat::Json, RecordOrder::Desc) }
}

fn entry(archive: &Archive) -> AuditEntry {
    AuditEntry {
        at: archive.now(),
        caller_id: "-".to_owned(),
        caller_name: "ada".to_owned(),
        action: "request page".to_owned(),
        subject: archive.run_id.to_string(),
        status: 200,
        address: String::new(),
        request_id: "one".to_owned(),
    }
}

async fn entries(archive: &Archive) -> usize {
    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    archive.store.audit().entries(&filter).await.unwrap().0.len()
}

async fn bytes_of(store: &Store, key: &str) -> runlog_store::Result<Vec<u8>> {
    let reader = store.pages().open_page(key).await?.unwrap();
    let length = reader.plain_bytes;
    Ok(reader.begin_plain(0..length).await?.try_collect::<Vec<_>>().await?.concat())
}

/// Its page stayed claimed for two minutes without being built, and other requests for the same page waited.
async fn a_client_that_hangs_up_leaves_a_page_that_is_built_and_an_entry() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let jobs = Jobs::of(&archive).await;
    // The client disconnects at each await point.
    for polls in 0.. {
        let request = page_up_to(&archive, polls);
        let before = entries(&archive).await;
        let is_gone = {
            let mut asking = Box::pin(archive.store.pages().request_audited_page(&request, |_| entry(&archive)));
            let mut is_done = false;
            for _ in 0..polls {
                is_done = asking.as_mut().now_or_never().is_some();
                if is_done {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            !is_done
        };
        // A repeated request gets it immediately, without waiting for a lease to expire.
        let ticket = archive.store.pages().request_page(&request).await.unwrap();
        let begun = std::time::Instant::now();
        assert!(matches!(status(&archive, &ticket, 5_000).await, PageStatus::Ready(_)), "after {polls} polls");
        assert!(begun.elapsed() < Duration::from_secs(4), "after {polls} polls");
        assert!(entries(&archive).await <= before + 1);
        if !is_gone {
            assert_eq!(entries(&archive).await, before + 1);
            break;
        }
    }
    jobs.stop().await;
}

async fn a_page_of_a_log_that_is_deleted_meanwhile_does_not_come() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let jobs = Jobs::of(&archive).await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    // Between the cut and its row.
    let deleting = |_: &PageTicket| {
        let deleted = archive.store.maintenance().delete_log(archive.run_id);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(deleted)).unwrap();
        entry(&archive)
    };
    let ticket = archive.store.pages().request_audited_page(&request, deleting).await.unwrap();
    assert_eq!(status(&archive, &ticket, 300).await, PageStatus::InProgress);
    jobs.stop().await;
    assert_eq!(archive.store.pages().request_page(&request).await.unwrap().records, 0);
}

/// It waited for two minutes, where a page takes some milliseconds.
async fn a_page_of_a_node_that_was_killed_is_built_by_another_within_seconds() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let node = archive.another_node().await;
    // It is killed at the moment at which it has claimed the page, and not built it.
    let mut polls = 0;
    let ticket = loop {
        polls += 1;
        let ticket = node.pages().request_page(&page_up_to(&archive, polls)).await.unwrap();
        let mut building = Box::pin(node.pages().build_next_page());
        for _ in 0..polls {
            let _ = building.as_mut().now_or_never();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(building);
        if archive.build_all().await == 0 && status(&archive, &ticket, 0).await == PageStatus::InProgress {
            break ticket;
        }
        assert!(polls < 500, "never claimed and not built");
    };
    archive.clock.advance_ms(10_000);
    assert_eq!(archive.build_all().await, 1);
    assert!(matches!(status(&archive, &ticket, 0).await, PageStatus::Ready(_)));
}

/// Only three attempts were made, within three seconds.
async fn a_page_that_cannot_be_built_is_tried_again_for_the_whole_life_of_its_token() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let ticket = archive.store.pages().request_page(&request).await.unwrap();
    let kept: Vec<_> = archive.object_files().into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    archive.remove_objects();
    // Another node, which has not read them yet.
    let node = archive.another_node().await;
    let mut attempts = 0;
    for _ in 0..3_500 {
        match node.pages().build_next_page().await {
            Ok(false) => {}
            Ok(true) => panic!("built of nothing"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                attempts += 1;
                if attempts >= 3 {
                    let told =
                        node.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap_err();
                    assert_eq!(told.kind(), ErrorKind::Corrupt, "whoever waits is told");
                }
            }
        }
        archive.clock.advance_ms(1_000);
    }
    assert!((8..20).contains(&attempts), "{attempts} attempts in an hour");
    let told = async || {
        let (metrics, findings) = (node.maintenance().metrics().await.unwrap(), node.maintenance().diagnose().await);
        let is_bad = findings.iter().any(|found| found.what == "log files" && found.health == Health::Bad);
        (metrics.pages_failed, is_bad)
    };
    assert_eq!(told().await, (1, true));
    archive.clock.advance_ms(200_000);
    assert_eq!(told().await, (0, false), "nobody waits for it any more");
    for (bytes, path) in kept {
        std::fs::write(path, bytes).unwrap();
    }
    archive.clock.advance_ms(90_000);
    for _ in 0..600 {
        if node.pages().build_next_page().await.unwrap() {
            break;
        }
        archive.clock.advance_ms(1_000);
    }
    let request = archive.store.pages().request_page(&request).await.unwrap();
    assert!(matches!(status(&archive, &request, 0).await, PageStatus::Ready(_)), "its file is there again");
}

/// The damaged bytes were served.
async fn a_page_file_with_another_bit_is_built_again_and_never_served() {
    let archive = Archive::new().await;
    let records: Vec<Record> = (0..3_000).map(|ms| record(ms, &format!("{ms} {}", "text ".repeat(300)))).collect();
    archive.push("one", &records).await;
    let ticket =
        archive.store.pages().request_page(&archive.whole_log(FileFormat::Json, RecordOrder::Asc)).await.unwrap();
    archive.build_all().await;
    let PageStatus::Ready(file) = status(&archive, &ticket, 0).await else { panic!("not built") };
    let right = bytes_of(&archive.store, &file.key).await.unwrap();
    assert!(right.len() > 3 << 20);
    let object = || {
        let is_page = |file: &std::path::PathBuf| file.components().any(|part| part.as_os_str() == "pages");
        let pages: Vec<_> = archive.object_files().into_iter().filter(is_page).collect();
        assert_eq!(pages.len(), 1, "{pages:?}");
        pages[0].clone()
    };
    let positions: usize = if crate::common::pairs::cases() > 10 { 40 } else { 6 };
    for number in 0..positions {
        let path = object();
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len();
        match number % 4 {
            0 => bytes.truncate(length * number / positions),
            1 => bytes[length * number / positions] ^= 0x55,
            _ => bytes[length * number / positions] ^= 1 << (number % 8),
        }
        std::fs::write(&path, bytes).unwrap();
        let found = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!(found.problems, 1, "{number}: {:?}", found.problem_texts);
        assert!(found.problem_texts[0].contains("page file pages/"), "{:?}", found.problem_texts);
        if number % 8 == 3 {
            assert_eq!(archive.store.maintenance().verify(true, |_| ()).await.unwrap().repaired, 1);
            archive.build_all().await;
        }
        if number % 2 == 0 {
            // Packed, it is right from the first byte to the last, or it breaks off, and is right the next time.
            let mut tries = 0;
            let packed = loop {
                let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
                let (bytes, stream) = reader.begin_zstd().await.unwrap().unwrap();
                match stream.try_collect::<Vec<_>>().await {
                    Ok(packed) => break (bytes, packed.concat()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
                archive.build_all().await;
                tries += 1;
                assert!(tries < 3);
            };
            assert_eq!(packed.0, packed.1.len() as u64);
        }
        assert!(bytes_of(&archive.store, &file.key).await.unwrap() == right, "{number}");
        assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
    }
}

async fn a_damaged_page_file_whose_log_is_damaged_too_is_an_error_that_names_it() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let ticket =
        archive.store.pages().request_page(&archive.whole_log(FileFormat::Json, RecordOrder::Asc)).await.unwrap();
    archive.build_all().await;
    let PageStatus::Ready(file) = status(&archive, &ticket, 0).await else { panic!("not built") };
    for path in archive.object_files() {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes.truncate(middle);
        std::fs::write(&path, bytes).unwrap();
    }
    let node = archive.another_node().await;
    let clock = Arc::clone(&archive.clock);
    let ticking = tokio::spawn(async move {
        loop {
            clock.advance_ms(1_000);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let error = bytes_of(&node, &file.key).await.unwrap_err();
    ticking.abort();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("pages/"), "{error}");
}

crate::common::pairs::on_each_pair! {
    async: a_client_that_hangs_up_leaves_a_page_that_is_built_and_an_entry,
        a_page_of_a_log_that_is_deleted_meanwhile_does_not_come,
        a_page_of_a_node_that_was_killed_is_built_by_another_within_seconds,
        a_page_that_cannot_be_built_is_tried_again_for_the_whole_life_of_its_token,
        a_page_file_with_another_bit_is_built_again_and_never_served,
        a_damaged_page_file_whose_log_is_damaged_too_is_an_error_that_names_it;
    sync:
}
