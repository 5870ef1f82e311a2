//! Errors of handlers, and their mapping to statuses.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use runlog_model::wire::error::DAMAGED;
use runlog_sql::SqlError;
use runlog_store::ErrorKind;

/// A failure to be reported to the caller. `request.rs` adds the request ID to the body of every response.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// What happened; sent to the caller.
    pub(crate) message: String,
    /// What to do next; sent to the caller.
    pub(crate) detail: Option<String>,
    /// The kind of failure, where the status leaves it open; sent to the caller.
    pub(crate) code: Option<&'static str>,
    /// When to retry, if known. Unit: seconds.
    pub(crate) retry_after: Option<u64>,
    /// The cause, for the log of the service only.
    pub(crate) cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: None, code: None, retry_after: None, cause: None }
    }

    /// 400: the request is invalid; the message says what and where.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: the credentials are unknown.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: the caller is known and may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: there is no such item in the archive.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The failure of a query that could not read the archive.
    pub(crate) fn of_unread_archive(error: &SqlError) -> Self {
        let cause = match error.archive_error() {
            Some(cause) => cause.clone(),
            None => runlog_store::Error::caused(ErrorKind::Corrupt, error.to_string(), error.clone()),
        };
        let refused = Self::from(cause);
        let parts: Vec<String> = refused.detail.clone().into_iter().chain(error.advice()).collect();
        Self { detail: (!parts.is_empty()).then(|| parts.join("; ")), ..refused }
    }

    /// This failure, with what to do next.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// This error with a time to retry.
    pub(crate) fn retried_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<runlog_store::Error> for ApiError {
    fn from(error: runlog_store::Error) -> Self {
        let status = status_of(error.kind());
        // The cause of an internal error is only in the log of the service; callers receive the request ID to refer to
        // it.
        let message = match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Expired | ErrorKind::Conflict => error.to_string(),
            ErrorKind::Unavailable if error.is_outcome_unknown() => {
                "the archive was interrupted during the change, which may or may not have been made; check before you \
                 try again"
                    .to_owned()
            }
            ErrorKind::Unavailable | ErrorKind::Busy => {
                "the archive is unavailable or busy; nothing was changed, try again".to_owned()
            }
            // The key of an object does not reveal where it is stored.
            ErrorKind::Corrupt => match error.damaged_object() {
                Some(key) => format!("the archive could not read stored data: object {key} is damaged or missing"),
                None => "the archive could not read stored data; see the log of the service".to_owned(),
            },
        };
        let detail = error.damaged_object().map(|_| what_to_do(error.damaged_runs()));
        let code = (error.kind() == ErrorKind::Corrupt).then_some(DAMAGED);
        let cause = status.is_server_error().then(|| Arc::new(error) as Arc<dyn StdError + Send + Sync>);
        Self { status, message, detail, code, retry_after: None, cause }
    }
}

/// The next step after a damaged object that these runs need.
fn what_to_do(run_ids: &[String]) -> String {
    match run_ids {
        [] => "`runlog archive verify` lists the affected runs and what to do".to_owned(),
        [run_id] => format!("run {run_id} cannot be read; see `runlog archive verify`"),
        [run_id, others @ ..] => format!(
            "run {run_id} and {} more cannot be read; `runlog archive verify` lists them and what to do",
            others.len()
        ),
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        // Talend Cloud responds with 404 to an expired token; the message distinguishes the cases.
        ErrorKind::NotFound | ErrorKind::Expired => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable | ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_errors_are_not_disclosed() {
        let error = runlog_store::Error::caused(ErrorKind::Corrupt, "bad /secret/path", "because");
        let answer = ApiError::from(error);
        assert_eq!((answer.status.as_u16(), answer.code), (500, Some("damaged")));
        assert!(!answer.message.contains("secret"), "{}", answer.message);
        assert!(answer.cause.is_some());
    }

    #[test]
    fn an_expired_token_is_not_found() {
        assert_eq!(status_of(ErrorKind::Expired), 404);
    }
}
