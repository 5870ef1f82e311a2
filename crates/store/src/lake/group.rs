//! Groups of files, and the manifests that list them.

use std::collections::HashMap;
use std::ops::Range;

use az::SaturatingAs;
use runlog_model::planted;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx_macros::FromRow;
use tracing::debug;

use crate::catalog::columns::saturating;
use crate::error::{Error, Result};
use crate::lake::manifest::{self, Content, Described, ListedFile, Manifest};
use crate::lake::position_deletes;
use crate::lake::publication::Publication;
use crate::segment::file_statistics::FileStatistics;
use crate::segment::reader::SegmentFile;

/// The objects written for a group, as stored in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) manifests: Vec<Manifest>,
    /// Files of position deletes.
    pub(super) delete_files: Vec<DeleteFile>,
}

/// A file of position deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeleteFile {
    pub(super) key: String,
    pub(super) bytes: i64,
    pub(super) rows: i64,
    /// SHA-256 of the deleted positions: a file with the same positions is not written again.
    pub(super) digest: String,
}

#[derive(FromRow)]
struct FileRow {
    id: String,
    object_key: String,
    bytes: i64,
    records: i64,
    statistics: String,
}

impl Group {
    pub(super) fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|_| Error::corrupt("the manifests of a table do not decode"))
    }

    pub(super) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Error::corrupt("manifests of a table have no JSON form"))
    }

    /// Returns the keys of the objects of the group.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let manifests = self.manifests.iter().map(|manifest| manifest.key.as_str());
        manifests.chain(self.delete_files.iter().map(|file| file.key.as_str()))
    }
}

impl Publication<'_> {
    /// Writes the manifests of a group. Objects in `before` with the same contents are kept.
    pub(super) async fn write_group(&mut self, number: i64, before: &Group) -> Result<Group> {
        let (files, live) = self.files_of(number).await?;
        let (mut data, mut deletes, mut delete_files) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let Some(rows) = live.get(&file.id).copied().filter(|rows| *rows > 0) else { continue };
            let address = self.address(&file.object_key);
            if rows < file.records && !planted::is("deleted-rows-shown") {
                let dead = self.dead_rows(&file).await?;
                let deleting = self.write_deletes(&address, &dead, before).await?;
                deletes.push(ListedFile {
                    address: self.address(&deleting.key),
                    rows: deleting.rows,
                    bytes: deleting.bytes,
                    described: Described::Deletes(address.clone()),
                });
                delete_files.push(deleting);
            }
            let described = Described::Data(self.statistics_of(&file).await?);
            data.push(ListedFile { address, rows: file.records, bytes: file.bytes, described });
        }
        let mut manifests = Vec::new();
        let mut known = &before.manifests[..];
        for (content, files) in [(Content::Data, data), (Content::Deletes, deletes)] {
            if files.is_empty() {
                continue;
            }
            let manifest = self.write_manifest(content, files, known).await?;
            // Files have the sequence number of their manifest, and deletes do not apply to newer data. A new manifest
            // of data therefore requires a new manifest of deletes, even if the deletes are unchanged.
            if !known.contains(&manifest) {
                known = &[];
            }
            manifests.push(manifest);
        }
        Ok(Group { manifests, delete_files })
    }

    async fn statistics_of(&self, file: &FileRow) -> Result<FileStatistics> {
        let mut statistics: FileStatistics = serde_json::from_str(&file.statistics)
            .map_err(|_| Error::corrupt("the statistics of a sealed file do not decode").in_object(&file.object_key))?;
        // Earlier versions stored no sizes and no row groups.
        if statistics.row_groups.is_empty() {
            let length = file.bytes.saturating_as::<u64>();
            match SegmentFile::open(self.core.segments(), &file.object_key, length).await {
                Ok(opened) => statistics.add_row_groups(opened.row_groups()),
                // The damage is reported by a verification; engines can read the table without row groups.
                Err(error) => {
                    debug!(%error, object.key = file.object_key, "the footer of a sealed file cannot be read")
                }
            }
        }
        Ok(statistics)
    }

    /// Returns the files of a group, and the number of rows of each file that belong to a log.
    async fn files_of(&self, number: i64) -> Result<(Vec<FileRow>, HashMap<String, i64>)> {
        let files: Vec<FileRow> = sqlx::query_as(
            "SELECT id, object_key, bytes, records, statistics FROM segments
             WHERE workspace_id = $1 AND file_group = $2 AND replaced_at IS NULL AND statistics IS NOT NULL
             ORDER BY object_key",
        )
        .bind(self.workspace_id)
        .bind(number)
        .fetch_all(self.core.catalog().read())
        .await?;
        let live: Vec<(String, i64)> = sqlx::query_as(
            "SELECT s.segment_id, CAST(SUM(s.records) AS BIGINT) FROM slices s WHERE s.segment_id IN
                    (SELECT id FROM segments WHERE workspace_id = $1 AND file_group = $2) GROUP BY s.segment_id",
        )
        .bind(self.workspace_id)
        .bind(number)
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok((files, live.into_iter().collect()))
    }

    /// Returns the rows of a file that do not belong to a log, in order.
    async fn dead_rows(&self, file: &FileRow) -> Result<Vec<Range<i64>>> {
        let live: Vec<(i64, i64)> =
            sqlx::query_as("SELECT first_row, records FROM slices WHERE segment_id = $1 ORDER BY first_row")
                .bind(&file.id)
                .fetch_all(self.core.catalog().read())
                .await?;
        let (mut dead, mut after) = (Vec::new(), 0);
        for (first_row, records) in live.into_iter().chain([(file.records, 0)]) {
            if after < first_row {
                dead.push(after..first_row);
            }
            after = after.max(first_row + records);
        }
        Ok(dead)
    }

    async fn write_deletes(&mut self, address: &str, dead: &[Range<i64>], before: &Group) -> Result<DeleteFile> {
        let digest = runlog_model::hex::encode(Sha256::digest(format!("{address} {dead:?}")));
        if let Some(same) = before.delete_files.iter().find(|file| file.digest == digest) {
            return Ok(same.clone());
        }
        let (address, ranges) = (address.to_owned(), dead.to_vec());
        let bytes = self.core.cpu().run(move || position_deletes::encode(&address, &ranges)).await?;
        let length = saturating(bytes.len() as u64);
        let key = self.write_object("parquet", bytes).await?;
        Ok(DeleteFile { key, bytes: length, rows: dead.iter().map(|rows| rows.end - rows.start).sum(), digest })
    }

    /// Writes a manifest, unless a known manifest has the same contents.
    pub(super) async fn write_manifest(
        &mut self,
        content: Content,
        files: Vec<ListedFile>,
        known: &[Manifest],
    ) -> Result<Manifest> {
        let (count, rows) = (saturating(files.len() as u64), files.iter().map(|file| file.rows).sum());
        let file_bytes = files.iter().map(|file| file.bytes).sum();
        let form = self.form.clone();
        let (bytes, digest) = self.core.cpu().run(move || Ok(manifest::manifest(&form, content, &files))).await?;
        let is_same = |other: &&Manifest| other.content == content && other.digest == digest;
        if let Some(same) = known.iter().find(is_same) {
            return Ok(same.clone());
        }
        let length = saturating(bytes.len() as u64);
        let key = self.write_object("avro", bytes).await?;
        let (sequence, snapshot_id) = (self.sequence, self.snapshot_id);
        Ok(Manifest { key, content, bytes: length, files: count, rows, file_bytes, digest, sequence, snapshot_id })
    }
}
