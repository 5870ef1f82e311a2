//! Searches of a Runlog.

use runlog_model::wire::search::SearchAnswer;

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// The newest records that fit: `GET /runlog/v1/search`, with these parameters of its query.
    pub async fn search(&self, query: &[(&str, String)]) -> Result<SearchAnswer> {
        self.get_json(&["runlog", "v1", "search"], query).await
    }
}
