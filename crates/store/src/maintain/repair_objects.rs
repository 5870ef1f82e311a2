//! Repair of damaged or missing objects, from a copy of the archive or from other objects with the same records.

use az::SaturatingAs;
use object_store::path::Path;
use runlog_model::RunId;

use crate::error::{Error, Result};
use crate::maintain::delete::record_deletions;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::rebuild::ReplacedSegments;
use crate::maintain::verify::{ObjectRow, VerifyReport};

impl Maintenance {
    /// Restores a damaged object from a copy that contains it; otherwise rewrites the logs of which it contains
    /// records. Returns false, and adds a note with the reason for each run, if that is not possible for all of them.
    /// `replaced` is read once for all objects that are repaired.
    pub(crate) async fn repair_object(
        &self,
        row: &ObjectRow,
        copy: Option<&Self>,
        replaced: &mut Option<ReplacedSegments>,
        verified: &mut VerifyReport,
    ) -> Result<bool> {
        if let Some(copy) = copy
            && self.restore_object(row, copy).await?
        {
            return Ok(true);
        }
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT run_id FROM slices WHERE segment_id = $1 ORDER BY run_id")
                .bind(&row.id)
                .fetch_all(self.core.catalog().read())
                .await?;
        // The copy is tried first, because it has the order in which records arrived.
        let mut left = Vec::new();
        for id in ids {
            let reason = match copy {
                Some(_) => match self.rebuild_log(id_of(&id)?, &[], copy).await? {
                    Ok(()) => continue,
                    Err(reason) => Some(reason),
                },
                None => None,
            };
            left.push((id, reason));
        }
        let mut is_repaired = true;
        for (id, reason) in left {
            let known = match replaced.take() {
                Some(known) => known,
                None => self.replaced_segments().await?,
            };
            let slices = self.replaced_slices(replaced.insert(known), &id, &row.id).await?;
            if let Err(here) = self.rebuild_log(id_of(&id)?, &slices, None).await? {
                verified.note(format!("run {id}: not repaired: {}", reason.unwrap_or(here)));
                is_repaired = false;
            }
        }
        if is_repaired {
            self.delete_unused_segment(row).await?;
        }
        Ok(is_repaired)
    }

    /// Copies the object back if it is undamaged in the copy.
    async fn restore_object(&self, row: &ObjectRow, copy: &Self) -> Result<bool> {
        if row.sha256.is_empty() || copy.find_object_damage(row).await?.is_some() {
            return Ok(false);
        }
        let written = copy.copy_object(self, &Path::from(row.object_key.as_str())).await?;
        let is_whole =
            written.is_ok_and(|(bytes, sha256)| bytes == row.bytes.saturating_as::<u64>() && sha256 == row.sha256);
        if is_whole {
            self.record_verification(&row.object_key, true).await?;
        }
        Ok(is_whole)
    }

    /// Removes a segment without slices, and its object.
    async fn delete_unused_segment(&self, row: &ObjectRow) -> Result<()> {
        let object = (row.object_key.clone(), row.bytes);
        let is_deleted = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let deleted = sqlx::query(
                    "DELETE FROM segments WHERE id = $1
                            AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.segment_id = segments.id)",
                )
                .bind(&row.id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
                if deleted > 0 {
                    record_deletions(&mut transaction, std::slice::from_ref(&object)).await?;
                }
                transaction.commit().await?;
                Ok(deleted > 0)
            })
            .await?;
        if is_deleted {
            self.remove_deleted(vec![object]).await;
        }
        Ok(())
    }
}

fn id_of(run: &str) -> Result<RunId> {
    run.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))
}
