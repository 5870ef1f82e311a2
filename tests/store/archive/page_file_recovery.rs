//! Files that a folder lost when its machine went down: those that can be made anew are.

use std::time::Duration;

use futures::TryStreamExt;
use runlog_model::{FileFormat, RecordOrder};
use runlog_store::pages::PageStatus;

use super::common::{Archive, backends, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_file_that_was_not_on_disk_yet_is_built_anew() {
    let is_page = |file: &std::path::PathBuf| file.components().any(|part| part.as_os_str() == "pages");
    // Nothing of it was left, or its beginning.
    for left in [None, Some(9)] {
        let archive = Archive::<backends::sqlite_and_folder>::new().await;
        archive.push("one", &[record(1, "a"), record(5, "b")]).await;
        let request = archive.whole_log(FileFormat::Text, RecordOrder::Asc);
        let token = archive.store.pages().request_page(&request).await.unwrap().token;
        let status = async || archive.store.pages().page_status(archive.run_id, &token, Duration::ZERO).await.unwrap();
        assert_eq!(archive.build_all().await, 1);
        let PageStatus::Ready(file) = status().await else { panic!("not built") };
        let before = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
        let length = before.plain_bytes;
        let before: Vec<bytes::Bytes> = before.plain(0..length).try_collect().await.unwrap();

        let path = archive.object_files().into_iter().find(is_page).unwrap();
        match left {
            None => std::fs::remove_file(path).unwrap(),
            Some(bytes) => std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap(),
        }
        // Whoever follows the link waits for the new file, and gets it.
        let again = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
        let again: Vec<bytes::Bytes> = again.plain(0..length).try_collect().await.unwrap();
        assert_eq!(again.concat(), before.concat());
        assert_eq!(archive.object_files().into_iter().filter(is_page).count(), 1, "what was left of it is gone");
    }
}
