//! Locks of the rows of runs.

use crate::catalog::sql::{Connection, Sql};
use crate::core::Core;
use crate::error::Result;

/// Locks runs for the rest of a transaction. All lock them in the same order, so that no two wait for each other.
pub(crate) async fn lock_runs(
    core: &Core,
    connection: &mut Connection,
    ids: impl IntoIterator<Item = String>,
) -> Result<()> {
    let mut locking = Sql::new("SELECT id FROM runs WHERE id IN (");
    locking.push_list(ids).push(") ORDER BY id").push(core.catalog().for_update());
    locking.build_query().fetch_all(connection).await?;
    Ok(())
}
