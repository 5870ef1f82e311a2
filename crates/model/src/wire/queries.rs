//! Bodies of `/runlog/v1/queries`: saved queries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A saved query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavedQueryBody {
    /// Name of the query.
    pub name: String,
    /// The text of the query.
    pub query: String,
    /// When it was last saved.
    pub changed_at: Timestamp,
}

/// `PUT /runlog/v1/queries/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSavedQuery {
    /// The text of the query.
    #[schema(min_length = 1, max_length = 65536, pattern = r"\S")]
    pub query: String,
}
