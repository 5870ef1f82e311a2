//! Problems of a Runlog: root causes of failed runs, and what people made of them.

use http::Method;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::problems::{NewProblemState, ProblemBody, ProblemDetailBody};

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// `GET /runlog/v1/problems`, with these parameters of its query.
    pub async fn problems(&self, query: &[(&str, String)]) -> Result<ListPage<ProblemBody>> {
        self.get_json(&["runlog", "v1", "problems"], query).await
    }

    /// `GET /runlog/v1/problems/{id}`.
    pub async fn problem(&self, id: &str) -> Result<ProblemDetailBody> {
        self.get_json(&["runlog", "v1", "problems", id], &[]).await
    }

    /// `PUT /runlog/v1/problems/{id}/state`.
    pub async fn set_problem_state(&self, id: &str, new: &NewProblemState) -> Result<ProblemBody> {
        self.send_json(Method::PUT, &["runlog", "v1", "problems", id, "state"], new).await?.json()
    }
}
