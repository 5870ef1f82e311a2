//! A snapshot in progress, and the objects that are written for it.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;

use crate::catalog::columns::saturating;
use crate::catalog::sql::{Connection, Sql};
use crate::core::Core;
use crate::error::Result;
use crate::lake::manifest::{self, Content, Manifest};
use crate::lake::metadata::TableSnapshot;
use crate::lake::table::TableForm;
use crate::limits;
use crate::objects::{intents, keys};

/// A snapshot in progress.
pub(super) struct Publication<'a> {
    pub(super) core: &'a Core,
    pub(super) workspace_id: &'a str,
    /// The URL of the folder of all objects.
    pub(super) folder: &'a str,
    pub(super) form: TableForm,
    pub(super) sequence: i64,
    pub(super) snapshot_id: i64,
    /// The keys of the objects written so far, and their lengths.
    pub(super) written: BTreeMap<String, i64>,
}

/// The objects of a snapshot.
pub(super) struct WrittenSnapshot {
    /// The time of the snapshot. Unit: epoch milliseconds.
    pub(super) at: i64,
    pub(super) manifest_list_key: String,
    pub(super) metadata_key: String,
    pub(super) metadata: String,
}

impl Publication<'_> {
    /// Returns the address of an object.
    pub(super) fn address(&self, key: &str) -> String {
        format!("{}/{key}", self.folder)
    }

    /// Writes an object and returns its key. No row refers to the object yet.
    pub(super) async fn write_object(&mut self, extension: &str, bytes: Vec<u8>) -> Result<String> {
        let key = keys::lake_object(self.workspace_id, self.core.random().uuid(), extension);
        let length = saturating(bytes.len() as u64);
        self.core.intents().intend([&key]).await?;
        self.core.put_object(&key, bytes.into()).await?;
        self.written.insert(key.to_string(), length);
        Ok(key.to_string())
    }

    /// Writes the manifest list and the metadata of a snapshot. Its time is later than `snapshot_before`, the time of
    /// the previous snapshot.
    pub(super) async fn write_snapshot(
        &mut self,
        snapshot_before: i64,
        manifests: &[Manifest],
    ) -> Result<WrittenSnapshot> {
        let list = manifest::manifest_list(manifests, self.folder, self.sequence, self.snapshot_id);
        let manifest_list_key = self.write_object("avro", list).await?;
        let sum = |content: Content, number: fn(&Manifest) -> i64| -> i64 {
            manifests.iter().filter(|manifest| manifest.content == content).map(number).sum()
        };
        let at = self.core.now().as_millis().max(snapshot_before + 1);
        let snapshot = TableSnapshot {
            form: &self.form,
            workspace_id: self.workspace_id,
            folder: self.folder,
            sequence: self.sequence,
            snapshot_id: self.snapshot_id,
            at,
            manifest_list_key: &manifest_list_key,
            files: sum(Content::Data, |manifest| manifest.files),
            rows: sum(Content::Data, |manifest| manifest.rows),
            file_bytes: sum(Content::Data, |manifest| manifest.file_bytes),
            delete_files: sum(Content::Deletes, |manifest| manifest.files),
            deleted_rows: sum(Content::Deletes, |manifest| manifest.rows),
        };
        let metadata = snapshot.metadata().to_string();
        let metadata_key = self.write_object("metadata.json", metadata.clone().into_bytes()).await?;
        Ok(WrittenSnapshot { at, manifest_list_key, metadata_key, metadata })
    }

    /// Returns true if all of these objects that were written for earlier snapshots are still in use.
    pub(super) async fn has_all(&self, connection: &mut Connection, keys: &BTreeSet<&str>) -> Result<bool> {
        let known: Vec<&str> = keys.iter().copied().filter(|key| !self.written.contains_key(*key)).collect();
        let mut count = 0;
        for some in known.chunks(limits::GROUP_BATCHES_MAX) {
            let mut counting =
                Sql::new("SELECT COUNT(*) FROM lake_objects WHERE replaced_at IS NULL AND object_key IN (");
            counting.push_list(some.iter().map(|key| (*key).to_owned())).push(")");
            let (found,): (i64,) = counting.build_query_as().fetch_one(&mut *connection).await?;
            count += found;
        }
        Ok(count == saturating(known.len() as u64))
    }

    /// Adds rows for the objects that are new and for the objects of the snapshot, and marks the replaced objects.
    pub(super) async fn exchange_objects(
        &self,
        connection: &mut Connection,
        keys: &BTreeSet<&str>,
        replaced: &BTreeSet<String>,
        snapshot: &WrittenSnapshot,
    ) -> Result<()> {
        let of_snapshot = [snapshot.manifest_list_key.as_str(), snapshot.metadata_key.as_str()];
        let all = keys.iter().copied().chain(of_snapshot);
        let new: Vec<(Path, i64)> = all.filter_map(|key| Some((Path::from(key), *self.written.get(key)?))).collect();
        let new_keys: Vec<&Path> = new.iter().map(|(key, _)| key).collect();
        if !intents::fulfil(connection, &new_keys).await? {
            return Err(intents::swept());
        }
        let view_name = self.form.kind.view().map(|_| self.form.kind.name());
        for some in new.chunks(limits::GROUP_BATCHES_MAX) {
            let mut adding = Sql::new("INSERT INTO lake_objects (object_key, workspace_id, bytes, view_name) VALUES ");
            for (index, (key, bytes)) in some.iter().enumerate() {
                adding.push(if index == 0 { "(" } else { ", (" });
                adding.push_bind(key.to_string()).push(", ").push_bind(self.workspace_id.to_owned()).push(", ");
                adding.push_bind(*bytes).push(", ").push_bind(view_name.map(str::to_owned)).push(")");
            }
            adding.build_query().execute(&mut *connection).await?;
        }
        let replaced: Vec<&String> = replaced.iter().collect();
        for some in replaced.chunks(limits::GROUP_BATCHES_MAX) {
            let mut marking = Sql::new("UPDATE lake_objects SET replaced_at = ");
            marking.push_bind(self.core.now().as_millis()).push(" WHERE replaced_at IS NULL AND object_key IN (");
            marking.push_list(some.iter().map(|key| (*key).clone())).push(")");
            marking.build_query().execute(&mut *connection).await?;
        }
        Ok(())
    }
}
