//! Questions in SQL to a Runlog.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use runlog_model::wire::sql::SqlQuestion;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::RetryState;
use crate::transport::{Client, check_not_a_page, refused};

/// Maximum duration of a response. The service has its own limit, whose error is more specific.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(24 * 3_600);

/// An answer that is coming in, as the bytes of its format.
pub struct SqlAnswer(reqwest::Response);

impl Client {
    /// Runs a SQL query: `POST /runlog/v1/sql`.
    pub async fn ask_sql(&self, question: &SqlQuestion) -> Result<SqlAnswer> {
        let call = self.request(Method::POST, &["runlog", "v1", "sql"], &[]).with_json(question)?;
        let (mut renewed, mut tries) = (false, RetryState::default());
        loop {
            let authorization = self.ready_to_send(&call).await?;
            let response = self.begin(&call, &authorization, Some(ANSWER_TIME_MAX)).await?;
            if response.status().is_success() {
                check_not_a_page(&call, response.status(), response.headers())?;
                return Ok(SqlAnswer(response));
            }
            let answer = self.read_answer(&call, response).await?;
            let error = refused(&call, &answer);
            match answer.status {
                StatusCode::UNAUTHORIZED if !renewed && self.renews(&authorization).await => renewed = true,
                StatusCode::TOO_MANY_REQUESTS if !tries.is_exhausted(&error, self.settings()) => {
                    self.pause(&error, Some(&answer.headers), &mut tries).await;
                }
                _ => return Err(error),
            }
        }
    }
}

impl SqlAnswer {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.chunk().await.map_err(|error| {
            let message = "the response is truncated; see the log of the service";
            Error::caused(ErrorKind::Unavailable, message, error.without_url())
        })
    }
}
