//! The folders of checkpoints: one fetch uses a folder at a time, and no task writes into the folder of another fetch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use shuttle::thread;

use crate::explore;
use crate::sync::{Arc, fs, point};

#[path = "../../crates/collector/src/fetch/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole file: not all of it is needed here")]
mod error;
#[path = "../../crates/collector/src/fetch/folder_lock.rs"]
mod folder_lock;

use folder_lock::{is_alone, lock};

/// The fetch that has each folder.
type Owners = Mutex<BTreeMap<PathBuf, usize>>;

/// A fetch: it creates its folder or finds it, writes a page in a task, and renames the folder for reuse if no task uses it.
fn fetch(number: usize, folder: &Path, owners: &Arc<Owners>) {
    std::fs::create_dir_all(folder).unwrap();
    // Otherwise another fetch uses it, or has just renamed it.
    let Ok(mut own) = lock(folder) else { return };
    let before = owners.lock().unwrap().insert(folder.to_owned(), number);
    assert_eq!(before, None, "two fetches use one folder");
    let page = {
        let (lock, owners, folder) = (Arc::clone(&own), Arc::clone(owners), folder.to_owned());
        thread::spawn(move || {
            point();
            let owner = owners.lock().unwrap().get(&folder).copied();
            assert!(owner.is_none_or(|owner| owner == number), "a page is written into the folder of another fetch");
            drop(lock);
        })
    };
    point();
    let is_alone = is_alone(&mut own);
    owners.lock().unwrap().remove(folder);
    if is_alone {
        fs::rename(folder, folder.with_file_name(format!("spare-{number}"))).unwrap();
    }
    drop(own);
    page.join().unwrap();
}

#[test]
fn a_folder_has_one_owner_and_no_page_of_another() {
    explore(|| {
        let parent = tempfile::tempdir().unwrap();
        let (folder, owners) = (parent.path().join("run"), Arc::<Owners>::default());
        let fetches = [1, 2, 3].map(|number| {
            let (folder, owners) = (folder.clone(), Arc::clone(&owners));
            thread::spawn(move || fetch(number, &folder, &owners))
        });
        for fetch in fetches {
            fetch.join().unwrap();
        }
    });
}
