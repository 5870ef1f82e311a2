//! Changes of lakehouse tables, recorded by the transaction that makes them.

use std::collections::{BTreeMap, BTreeSet};

use az::SaturatingAs;
use runlog_model::planted;

use crate::catalog::sql::{Connection, Sql};
use crate::error::Result;
use crate::limits;

/// Adds sealed files to the table of a workspace. The rows of the files must exist.
pub(crate) async fn add_files(connection: &mut Connection, workspace_id: &str, ids: &[&str]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let count = ids.len().saturating_as::<i64>();
    let (files, version): (i64, i64) = sqlx::query_as(
        "INSERT INTO lake_tables (workspace_id, files, version) VALUES ($1, $2, 1)
         ON CONFLICT (workspace_id) DO UPDATE SET files = lake_tables.files + excluded.files,
                     version = lake_tables.version + 1
         RETURNING files, version",
    )
    .bind(workspace_id)
    .bind(count)
    .fetch_one(&mut *connection)
    .await?;
    let mut groups: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (number, id) in (files - count..).zip(ids) {
        groups.entry(number / limits::LAKE_GROUP_FILES).or_default().push(id);
    }
    for (group, ids) in groups {
        let mut adding = Sql::new("UPDATE segments SET workspace_id = ");
        adding.push_bind(workspace_id.to_owned()).push(", file_group = ").push_bind(group).push(" WHERE id IN (");
        adding.push_list(ids.into_iter().map(str::to_owned)).push(")");
        adding.build_query().execute(&mut *connection).await?;
        sqlx::query(
            "INSERT INTO lake_groups (workspace_id, number, version) VALUES ($1, $2, $3)
             ON CONFLICT (workspace_id, number) DO UPDATE SET version = excluded.version",
        )
        .bind(workspace_id)
        .bind(group)
        .bind(version)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Records that slices of some segments were added or removed. Call this while the rows of the segments exist.
pub(crate) async fn note_changed(
    connection: &mut Connection,
    segment_ids: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<()> {
    if planted::is("table-not-told-of-changes") {
        return Ok(());
    }
    let ids: Vec<String> = segment_ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
    let mut groups: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for some in ids.chunks(limits::GROUP_BATCHES_MAX) {
        let mut query =
            Sql::new("SELECT DISTINCT workspace_id, file_group FROM segments WHERE file_group IS NOT NULL AND id IN (");
        query.push_list(some.iter().cloned()).push(")");
        let found: Vec<(String, i64)> = query.build_query_as().fetch_all(&mut *connection).await?;
        for (workspace_id, group) in found {
            groups.entry(workspace_id).or_default().insert(group);
        }
    }
    for (workspace_id, groups) in groups {
        let counting = "UPDATE lake_tables SET version = version + 1 WHERE workspace_id = $1 RETURNING version";
        let version: Option<i64> =
            sqlx::query_scalar(counting).bind(&workspace_id).fetch_optional(&mut *connection).await?;
        let Some(version) = version else { continue };
        for group in groups {
            sqlx::query("UPDATE lake_groups SET version = $3 WHERE workspace_id = $1 AND number = $2")
                .bind(&workspace_id)
                .bind(group)
                .bind(version)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Records a deletion of data that may be part of tables of catalog rows. The objects written for these tables are no
/// longer used, and the next sweep removes them.
pub(crate) async fn note_deleted(connection: &mut Connection, workspace_id: &str) -> Result<()> {
    for statement in [
        // A snapshot in progress locks this row, and is not committed if the number has changed.
        "INSERT INTO lake_deletions (workspace_id, deletions) VALUES ($1, 1)
         ON CONFLICT (workspace_id) DO UPDATE SET deletions = lake_deletions.deletions + 1",
        RESET_VIEWS,
        "UPDATE lake_objects SET replaced_at = 0 WHERE workspace_id = $1 AND view_name IS NOT NULL",
    ] {
        sqlx::query(statement).bind(workspace_id).execute(&mut *connection).await?;
    }
    Ok(())
}

const RESET_VIEWS: &str = "UPDATE lake_views SET metadata_key = NULL, metadata = NULL, manifest_list_key = NULL,
        files = NULL WHERE workspace_id = $1 AND metadata_key IS NOT NULL";

/// Resets the tables of a workspace, so that all their objects are rewritten when the tables are loaded next.
pub(crate) async fn reset_tables(connection: &mut Connection, workspace_id: &str, now: i64) -> Result<()> {
    sqlx::query(RESET_VIEWS).bind(workspace_id).execute(&mut *connection).await?;
    mark_replaced(connection, workspace_id, now).await?;
    for table in [
        "UPDATE lake_groups SET published = -1, manifests = NULL WHERE workspace_id = $1",
        "UPDATE lake_tables SET version = version + 1, published = -1, metadata_key = NULL, metadata = NULL,
                manifest_list_key = NULL WHERE workspace_id = $1",
    ] {
        sqlx::query(table).bind(workspace_id).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Marks the objects of the tables of a workspace as replaced; the sweep removes them after some time.
async fn mark_replaced(connection: &mut Connection, workspace_id: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE lake_objects SET replaced_at = $2 WHERE workspace_id = $1 AND replaced_at IS NULL")
        .bind(workspace_id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes the tables of a workspace that is being deleted. The sweep removes their objects.
pub(crate) async fn remove_tables(connection: &mut Connection, workspace_id: &str, now: i64) -> Result<()> {
    note_deleted(connection, workspace_id).await?;
    mark_replaced(connection, workspace_id, now).await?;
    for table in [
        "DELETE FROM lake_groups WHERE workspace_id = $1",
        "DELETE FROM lake_tables WHERE workspace_id = $1",
        "DELETE FROM lake_views WHERE workspace_id = $1",
        "DELETE FROM lake_deletions WHERE workspace_id = $1",
    ] {
        sqlx::query(table).bind(workspace_id).execute(&mut *connection).await?;
    }
    Ok(())
}
