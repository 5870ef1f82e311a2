//! Errors as clients of PostgreSQL receive them.

use std::io;

use axum::http::StatusCode;
use runlog_sql::{SqlError, SqlErrorKind};

use crate::http::error::ApiError;

/// An error that is reported to the client.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// SQLSTATE.
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
    /// In the text of the statement, from 1. Unit: characters.
    pub(super) position: Option<usize>,
    /// The status that the same error has over HTTP, for the audit log.
    pub(super) status: StatusCode,
}

/// An error as the protocol reports it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement fails, and the session continues.
    Statement(Report),
    /// The session ends.
    Session(Report),
    /// There is nobody to report to.
    Gone(io::Error),
}

/// The result of a part of a session.
pub(super) type SessionResult<T> = Result<T, Failure>;

impl Report {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        let (message, status) = (message.into(), StatusCode::BAD_REQUEST);
        Self { code, message, detail: None, hint: None, position: None, status }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error of a query; `text` is what the client sent.
    pub(super) fn of_query(error: &SqlError, text: &str) -> Self {
        let position = error.position().map(|place| {
            let before = text.lines().take(place.line.saturating_sub(1)).map(|line| line.chars().count() + 1);
            before.sum::<usize>() + place.column
        });
        let status = match error.kind() {
            SqlErrorKind::Invalid | SqlErrorKind::TooLarge | SqlErrorKind::TooLong => StatusCode::BAD_REQUEST,
            SqlErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
            SqlErrorKind::Archive(_) | SqlErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = match error.kind() {
            SqlErrorKind::Archive(_) => return Self::of_api(ApiError::of_unread_archive(error)),
            _ => error.to_string(),
        };
        Self { position, status, ..Self::new(error.sqlstate(), message) }
    }

    /// An error of the service.
    pub(super) fn of_api(error: ApiError) -> Self {
        if let Some(cause) = &error.cause {
            let cause = runlog_model::error_chain(cause.as_ref());
            tracing::error!(error = %cause, "a statement of a client of PostgreSQL failed");
        }
        let code = match error.status {
            StatusCode::UNAUTHORIZED => "28P01",
            StatusCode::FORBIDDEN => "42501",
            StatusCode::TOO_MANY_REQUESTS => "53400",
            StatusCode::SERVICE_UNAVAILABLE => "57P03",
            status if status.is_server_error() => "58000",
            _ => "22023",
        };
        Self { hint: error.detail, status: error.status, ..Self::new(code, error.message) }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Statement(report)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// A violation of the protocol, which ends the session: what follows cannot be understood.
pub(super) fn violation(what: impl Into<String>) -> Failure {
    Failure::Session(Report::new("08P01", what))
}
