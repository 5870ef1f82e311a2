//! Sealed files that are not part of a lakehouse table, and sealing their logs again to include them.

use std::collections::BTreeSet;

use az::SaturatingAs;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::changes;
use crate::limits;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::commit::seal_anew;
use crate::maintain::verify::VerifyReport;
use crate::objects::read_error::read_error;
use crate::tables::run_locks::lock_runs;

/// Sealed files that are not part of a lakehouse table because they may contain runs of several workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OmittedFiles {
    /// Number of files.
    pub files: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of their bytes.
    pub bytes: u64,
}

impl Maintenance {
    /// Counts the sealed files that are not part of a lakehouse table.
    pub async fn files_omitted_from_tables(&self) -> Result<OmittedFiles> {
        let (files, records, bytes): (i64, i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(records), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT)
             FROM segments WHERE merged = 1 AND workspace_id IS NULL AND replaced_at IS NULL",
        )
        .fetch_one(self.core.catalog().read())
        .await?;
        Ok(OmittedFiles {
            files: files.saturating_as::<u64>(),
            records: records.saturating_as::<u64>(),
            bytes: bytes.saturating_as::<u64>(),
        })
    }

    /// Makes the logs of the next of these files due for sealing. Returns the number of files, 0 at the end.
    ///
    /// `after` is the position in the list of files: empty for the first call, and advanced by each call. `Invalid`:
    /// this process does not write lakehouse tables.
    pub async fn seal_for_tables(&self, after: &mut String) -> Result<u64> {
        if !self.core.settings().lake {
            return Err(Error::invalid("this process does not seal logs for lakehouses"));
        }
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM segments WHERE merged = 1 AND workspace_id IS NULL AND replaced_at IS NULL AND id > $1
             ORDER BY id LIMIT $2",
        )
        .bind(&*after)
        .bind(limits::RESEAL_FILES)
        .fetch_all(self.core.catalog().read())
        .await?;
        for id in &ids {
            self.core.transact(|transaction| self.make_due(transaction, id)).await?;
            after.clone_from(id);
        }
        Ok(ids.len() as u64)
    }

    /// Resets the lakehouse tables of catalog rows, so that they are rewritten: some of their rows may no longer exist.
    pub(crate) async fn reset_views(&self) -> Result<()> {
        let workspaces: Vec<String> = sqlx::query_scalar("SELECT DISTINCT workspace_id FROM lake_views")
            .fetch_all(self.core.catalog().read())
            .await?;
        for workspace_id in workspaces {
            self.core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    changes::note_deleted(&mut transaction, &workspace_id).await?;
                    transaction.commit().await
                })
                .await?;
        }
        Ok(())
    }

    /// Checks that the objects of the lakehouse tables exist and have the right length. With `repair`, damaged tables
    /// are reset, so that they are rewritten.
    pub(crate) async fn verify_tables(&self, repair: bool, verified: &mut VerifyReport) -> Result<()> {
        let (mut after, mut damaged) = (String::new(), BTreeSet::new());
        loop {
            let some: Vec<(String, String, i64)> = sqlx::query_as(
                "SELECT object_key, workspace_id, bytes FROM lake_objects
                 WHERE object_key > $1 AND replaced_at IS NULL ORDER BY object_key LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some((last, ..)) = some.last() else { break };
            after.clone_from(last);
            for (key, workspace_id, bytes) in some {
                let wrong = match self.core.objects().head(&Path::from(key.as_str())).await {
                    Ok(found) if found.size == bytes.saturating_as::<u64>() => continue,
                    Ok(found) => format!("has {} bytes instead of {bytes}", found.size),
                    Err(object_store::Error::NotFound { .. }) => "is missing".to_owned(),
                    Err(error) => {
                        let error = read_error(self.core.objects(), error).await;
                        if error.kind() != ErrorKind::Corrupt {
                            return Err(error);
                        }
                        format!("cannot be read ({})", error.with_causes())
                    }
                };
                if self.is_replaced(&key).await? {
                    continue;
                }
                let table = format!("the tables for lakehouses of workspace {workspace_id}");
                verified.problem(format!("object {key} of {table} {wrong}; the records are not affected"));
                damaged.insert(workspace_id);
            }
        }
        for workspace_id in damaged.iter().filter(|_| repair) {
            self.core.transact(|transaction| self.reset_table(transaction, workspace_id)).await?;
            verified.repaired += 1;
        }
        Ok(())
    }

    /// Returns true if a newer snapshot has replaced the object since it was listed.
    async fn is_replaced(&self, key: &str) -> Result<bool> {
        let current: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM lake_objects WHERE object_key = $1 AND replaced_at IS NULL")
                .bind(key)
                .fetch_one(self.core.catalog().read())
                .await?;
        Ok(current == 0)
    }

    async fn reset_table(&self, mut transaction: WriteTransaction, workspace_id: &str) -> Result<()> {
        changes::reset_tables(&mut transaction, workspace_id, self.core.now().as_millis()).await?;
        transaction.commit().await
    }

    async fn make_due(&self, mut transaction: WriteTransaction, segment_id: &str) -> Result<()> {
        let runs: Vec<String> = sqlx::query_scalar("SELECT DISTINCT run_id FROM slices WHERE segment_id = $1")
            .bind(segment_id)
            .fetch_all(&mut *transaction)
            .await?;
        if runs.is_empty() {
            return Ok(());
        }
        lock_runs(&self.core, &mut transaction, runs).await?;
        seal_anew(&mut transaction, segment_id, self.core.now().as_millis()).await?;
        transaction.commit().await
    }
}
