//! Writes down who did what, for routes that say so in the list.
//!
//! What changes something is written down by the call that changes it, in one transaction, on a task that goes on when the
//! client hangs up: the handler is given the [`Deed`] for that. What reads is written down after it was read and before it
//! is answered. What is written down here besides is what changed nothing: requests that were refused, or found all as
//! they wanted it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runlog_model::Clock;
use runlog_model::wire::admin::AuditEntry;
use runlog_store::{Deed, Error, Store};
use tracing::error;

use crate::app::App;
use crate::auth::token::{Authenticated, address};
use crate::http::error::{ApiError, ApiResult};
use crate::http::request::RequestId;
use crate::limits;

/// What an audited route does, such as `read log`.
#[derive(Clone)]
pub(crate) struct Audited {
    pub(crate) app: App,
    pub(crate) action: &'static str,
    /// True when repeating it within some minutes is not written down again.
    pub(crate) is_once: bool,
    /// True when it gives what is kept and changes nothing.
    pub(crate) is_reading: bool,
}

/// What is to be written down of a request that reads, but for its status: in the request's extensions, for a handler that
/// writes it in one transaction with what it does.
#[derive(Clone)]
pub(crate) struct Draft(AuditEntry);

impl Draft {
    /// The entry of a request that is answered with this status.
    pub(crate) fn entry(self, status: StatusCode) -> AuditEntry {
        AuditEntry { status: status.as_u16(), ..self.0 }
    }
}

/// In the extensions of an answer: its handler has written the entry itself, or nothing happened that belongs there.
#[derive(Clone)]
pub(crate) struct WrittenDown;

/// What this request does, for the audit log; there in handlers of audited routes that change something.
#[derive(Clone)]
pub(crate) struct Doing(Deed);

impl<S: Sync> FromRequestParts<S> for Doing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        // A route that changes something and is not listed as audited is a fault, and must not do so unseen.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "this route is not listed as one that is written down")
        })
    }
}

impl Doing {
    /// The archive for the change, which is answered with this status and written down with it.
    pub(crate) fn store(&self, app: &App, status: StatusCode) -> Store {
        app.store().doing(self.0.answered_with(status.as_u16()))
    }

    /// Writes down that a part of this request was refused.
    pub(crate) async fn refused(&self, app: &App, status: StatusCode, subject: String) -> ApiResult<()> {
        Ok(app.store().write_deed(&self.0.answered_with(status.as_u16()).about(subject)).await?)
    }

    /// The same for a change of something that the path does not name, or not alone.
    pub(crate) fn store_for(&self, app: &App, status: StatusCode, subject: String) -> Store {
        app.store().doing(self.0.answered_with(status.as_u16()).about(subject))
    }
}

/// Handles a request and writes it down.
pub(crate) async fn write_down(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let subject = subject(&RawPathParams::from_request_parts(&mut parts, &()).await.ok());
    let caller = parts.extensions.get::<Authenticated>().map(|caller| (caller.0.id.clone(), caller.0.name.clone()));
    // A link carries its own right; who holds it is not known.
    let (caller_id, caller_name) = caller.unwrap_or_else(|| ("-".to_owned(), "holder of a link".to_owned()));
    let entry = AuditEntry {
        at: audited.app.now(),
        caller_id,
        caller_name,
        action: audited.action.to_owned(),
        subject,
        status: StatusCode::OK.as_u16(),
        address: address(&parts.extensions).map(|address| address.to_string()).unwrap_or_default(),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
    };
    let request = Request::from_parts(parts, body);
    match audited.is_reading {
        true => read(&audited, entry, request, next).await,
        false => change(&audited, entry, request, next).await,
    }
}

/// Handles a request that changes something, to its end, whether or not its client waits for that.
async fn change(audited: &Audited, entry: AuditEntry, mut request: Request, next: Next) -> Response {
    let (deed, store) = (Deed::new(entry.clone()), audited.app.store().clone());
    request.extensions_mut().insert(Doing(deed.clone()));
    let outlive = audited.app.outlive(async move {
        let response = next.run(request).await;
        let status = response.status();
        // A change that was made, and whose request failed afterwards, is answered otherwise than it was written down.
        let is_told = deed.is_written() && status.is_success();
        if !is_told {
            let entry = AuditEntry { status: status.as_u16(), ..entry };
            let id = entry.request_id.clone();
            if let Err(error) = store.audit(entry).await {
                error!(error = &error as &dyn std::error::Error, request.id = id, "an audit entry was not written");
            }
        }
        response
    });
    outlive.await
}

/// Handles a request that reads. The answer waits until that is written down: nobody reads a log without leaving a trace.
async fn read(audited: &Audited, entry: AuditEntry, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Draft(entry.clone()));
    let mut response = next.run(request).await;
    if response.extensions_mut().remove::<WrittenDown>().is_some() {
        return response;
    }
    let is_success = response.status().is_success();
    let look = (audited.is_once && is_success).then(|| (entry.caller_id.clone(), entry.subject.clone()));
    if look.as_ref().is_some_and(|look| audited.app.looks().is_known(look)) {
        return response;
    }
    let entry = AuditEntry { status: response.status().as_u16(), ..entry };
    let id = entry.request_id.clone();
    match (audited.app.store().audit(entry).await, look) {
        (Ok(()), Some(look)) => audited.app.looks().note(look),
        (Ok(()), None) => {}
        (Err(error), _) if is_success => return unanswered(error).into_response(),
        (Err(error), _) => {
            error!(error = &error as &dyn std::error::Error, request.id = id, "an audit entry was not written");
        }
    }
    response
}

/// 503: what was read is not told, because nobody would know who read it.
fn unanswered(error: Error) -> ApiError {
    let message = "this could not be written down in the audit log, and is not answered without that; try again";
    ApiError { cause: Some(Arc::new(error)), ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message) }
}

/// Who lately looked at which log, as far as this node knows.
pub(crate) struct Looks {
    clock: Arc<dyn Clock>,
    /// When, by the clock that nobody sets.
    last: Mutex<HashMap<(String, String), Duration>>,
}

impl Looks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// True when this caller looked at this subject within the last minutes, and that is written down.
    fn is_known(&self, look: &(String, String)) -> bool {
        let now = self.clock.elapsed();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(look).is_some_and(|at| now.saturating_sub(*at) < limits::LOOK_AGAIN)
    }

    /// Keeps in mind that this caller looked at this subject now.
    fn note(&self, look: (String, String)) {
        let now = self.clock.elapsed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_sub(*at) < limits::LOOK_AGAIN);
        last.insert(look, now);
    }
}

/// The part of the path that names what it is done to: the file of a link, or else both ids, or the one.
fn subject(params: &Option<RawPathParams>) -> String {
    let value = |name: &str| params.as_ref()?.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let both = |one, other| Some(format!("{} {}", value(one)?, value(other)?));
    let text = value("file_name").or_else(|| both("id", "other_id")).or_else(|| both("workspace_id", "id"));
    let text = text.or_else(|| value("id")).or_else(|| value("upstream")).or_else(|| value("sink")).unwrap_or_default();
    text.chars().take(200).collect()
}
