//! Bodies of `/runlog/v1/queries`: queries that people keep under a name.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A query that the caller keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavedQueryBody {
    /// What it is called.
    pub name: String,
    /// Its text.
    pub query: String,
    /// When it was last kept.
    pub changed_at: Timestamp,
}

/// `PUT /runlog/v1/queries/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSavedQuery {
    /// Its text.
    #[schema(min_length = 1, max_length = 65536, pattern = r"\S")]
    pub query: String,
}
