//! Links that the bucket signs: whoever holds one gets the log file from there, without credentials.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::TryStreamExt;
use runlog_model::{FileFormat, Record, RecordOrder, TimeRange};
use runlog_store::pages::{PageFile, PageRequest, PageStatus};
use runlog_store::{ErrorKind, Store};
use url::Url;

use super::common::backends::{sqlite_and_folder, sqlite_and_s3};
use super::common::{Archive, record};

const HOUR: Duration = Duration::from_secs(3_600);

/// An archive whose log files come from the bucket, with a log of more than one mebibyte.
async fn archive_of(records: i64) -> Archive<sqlite_and_s3> {
    let archive = Archive::with_settings(|settings| settings.links_by_bucket = true).await;
    let records: Vec<Record> = (0..records).map(|at| record(at, &"a line of some length ".repeat(20))).collect();
    archive.push("log", &records).await;
    archive
}

async fn file_of(archive: &Archive<sqlite_and_s3>, store: &Store) -> PageFile {
    let request = PageRequest {
        run_id: archive.run_id,
        range: TimeRange::default(),
        format: FileFormat::Json,
        order: RecordOrder::Asc,
        file_name: "the \"log\".log".to_owned(),
    };
    let ticket = store.pages().request_page(&request).await.unwrap();
    while store.pages().build_next_page().await.unwrap() {}
    let status = store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap();
    let PageStatus::Ready(file) = status else { panic!("not built: {status:?}") };
    file
}

/// The head and the body of the answer to a GET without any credentials.
fn get(link: &Url) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect((link.host_str().unwrap(), link.port().unwrap())).unwrap();
    let (path, query, host) = (link.path(), link.query().unwrap(), link.authority());
    write!(stream, "GET {path}?{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), answer.split_off(end + 4))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_the_bucket_gives_the_log() {
    let archive = archive_of(5_000).await;
    let file = file_of(&archive, &archive.store).await;
    let link = archive.store.pages().page_link(&file, HOUR).await.unwrap().unwrap();
    let (head, body) = get(&link);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("content-disposition: attachment; filename=\"the__log_.log\""), "{head}");
    assert_eq!(serde_json::from_slice::<Vec<Record>>(&body).unwrap().len(), 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_link_gives_nothing() {
    let archive = archive_of(10).await;
    let file = file_of(&archive, &archive.store).await;
    let link = archive.store.pages().page_link(&file, HOUR).await.unwrap().unwrap();
    let longer: Url = link.as_str().replace("X-Amz-Expires=3600", "X-Amz-Expires=7200").parse().unwrap();
    assert_ne!(link, longer);
    let (head, _) = get(&longer);
    assert!(head.starts_with("http/1.1 403"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_serves_the_same_file_in_any_range() {
    let archive = archive_of(5_000).await;
    let file = file_of(&archive, &archive.store).await;
    let (_, whole) = get(&archive.store.pages().page_link(&file, HOUR).await.unwrap().unwrap());
    assert!(whole.len() > 2 << 20);
    for range in [0..whole.len(), 1_000_000..1_100_000, whole.len() - 7..whole.len(), 5..5] {
        let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
        assert_eq!(reader.zstd_bytes, None);
        let part = range.start as u64..range.end as u64;
        let bytes: Vec<bytes::Bytes> = reader.plain(part).try_collect().await.unwrap();
        assert!(bytes.concat() == whole[range.clone()], "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_file_has_no_bucket_link() {
    let archive = Archive::<sqlite_and_s3>::new().await;
    archive.push("log", &[record(1, "one")]).await;
    let file = file_of(&archive, &archive.store).await;
    let changed = archive.another_node_with(|settings| settings.links_by_bucket = true).await.unwrap();
    assert_eq!(changed.pages().page_link(&file, HOUR).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_folder_have_no_links() {
    let archive = Archive::<sqlite_and_folder>::new().await;
    let refused = archive.another_node_with(|settings| settings.links_by_bucket = true).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}
