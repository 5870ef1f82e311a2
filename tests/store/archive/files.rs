//! Files for others, in a folder and in a bucket: whole or not at all.

use std::path::Path;

use super::common::{backends, record};
use arrow_array::cast::AsArray;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use runlog_store::bucket::{Bucket, RecordFileWriter, RecordRow};

/// More than one part of an upload.
const LARGE: usize = 9 << 20;

async fn check(bucket: Bucket, folder: &Path) {
    bucket.check().await.unwrap();
    let there = folder.join("team/a b.ndjson");
    let mut file = bucket.begin("team/a b.ndjson");
    file.write(Bytes::from(vec![b'a'; LARGE])).await.unwrap();
    assert!(!there.exists(), "a file in the making is not there");
    file.finish().await.unwrap();
    assert_eq!(std::fs::read(&there).unwrap().len(), LARGE);

    let mut another = bucket.begin("team/a b.ndjson");
    another.write(Bytes::from_static(b"short")).await.unwrap();
    another.finish().await.unwrap();
    assert_eq!(std::fs::read(&there).unwrap(), b"short", "it is replaced whole");

    let mut abandoned = bucket.begin("team/abandoned");
    abandoned.write(Bytes::from(vec![b'a'; LARGE])).await.unwrap();
    abandoned.abandon().await.unwrap();
    assert!(!folder.join("team/abandoned").exists());

    let run = ["run", "t", "nightly", "w", "team", "default", "execution_failed"].map(str::to_owned);
    let mut columns = RecordFileWriter::begin(bucket.begin("log.parquet"), run).unwrap();
    let records = [record(1, "one"), record(2, "two")];
    let filed = |index: usize| RecordRow { id: ["r-0", "r-1"][index], arrival: index as u64, record: &records[index] };
    columns.add(&[filed(0), filed(1)]).await.unwrap();
    columns.finish().await.unwrap();
    let file = std::fs::File::open(folder.join("log.parquet")).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows = reader.next().unwrap().unwrap();
    let text = |name: &str, row: usize| rows.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned();
    assert_eq!([text("id", 1), text("message", 1), text("task", 0)], ["r-1", "two", "nightly"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_folder_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    check(Bucket::in_folder(folder.path()).unwrap(), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_bucket_are_whole() {
    let (url, folder) = backends::bucket();
    check(Bucket::at(&url).unwrap(), &folder).await;
}
