//! Snapshots of tables of catalog rows. A snapshot is created when a table is loaded and its rows have changed.

use std::collections::BTreeSet;

use object_store::path::Path;
use runlog_model::{Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::debug;

use crate::catalog::columns::saturating;
use crate::catalog::sql::Sql;
use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::manifest::{Content, Described, ListedFile, Manifest};
use crate::lake::publication::{Publication, WrittenSnapshot};
use crate::lake::publish::{LakeTable, snapshot_id};
use crate::lake::table::LakeTableKind;
use crate::lake::view_file::ViewFileWriter;
use crate::limits;
use crate::parts::{Lake, Query};
use crate::query::catalog_views::CatalogView;
use crate::segment::file_statistics::FileStatistics;

/// A row of `lake_views`.
#[derive(FromRow)]
struct ViewRow {
    sequence: i64,
    snapshot_at: i64,
    read_at: i64,
    read_ms: i64,
    schema_id: i64,
    location: Option<String>,
    metadata_key: Option<String>,
    metadata: Option<String>,
    manifest_list_key: Option<String>,
    files: Option<String>,
}

/// The objects written for a table, as stored in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct ViewFiles {
    /// Absent if there are no rows.
    manifest: Option<Manifest>,
    files: Vec<ViewFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ViewFile {
    key: String,
    bytes: i64,
    rows: i64,
    /// SHA-256 of the bytes of the file: a file with the same bytes is not written again.
    digest: String,
    statistics: FileStatistics,
}

/// The result of reading the rows of a table.
struct Reading {
    /// The number of deletions before the rows were read.
    deletions: i64,
    /// When reading began, by this node's clock.
    begun: Timestamp,
    /// When reading began, by the catalog's clock, which all nodes use for comparisons.
    read_at: Timestamp,
    files: ViewFiles,
    replaced: BTreeSet<String>,
}

impl Lake {
    /// Returns a table of catalog rows.
    pub(super) async fn view_table(
        &self,
        workspace_id: WorkspaceId,
        kind: LakeTableKind,
        folder: &str,
    ) -> Result<LakeTable> {
        if let Some(row) = self.view_row(workspace_id, kind).await?
            && let Some(current) = self.current(&row, kind, folder).await?
        {
            return Ok(current);
        }
        // The snapshot is completed even if the client disconnects.
        let (lake, folder) = (self.clone(), folder.to_owned());
        tokio::spawn(async move {
            // One snapshot is made at a time, to bound memory and because concurrent requests often need the same
            // snapshot.
            let _turn = lake.core.lake_view_turn().lock().await;
            lake.publish_view(workspace_id, kind, &folder).await
        })
        .await?
    }

    async fn view_row(&self, workspace_id: WorkspaceId, kind: LakeTableKind) -> Result<Option<ViewRow>> {
        let query = "SELECT sequence, snapshot_at, read_at, read_ms, schema_id, location, metadata_key, metadata,
                              manifest_list_key, files FROM lake_views WHERE workspace_id = $1 AND name = $2";
        let found = sqlx::query_as(query).bind(workspace_id.to_string()).bind(kind.name());
        Ok(found.fetch_optional(self.core.catalog().read()).await?)
    }

    /// Returns the table if it was written recently, its schema is current, and the files are still at the same
    /// location.
    async fn current(&self, row: &ViewRow, kind: LakeTableKind, folder: &str) -> Result<Option<LakeTable>> {
        let age_ms = self.core.catalog_now().await?.as_millis() - row.read_at;
        let pause_ms = limits::LAKE_VIEW_EVERY_MS.max(row.read_ms.saturating_mul(limits::LAKE_VIEW_PAUSES));
        // The age is negative if the clock was set back since.
        let is_young = (0..pause_ms).contains(&age_ms);
        if !is_young || !row.is_of(folder, kind.form().schema_id) {
            return Ok(None);
        }
        let (Some(key), Some(metadata)) = (&row.metadata_key, &row.metadata) else { return Ok(None) };
        Ok(Some(LakeTable { metadata_location: format!("{folder}/{key}"), metadata: metadata.clone() }))
    }

    async fn publish_view(&self, workspace_id: WorkspaceId, kind: LakeTableKind, folder: &str) -> Result<LakeTable> {
        let id = workspace_id.to_string();
        for _ in 0..limits::LAKE_ATTEMPTS_MAX {
            let deletions = self.deletions(&id).await?;
            let Some(row) = self.view_row(workspace_id, kind).await? else {
                let adding = "INSERT INTO lake_views (workspace_id, name) SELECT id, $2 FROM workspaces WHERE id = $1
                              ON CONFLICT DO NOTHING";
                let added =
                    sqlx::query(adding).bind(&id).bind(kind.name()).execute(self.core.catalog().write()).await?;
                if added.rows_affected() == 0 && self.view_row(workspace_id, kind).await?.is_none() {
                    return Err(Error::new(ErrorKind::NotFound, format!("there is no workspace {workspace_id}")));
                }
                continue;
            };
            if let Some(current) = self.current(&row, kind, folder).await? {
                return Ok(current);
            }
            let sequence = row.sequence + 1;
            let mut publication = Publication {
                core: &self.core,
                workspace_id: &id,
                folder,
                form: kind.form(),
                sequence,
                snapshot_id: snapshot_id(
                    &format!("{id} {}", kind.name()),
                    sequence,
                    self.core.random().uuid().as_bytes(),
                ),
                written: Default::default(),
            };
            if let Some(table) = publication.write_view(workspace_id, &row, deletions).await? {
                return Ok(table);
            }
            // The written objects may contain data that has been deleted since.
            self.remove_unnamed(publication.written.into_keys().collect()).await?;
        }
        let message =
            format!("logs of workspace {workspace_id} are deleted faster than the table {} is written", kind.name());
        Err(Error::new(ErrorKind::Busy, message))
    }

    /// Removes the objects to which no row refers. Rows may refer to some of them, because an attempt also counts as
    /// failed if the response to its commit was lost.
    async fn remove_unnamed(&self, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut query = Sql::new("SELECT object_key FROM lake_objects WHERE object_key IN (");
        query.push_list(keys.iter().cloned()).push(")");
        let named: Vec<String> = query.build_query_scalar().fetch_all(self.core.catalog().write()).await?;
        let unnamed: Vec<Path> = keys.into_iter().filter(|key| !named.contains(key)).map(Path::from).collect();
        self.core.intents().remove_uncommitted(&unnamed).await;
        Ok(())
    }

    /// Returns the number of deletions in a workspace. Adds the row with the number if it does not exist.
    async fn deletions(&self, workspace_id: &str) -> Result<i64> {
        let counting = "SELECT deletions FROM lake_deletions WHERE workspace_id = $1";
        loop {
            let found: Option<i64> =
                sqlx::query_scalar(counting).bind(workspace_id).fetch_optional(self.core.catalog().read()).await?;
            if let Some(deletions) = found {
                return Ok(deletions);
            }
            // The statement waits for a deletion that is adding the row.
            sqlx::query("INSERT INTO lake_deletions (workspace_id, deletions) VALUES ($1, 0) ON CONFLICT DO NOTHING")
                .bind(workspace_id)
                .execute(self.core.catalog().write())
                .await?;
        }
    }
}

impl ViewRow {
    fn is_of(&self, folder: &str, schema_id: i64) -> bool {
        self.location.as_deref() == Some(folder) && self.schema_id == schema_id
    }
}

impl ViewFiles {
    fn keys(&self) -> impl Iterator<Item = &str> {
        let manifest = self.manifest.iter().map(|manifest| manifest.key.as_str());
        manifest.chain(self.files.iter().map(|file| file.key.as_str()))
    }
}

impl Publication<'_> {
    /// Reads the rows, and makes a snapshot of them unless the current one has the same rows. Returns `None`, and
    /// changes nothing, if data was deleted in the meantime or another node has made a snapshot.
    async fn write_view(
        &mut self,
        workspace_id: WorkspaceId,
        row: &ViewRow,
        deletions: i64,
    ) -> Result<Option<LakeTable>> {
        let Some(view) = self.form.kind.view() else {
            return Err(Error::invalid("the rows of this table are not in the catalog"));
        };
        let begun = self.core.now();
        let read_at = self.core.catalog_time(begun).await?;
        let before: ViewFiles = match &row.files {
            Some(json) => {
                serde_json::from_str(json).map_err(|_| Error::corrupt("the files of a table do not decode"))?
            }
            None => ViewFiles::default(),
        };
        let files = self.write_rows(view, workspace_id, &before.files).await?;
        let is_same = files == before.files && row.is_of(self.folder, self.form.schema_id);
        if is_same && let (Some(key), Some(metadata)) = (&row.metadata_key, &row.metadata) {
            let reading = Reading { deletions, begun, read_at, files: before, replaced: BTreeSet::new() };
            let committing = self.core.transact(|transaction| self.commit_view(transaction, row, &reading, None));
            let table = LakeTable { metadata_location: self.address(key), metadata: metadata.clone() };
            return Ok(committing.await?.then_some(table));
        }
        let manifest = self.list_files(&files).await?;
        let manifests: Vec<Manifest> = manifest.iter().cloned().collect();
        let snapshot = self.write_snapshot(row.snapshot_at, &manifests).await?;
        let mut replaced: BTreeSet<String> = before.keys().map(str::to_owned).collect();
        replaced.extend(row.metadata_key.iter().chain(&row.manifest_list_key).cloned());
        let files = ViewFiles { manifest, files };
        for key in files.keys() {
            replaced.remove(key);
        }
        let reading = Reading { deletions, begun, read_at, files, replaced };
        let committing =
            self.core.transact(|transaction| self.commit_view(transaction, row, &reading, Some(&snapshot)));
        if !committing.await? {
            return Ok(None);
        }
        self.core.count_lake_snapshot(self.form.kind as usize);
        debug!(
            workspace.id = self.workspace_id,
            table = self.form.kind.name(),
            sequence = self.sequence,
            files = reading.files.files.len(),
            "a snapshot of a table was made"
        );
        let metadata_location = self.address(&snapshot.metadata_key);
        Ok(Some(LakeTable { metadata_location, metadata: snapshot.metadata }))
    }

    /// Writes all rows of the workspace to files, which are encoded one at a time.
    async fn write_rows(
        &mut self,
        view: CatalogView,
        workspace_id: WorkspaceId,
        before: &[ViewFile],
    ) -> Result<Vec<ViewFile>> {
        let columns = (0..view.columns().len()).collect();
        let mut scan = Query::new(self.core).scan_view(view, columns, Some(vec![workspace_id]), Vec::new());
        let (mut files, mut open) = (Vec::new(), None::<ViewFileWriter>);
        while let Some(rows) = scan.next().await? {
            if rows.num_rows() == 0 {
                continue;
            }
            let mut writer = match open.take() {
                Some(writer) => writer,
                None => ViewFileWriter::begin(&self.form)?,
            };
            let adding = move || {
                writer.add(&rows)?;
                Ok(writer)
            };
            let writer = self.core.cpu().run(adding).await?;
            match writer.is_full() {
                true => files.push(self.write_file(writer, before).await?),
                false => open = Some(writer),
            }
        }
        if let Some(writer) = open {
            files.push(self.write_file(writer, before).await?);
        }
        Ok(files)
    }

    /// Writes a file, unless a file with the same bytes exists.
    async fn write_file(&mut self, writer: ViewFileWriter, before: &[ViewFile]) -> Result<ViewFile> {
        let encoding = move || {
            let encoded = writer.finish()?;
            let digest = runlog_model::hex::encode(Sha256::digest(&encoded.bytes));
            Ok((encoded, digest))
        };
        let (encoded, digest) = self.core.cpu().run(encoding).await?;
        if let Some(same) = before.iter().find(|file| file.digest == digest) {
            return Ok(same.clone());
        }
        let (bytes, rows) = (saturating(encoded.bytes.len() as u64), saturating(encoded.rows as u64));
        let key = self.write_object("parquet", encoded.bytes).await?;
        Ok(ViewFile { key, bytes, rows, digest, statistics: encoded.statistics })
    }

    /// Writes the manifest of the files; `None` if there are no files.
    async fn list_files(&mut self, files: &[ViewFile]) -> Result<Option<Manifest>> {
        if files.is_empty() {
            return Ok(None);
        }
        let listed = files.iter().map(|file| ListedFile {
            address: self.address(&file.key),
            rows: file.rows,
            bytes: file.bytes,
            described: Described::Data(file.statistics.clone()),
        });
        let listed = listed.collect();
        self.write_manifest(Content::Data, listed, &[]).await.map(Some)
    }

    /// Makes the snapshot current; without a snapshot, records that the current one is up to date. Returns false, and
    /// changes nothing, if data was deleted since or another snapshot was made.
    async fn commit_view(
        &self,
        mut transaction: WriteTransaction,
        row: &ViewRow,
        reading: &Reading,
        snapshot: Option<&WrittenSnapshot>,
    ) -> Result<bool> {
        let for_update = self.core.catalog().for_update();
        // This row is locked first, as in deletions, to avoid deadlocks.
        let locking = format!("SELECT deletions FROM lake_deletions WHERE workspace_id = $1{for_update}");
        let deletions: Option<i64> = sqlx::query_scalar(AssertSqlSafe(locking))
            .bind(self.workspace_id)
            .fetch_optional(&mut *transaction)
            .await?;
        let locking =
            format!("SELECT sequence, metadata_key FROM lake_views WHERE workspace_id = $1 AND name = $2{for_update}");
        let found: Option<(i64, Option<String>)> = sqlx::query_as(AssertSqlSafe(locking))
            .bind(self.workspace_id)
            .bind(self.form.kind.name())
            .fetch_optional(&mut *transaction)
            .await?;
        let keys: BTreeSet<&str> = reading.files.keys().collect();
        let is_as_before = deletions == Some(reading.deletions)
            && found == Some((row.sequence, row.metadata_key.clone()))
            && self.has_all(&mut transaction, &keys).await?;
        if !is_as_before {
            return Ok(false);
        }
        let read_ms = self.core.now().millis_since(reading.begun).max(0);
        sqlx::query("UPDATE lake_views SET read_at = $3, read_ms = $4 WHERE workspace_id = $1 AND name = $2")
            .bind(self.workspace_id)
            .bind(self.form.kind.name())
            .bind(reading.read_at.as_millis())
            .bind(read_ms)
            .execute(&mut *transaction)
            .await?;
        if let Some(snapshot) = snapshot {
            self.exchange_objects(&mut transaction, &keys, &reading.replaced, snapshot).await?;
            let files = serde_json::to_string(&reading.files)
                .map_err(|_| Error::corrupt("the files of a table have no JSON form"))?;
            sqlx::query(
                "UPDATE lake_views SET sequence = $3, snapshot_at = $4, schema_id = $5, location = $6, metadata_key = $7,
                        metadata = $8, manifest_list_key = $9, files = $10 WHERE workspace_id = $1 AND name = $2",
            )
            .bind(self.workspace_id)
            .bind(self.form.kind.name())
            .bind(self.sequence)
            .bind(snapshot.at)
            .bind(self.form.schema_id)
            .bind(self.folder)
            .bind(&snapshot.metadata_key)
            .bind(&snapshot.metadata)
            .bind(&snapshot.manifest_list_key)
            .bind(files)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
