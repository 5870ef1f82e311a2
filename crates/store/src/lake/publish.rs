//! Snapshots of tables of records. A snapshot is created when a table is loaded and its files have changed.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;
use runlog_model::WorkspaceId;
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::debug;

use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::group::Group;
use crate::lake::manifest::Manifest;
use crate::lake::publication::{Publication, WrittenSnapshot};
use crate::lake::table::LakeTableKind;
use crate::limits;
use crate::parts::Lake;

/// A table of a workspace, as described by an Iceberg catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeTable {
    /// The address of the object with the metadata. The object never changes.
    pub metadata_location: String,
    /// The metadata: a JSON object defined by the specification of Apache Iceberg.
    pub metadata: String,
}

/// A row of `lake_tables`.
#[derive(FromRow)]
struct TableRow {
    version: i64,
    published: i64,
    sequence: i64,
    snapshot_at: i64,
    location: Option<String>,
    metadata_key: Option<String>,
    metadata: Option<String>,
    manifest_list_key: Option<String>,
}

/// A row of `lake_groups`.
#[derive(FromRow)]
struct GroupRow {
    number: i64,
    version: i64,
    published: i64,
    manifests: Option<String>,
}

/// The current state of a group, and its state in the previous snapshot.
struct Draft {
    version: i64,
    before: Group,
    now: Group,
}

impl Lake {
    /// Returns true if sealed files are written for lakehouses.
    pub fn is_on(&self) -> bool {
        self.core.settings().lake
    }

    /// Returns the number of snapshots that this process has made, by the name of the table.
    pub(crate) fn snapshots_made(&self) -> Vec<(&'static str, u64)> {
        LakeTableKind::ALL.into_iter().map(LakeTableKind::name).zip(self.core.lake_snapshots()).collect()
    }

    /// Returns a table of a workspace in its current state. A table of catalog rows may be some seconds old, or as old
    /// as ten times the time that it takes to write the table. Deleted data is never included.
    ///
    /// `Invalid`: the objects are stored where engines cannot read them. `Busy`: the files of the table change faster
    /// than they can be listed.
    pub async fn table(&self, workspace_id: WorkspaceId, kind: LakeTableKind) -> Result<LakeTable> {
        let folder = self.core.objects_address().ok_or_else(|| {
            let message = "engines cannot read the objects of this archive: tables need a folder, or a bucket of S3 or \
                           Google Cloud Storage";
            Error::new(ErrorKind::Invalid, message)
        })?;
        if kind.view().is_some() {
            return self.view_table(workspace_id, kind, folder).await;
        }
        let id = workspace_id.to_string();
        if let Some(current) = self.row(&id).await?.and_then(|row| row.current(folder)) {
            return Ok(current);
        }
        // The first snapshot of a large table takes some time. It is completed even if the client disconnects.
        let (lake, folder) = (self.clone(), folder.to_owned());
        tokio::spawn(async move {
            // One snapshot is made at a time, because concurrent requests often need the same snapshot.
            let _turn = lake.core.lake_turn().lock().await;
            lake.publish(&id, &folder).await
        })
        .await?
    }

    async fn row(&self, workspace_id: &str) -> Result<Option<TableRow>> {
        let query =
            "SELECT version, published, sequence, snapshot_at, location, metadata_key, metadata, manifest_list_key
                       FROM lake_tables WHERE workspace_id = $1";
        Ok(sqlx::query_as(query).bind(workspace_id).fetch_optional(self.core.catalog().read()).await?)
    }

    async fn publish(&self, workspace_id: &str, folder: &str) -> Result<LakeTable> {
        let mut drafts: BTreeMap<i64, Draft> = BTreeMap::new();
        let mut written = BTreeMap::new();
        for _ in 0..limits::LAKE_ATTEMPTS_MAX {
            let Some(row) = self.row(workspace_id).await? else {
                sqlx::query(
                    "INSERT INTO lake_tables (workspace_id, files, version) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING",
                )
                .bind(workspace_id)
                .execute(self.core.catalog().write())
                .await?;
                continue;
            };
            if let Some(current) = row.current(folder) {
                let keys: Vec<Path> = written.into_keys().map(|key: String| Path::from(key)).collect();
                self.core.intents().remove_uncommitted(&keys).await;
                return Ok(current);
            }
            let sequence = row.sequence + 1;
            let mut publication = Publication {
                core: &self.core,
                workspace_id,
                folder,
                form: LakeTableKind::Records.form(),
                sequence,
                snapshot_id: snapshot_id(workspace_id, sequence, self.core.random().uuid().as_bytes()),
                written: std::mem::take(&mut written),
            };
            if let Some(table) = publication.attempt(&row, &mut drafts).await? {
                return Ok(table);
            }
            written = publication.written;
        }
        let message =
            format!("the files of the table of workspace {workspace_id} change faster than they can be listed");
        Err(Error::new(ErrorKind::Busy, message))
    }
}

impl TableRow {
    /// Returns the table if its current snapshot is up to date and the files are still at the same location.
    fn current(&self, folder: &str) -> Option<LakeTable> {
        let is_current = self.published == self.version && self.location.as_deref() == Some(folder);
        let (key, metadata) = (self.metadata_key.as_ref()?, self.metadata.clone()?);
        is_current.then(|| LakeTable { metadata_location: format!("{folder}/{key}"), metadata })
    }
}

impl Publication<'_> {
    /// Makes a snapshot of the state of the catalog. Returns `None`, and changes nothing, if that state has changed in
    /// the meantime.
    async fn attempt(&mut self, row: &TableRow, drafts: &mut BTreeMap<i64, Draft>) -> Result<Option<LakeTable>> {
        let is_moved = row.location.as_deref().is_some_and(|location| location != self.folder);
        let groups: Vec<GroupRow> = sqlx::query_as(
            "SELECT number, version, published, manifests FROM lake_groups WHERE workspace_id = $1 ORDER BY number",
        )
        .bind(self.workspace_id)
        .fetch_all(self.core.catalog().read())
        .await?;
        let (mut kept, mut replaced) = (Vec::new(), BTreeSet::new());
        for group in groups {
            let before = group.manifests.as_deref().map(Group::read).transpose()?.unwrap_or_default();
            if group.published == group.version && !is_moved {
                drafts.remove(&group.number);
                kept.push(before);
                continue;
            }
            if let Some(draft) = drafts.get_mut(&group.number) {
                draft.before.clone_from(&before);
                // Objects that the draft reuses may have been replaced since by a verification that reset the table.
                let is_there = |key: &str| self.written.contains_key(key) || before.keys().any(|other| other == key);
                if !draft.now.keys().all(is_there) {
                    drafts.remove(&group.number);
                }
            }
            if drafts.get(&group.number).is_none_or(|draft| draft.version != group.version) {
                // Objects written for the previous location refer to the files by other addresses, and cannot be
                // reused.
                let known = match (drafts.get(&group.number), is_moved) {
                    (Some(draft), _) => draft.now.clone(),
                    (None, true) => Group::default(),
                    (None, false) => before.clone(),
                };
                let now = self.write_group(group.number, &known).await?;
                drafts.insert(group.number, Draft { version: group.version, before, now });
            }
        }
        let is_same = drafts.values().all(|draft| draft.before == draft.now) && !is_moved;
        if is_same && let (Some(key), Some(metadata)) = (&row.metadata_key, &row.metadata) {
            let committing = self.core.transact(|it| self.commit(it, row, drafts, &replaced, None));
            let table = LakeTable { metadata_location: self.address(key), metadata: metadata.clone() };
            return Ok(committing.await?.then_some(table));
        }
        for draft in drafts.values_mut() {
            // Manifests written by an earlier attempt are also added by this snapshot.
            for manifest in &mut draft.now.manifests {
                if self.written.contains_key(&manifest.key) {
                    (manifest.sequence, manifest.snapshot_id) = (self.sequence, self.snapshot_id);
                }
            }
            replaced.extend(draft.before.keys().map(str::to_owned));
        }
        for draft in drafts.values() {
            for key in draft.now.keys() {
                replaced.remove(key);
            }
        }
        let all = kept.iter().chain(drafts.values().map(|draft| &draft.now));
        let manifests: Vec<Manifest> = all.flat_map(|group| group.manifests.clone()).collect();
        let snapshot = self.write_snapshot(row.snapshot_at, &manifests).await?;
        replaced.extend(row.metadata_key.iter().chain(&row.manifest_list_key).cloned());
        let committing = self.core.transact(|it| self.commit(it, row, drafts, &replaced, Some(&snapshot)));
        if !committing.await? {
            return Ok(None);
        }
        self.core.count_lake_snapshot(self.form.kind as usize);
        debug!(
            workspace.id = self.workspace_id,
            sequence = self.sequence,
            manifests = manifests.len(),
            groups = drafts.len(),
            "a snapshot of a table was made"
        );
        let metadata_location = self.address(&snapshot.metadata_key);
        Ok(Some(LakeTable { metadata_location, metadata: snapshot.metadata }))
    }

    /// Makes the snapshot current; without a snapshot, records that the current one is up to date. Returns false, and
    /// changes nothing, if the table has changed since.
    async fn commit(
        &self,
        mut transaction: WriteTransaction,
        row: &TableRow,
        drafts: &BTreeMap<i64, Draft>,
        replaced: &BTreeSet<String>,
        snapshot: Option<&WrittenSnapshot>,
    ) -> Result<bool> {
        let locking = format!(
            "SELECT version, sequence FROM lake_tables WHERE workspace_id = $1{}",
            self.core.catalog().for_update()
        );
        let found: Option<(i64, i64)> =
            sqlx::query_as(AssertSqlSafe(locking)).bind(self.workspace_id).fetch_optional(&mut *transaction).await?;
        let of_groups: BTreeSet<&str> = drafts.values().flat_map(|draft| draft.now.keys()).collect();
        if found != Some((row.version, row.sequence)) || !self.has_all(&mut transaction, &of_groups).await? {
            return Ok(false);
        }
        for (number, draft) in drafts {
            sqlx::query(
                "UPDATE lake_groups SET published = $3, manifests = $4 WHERE workspace_id = $1 AND number = $2",
            )
            .bind(self.workspace_id)
            .bind(*number)
            .bind(draft.version)
            .bind(draft.now.to_json()?)
            .execute(&mut *transaction)
            .await?;
        }
        match snapshot {
            None => {
                sqlx::query("UPDATE lake_tables SET published = version WHERE workspace_id = $1")
                    .bind(self.workspace_id)
                    .execute(&mut *transaction)
                    .await?;
            }
            Some(snapshot) => {
                self.exchange_objects(&mut transaction, &of_groups, replaced, snapshot).await?;
                sqlx::query(
                    "UPDATE lake_tables SET published = version, sequence = $2, snapshot_at = $3, location = $4,
                            metadata_key = $5, metadata = $6, manifest_list_key = $7 WHERE workspace_id = $1",
                )
                .bind(self.workspace_id)
                .bind(self.sequence)
                .bind(snapshot.at)
                .bind(self.folder)
                .bind(&snapshot.metadata_key)
                .bind(&snapshot.metadata)
                .bind(&snapshot.manifest_list_key)
                .execute(&mut *transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// Returns a unique ID for a snapshot of a table.
pub(super) fn snapshot_id(workspace_id: &str, sequence: i64, random: &[u8]) -> i64 {
    let digest = Sha256::new().chain_update(workspace_id).chain_update(sequence.to_le_bytes()).chain_update(random);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.finalize()[..8]);
    i64::from_le_bytes(bytes) & i64::MAX
}
