//! Objects that were found damaged or missing, and the results of verifications.

use az::SaturatingAs;

use crate::error::Result;
use crate::maintain::maintenance::Maintenance;

impl Maintenance {
    /// Returns the keys of the first `limit` objects that were found damaged or missing, and the total number of these
    /// objects.
    pub async fn damaged_objects(&self, limit: u64) -> Result<(Vec<String>, u64)> {
        let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM segments WHERE damaged_at IS NOT NULL")
            .fetch_one(self.core.catalog().read())
            .await?;
        let listing = "SELECT object_key FROM segments WHERE damaged_at IS NOT NULL ORDER BY object_key LIMIT $1";
        let keys = sqlx::query_scalar(listing)
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        Ok((keys, total.saturating_as::<u64>()))
    }

    /// Records the result of verifying an object.
    pub(crate) async fn record_verification(&self, object_key: &str, is_whole: bool) -> Result<()> {
        let damaged_at = (!is_whole).then(|| self.core.now().as_millis());
        sqlx::query("UPDATE segments SET damaged_at = $2 WHERE object_key = $1")
            .bind(object_key)
            .bind(damaged_at)
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }
}
