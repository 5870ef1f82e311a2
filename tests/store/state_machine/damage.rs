//! Damage: a read of a damaged object returns the original data or an error that names the object, and a verification
//! names it, both on a node that has read the object before and on one that has not.

use std::path::{Path, PathBuf};

use runlog_model::{Record, RecordOrder, RunId, TimeRange};
use runlog_store::{ErrorKind, Result, Store};

use crate::Machine;

/// Number of places of an object at which a bit is flipped, one after another.
const FLIPS: usize = 6;

/// A kind of damage to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Lost,
    CutShort,
    BitFlipped,
    /// A digit of a message is replaced by another one, which only a checksum can detect.
    TextAltered,
}

/// A part of the first message of each batch.
const TEXT: &[u8] = b"r0e";

impl Damage {
    fn of(self, bytes: &[u8], at: usize) -> Option<Vec<u8>> {
        let (at, mut damaged) = (at % bytes.len(), bytes.to_vec());
        match self {
            Self::Lost => return None,
            Self::CutShort => damaged.truncate(at),
            Self::BitFlipped => damaged[at] ^= 1 << (at % 8),
            Self::TextAltered => match bytes.windows(TEXT.len()).position(|text| text == TEXT) {
                Some(start) => damaged[start + 1] ^= 1,
                None => damaged[at] ^= 1,
            },
        }
        Some(damaged)
    }
}

async fn read(store: &Store, run_id: RunId) -> Result<Vec<Record>> {
    let mut reader = store.logs().read_records(run_id, TimeRange::ALL, RecordOrder::Asc).await?;
    let mut records = Vec::new();
    while let Some(more) = reader.next().await? {
        records.extend(more);
    }
    Ok(records)
}

async fn names(store: &Store, key: &str) -> bool {
    let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
    verified.problem_texts.iter().any(|problem| problem.starts_with(&format!("object {key}: ")))
}

impl Machine {
    async fn is_named(&self, key: &str) -> bool {
        sqlx::any::install_default_drivers();
        let catalog = sqlx::AnyPool::connect(&self.archive.catalog_address()).await.unwrap();
        let rows = sqlx::query_scalar("SELECT COUNT(*) FROM segments WHERE object_key = $1").bind(key.to_owned());
        let rows: i64 = rows.fetch_one(&catalog).await.unwrap();
        catalog.close().await;
        rows > 0
    }

    /// Damages an object of records, reads everything, and puts the object back.
    pub(crate) async fn damage(&mut self, node: usize, object: usize, at: usize, damage: Damage) {
        let mut objects: Vec<(String, PathBuf)> =
            self.archive.object_files().into_iter().filter_map(|file| Some((key_of(&file)?, file))).collect();
        objects.sort_unstable();
        if objects.is_empty() {
            return;
        }
        let (key, file) = &objects[object % objects.len()];
        let is_named = self.is_named(key).await;
        let bytes = std::fs::read(file).unwrap();
        let places = if matches!(damage, Damage::BitFlipped) { FLIPS } else { 1 };
        for place in 0..places {
            change(file, damage.of(&bytes, at.wrapping_add(place * bytes.len() / places)));
            // This node has read nothing of the object before.
            let fresh = self.archive.another_node().await;
            self.read_beside_damage(&fresh, key, is_named).await;
            assert_eq!(names(&fresh, key).await, is_named, "a verification of {key}");
            fresh.close().await;
        }
        assert_eq!(names(self.node(node), key).await, is_named, "a verification by a node that has read {key}");
        change(file, Some(bytes));
        self.verify(node).await;
    }

    async fn read_beside_damage(&self, store: &Store, key: &str, is_named: bool) {
        for (run, run_id) in self.runs.iter().enumerate() {
            match read(store, *run_id).await {
                Ok(records) => assert_eq!(records, self.model[run].sorted(), "run {run} beside a damaged object"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.with_causes());
                    let named = error.damaged_object().unwrap_or_default();
                    assert_eq!(named, key, "the damaged object: {}", error.with_causes());
                    assert!(is_named, "an object is read that no row names");
                }
            }
        }
    }
}

/// The key of an object that holds records.
fn key_of(file: &Path) -> Option<String> {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    let start = parts.iter().rposition(|part| part == "segments" || part == "sealed")?;
    Some(parts[start..].join("/"))
}

fn change(file: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => std::fs::write(file, bytes).unwrap(),
        None => std::fs::remove_file(file).unwrap(),
    }
}
