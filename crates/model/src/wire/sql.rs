//! Body of `POST /runlog/v1/sql`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A SQL query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlQuestion {
    /// One SQL query; the tables are `runs`, `records`, `tasks` and `deliveries`.
    #[schema(example = "SELECT status, count(*) FROM runs GROUP BY status")]
    pub query: String,
    /// `json`, `ndjson`, `csv`, `table` or `parquet`; default: according to the `Accept` header, or else `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(json|ndjson|csv|table|parquet)$")]
    pub format: Option<String>,
}
