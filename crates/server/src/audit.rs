//! Writes down who did what: for routes that say so in the list, after each request that was let in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{Clock, Timestamp};
use runlog_store::Error;
use tracing::error;

use crate::app::App;
use crate::auth::{Authenticated, address};
use crate::error::ApiError;
use crate::limits;
use crate::request::RequestId;

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

/// What is to be written down of a request, but for its status: in the request's extensions, for a handler that writes
/// it in one transaction with what it does.
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

/// Handles a request and writes it down. The answer waits for that: nobody reads a log without leaving a trace. Where
/// it cannot be written down, what was read is not answered; what was changed is, for it is changed.
pub(crate) async fn write_down(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let subject = subject(&RawPathParams::from_request_parts(&mut parts, &()).await.ok());
    let caller = parts.extensions.get::<Authenticated>().map(|caller| (caller.0.id.clone(), caller.0.name.clone()));
    // A link carries its own right; who holds it is not known.
    let (caller_id, caller_name) = caller.unwrap_or_else(|| ("-".to_owned(), "holder of a link".to_owned()));
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let mut request = Request::from_parts(parts, body);
    let address = address(&request).map(|address| address.to_string()).unwrap_or_default();
    let (at, action, id) = (audited.app.now(), audited.action.to_owned(), request_id.clone());
    let entry = AuditEntry { at, caller_id, caller_name, action, subject, status: 0, address, request_id };
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
    let entry = AuditEntry { at: audited.app.now(), status: response.status().as_u16(), ..entry };
    match (audited.app.store().audit(entry).await, look) {
        (Ok(()), Some(look)) => audited.app.looks().note(look),
        (Ok(()), None) => {}
        (Err(error), _) if audited.is_reading && is_success => return unanswered(error).into_response(),
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
    last: Mutex<HashMap<(String, String), Timestamp>>,
}

impl Looks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// True when this caller looked at this subject within the last minutes, and that is written down.
    fn is_known(&self, look: &(String, String)) -> bool {
        let now = self.clock.now();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(look).is_some_and(|at| now.millis_since(*at) < limits::LOOK_AGAIN_MS)
    }

    /// Keeps in mind that this caller looked at this subject now.
    fn note(&self, look: (String, String)) {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.millis_since(*at) < limits::LOOK_AGAIN_MS);
        last.insert(look, now);
    }
}

/// The part of the path that names what it is done to: the file of a link, or else the id, or both ids.
fn subject(params: &Option<RawPathParams>) -> String {
    let value = |name: &str| params.as_ref()?.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let both = || Some(format!("{} {}", value("id")?, value("other_id")?));
    let text = value("file_name").or_else(both).or_else(|| value("id")).unwrap_or_default();
    text.chars().take(200).collect()
}
