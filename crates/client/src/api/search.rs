//! Searches of a Runlog.

use runlog_model::RunId;
use runlog_model::wire::records::RecordsBody;
use runlog_model::wire::search::SearchAnswer;

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// Records of a run by position and filter: `GET /runlog/v1/runs/{id}/records`, with these parameters of its query.
    pub async fn find_records(&self, run: RunId, query: &[(&str, String)]) -> Result<RecordsBody> {
        self.get_json(&["runlog", "v1", "runs", &run.to_string(), "records"], query).await
    }

    /// The newest records that fit: `GET /runlog/v1/search`, with these parameters of its query.
    pub async fn search(&self, query: &[(&str, String)]) -> Result<SearchAnswer> {
        self.get_json(&["runlog", "v1", "search"], query).await
    }
}
