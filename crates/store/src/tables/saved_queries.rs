//! Queries that callers have saved under a name.

use runlog_model::wire::queries::SavedQueryBody;
use sqlx_macros::FromRow;

use crate::catalog::columns::{checked_name, instant};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::SavedQueries;
use crate::tables::accounts::Caller;

#[derive(FromRow)]
struct Row {
    name: String,
    query: String,
    changed_at: i64,
}

impl SavedQueries {
    /// Returns the saved queries of a caller, by name.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<SavedQueryBody>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, query, changed_at FROM saved_queries WHERE caller_kind = $1 AND caller_id = $2 ORDER BY name",
        )
        .bind(caller.kind.as_str())
        .bind(&caller.id)
        .fetch_all(self.core.catalog().read())
        .await?;
        let read =
            |row: Row| Ok(SavedQueryBody { name: row.name, query: row.query, changed_at: instant(row.changed_at)? });
        rows.into_iter().map(read).collect()
    }

    /// Saves a query, replacing one of the same name. `Invalid`: it is empty or too long, or there are too many.
    pub async fn save(&self, caller: &Caller, name: &str, query: &str) -> Result<SavedQueryBody> {
        let name = checked_name(name)?;
        if query.trim().is_empty() || query.len() > limits::SAVED_QUERY_BYTES_MAX {
            let message = format!("a query has 1 to {} bytes", limits::SAVED_QUERY_BYTES_MAX);
            return Err(Error::invalid(message));
        }
        let known = self.list(caller).await?;
        if known.len() >= limits::SAVED_QUERIES_MAX && known.iter().all(|query| query.name != name) {
            let message = format!("there are {} saved queries already: delete one first", known.len());
            return Err(Error::invalid(message));
        }
        let changed_at = self.core.now();
        sqlx::query(
            "INSERT INTO saved_queries (caller_kind, caller_id, name, query, changed_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (caller_kind, caller_id, name)
             DO UPDATE SET query = excluded.query, changed_at = excluded.changed_at",
        )
        .bind(caller.kind.as_str())
        .bind(&caller.id)
        .bind(&name)
        .bind(query)
        .bind(changed_at.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(SavedQueryBody { name, query: query.to_owned(), changed_at })
    }

    /// Deletes a saved query. `NotFound`: there is none of this name.
    pub async fn delete(&self, caller: &Caller, name: &str) -> Result<()> {
        let done = sqlx::query("DELETE FROM saved_queries WHERE caller_kind = $1 AND caller_id = $2 AND name = $3")
            .bind(caller.kind.as_str())
            .bind(&caller.id)
            .bind(name)
            .execute(self.core.catalog().write())
            .await?;
        match done.rows_affected() {
            0 => Err(Error::not_found("there is no saved query with this name")),
            _ => Ok(()),
        }
    }
}
