//! Signing keys: shared by all nodes of an archive, and rotated by an operator.

use runlog_model::Timestamp;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::Connection;
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::SigningKeys;

/// A signing key: 32 random bytes.
#[derive(Clone)]
pub struct SigningKey {
    /// The purpose and a number, such as `links-2`; no secret.
    pub id: String,
    /// The key itself; a secret.
    pub value: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(FromRow)]
struct KeyRow {
    id: String,
    value: Vec<u8>,
    created_at: i64,
}

impl SigningKeys {
    /// Returns the keys of a purpose, newest first. The first call creates the first key.
    pub async fn list(&self, purpose: &str) -> Result<Vec<SigningKey>> {
        let known = self.known_keys(purpose).await?;
        if !known.is_empty() {
            return Ok(known);
        }
        // If two nodes start at the same time, only one key is created: the first node takes the number.
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                self.insert_key(&mut transaction, purpose, 1).await?;
                transaction.commit().await
            })
            .await?;
        self.known_keys(purpose).await
    }

    /// Creates a new key, which signs from now on. Signatures of older keys stay valid unless `revoke` is set; keys
    /// whose last signature has expired long ago are deleted in any case.
    pub async fn rotate(&self, purpose: &str, revoke: bool) -> Result<SigningKey> {
        let known = self.list(purpose).await?;
        let superseded_before = self.core.earliest_now().await?.plus_millis(-limits::SIGNATURE_TTL_MS_MAX);
        let number = known.first().map_or(0, |key| number(&key.id)) + 1;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                if !self.insert_key(&mut transaction, purpose, number).await? {
                    return Err(Error::conflict(format!(
                        "another key for {purpose} was made at the same time: look again"
                    )));
                }
                let forgotten = known.iter().enumerate().filter(|(index, _)| {
                    // A key signed until its successor was made.
                    let successor = index.checked_sub(1).and_then(|newer| known.get(newer));
                    revoke || successor.is_some_and(|newer| newer.created_at < superseded_before)
                });
                for (_, key) in forgotten {
                    sqlx::query("DELETE FROM keys WHERE id = $1").bind(&key.id).execute(&mut *transaction).await?;
                }
                self.core.commit_change(transaction, Some(&key_id(purpose, number))).await
            })
            .await?;
        let newest = self.known_keys(purpose).await?.into_iter().next();
        newest.ok_or_else(|| Error::conflict("the key was revoked at once by someone else: look again"))
    }

    async fn known_keys(&self, purpose: &str) -> Result<Vec<SigningKey>> {
        let rows: Vec<KeyRow> =
            sqlx::query_as("SELECT id, value, created_at FROM keys WHERE purpose = $1 ORDER BY number DESC")
                .bind(purpose)
                .fetch_all(self.core.catalog().write())
                .await?;
        let key = |row: KeyRow| Ok(SigningKey { id: row.id, value: row.value, created_at: instant(row.created_at)? });
        rows.into_iter().map(key).collect()
    }

    async fn insert_key(&self, connection: &mut Connection, purpose: &str, number: i64) -> Result<bool> {
        let mut fresh = vec![0; 32];
        self.core.random().fill(&mut fresh);
        let done = sqlx::query(
            "INSERT INTO keys (id, purpose, number, value, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(key_id(purpose, number))
        .bind(purpose)
        .bind(number)
        .bind(fresh)
        .bind(self.core.now().as_millis())
        .execute(connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn key_id(purpose: &str, number: i64) -> String {
    format!("{purpose}-{number}")
}

fn number(id: &str) -> i64 {
    id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}
