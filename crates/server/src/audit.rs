//! Writes down who did what: for routes that say so in the list, after each request that was let in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{Clock, Timestamp};
use runlog_store::UnwrittenPage;
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
}

/// A page that is written down together with who asked for it; a handler puts it into the extensions of its answer.
#[derive(Clone)]
pub(crate) struct Unwritten(Arc<Mutex<Option<UnwrittenPage>>>);

impl From<UnwrittenPage> for Unwritten {
    fn from(page: UnwrittenPage) -> Self {
        Self(Arc::new(Mutex::new(Some(page))))
    }
}

/// Handles a request and writes it down. The answer waits for that: nobody reads a log without leaving a trace.
pub(crate) async fn write_down(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let subject = subject(&RawPathParams::from_request_parts(&mut parts, &()).await.ok());
    let caller = parts.extensions.get::<Authenticated>().map(|caller| (caller.0.id.clone(), caller.0.name.clone()));
    // A link carries its own right; who holds it is not known.
    let (caller_id, caller_name) = caller.unwrap_or_else(|| ("-".to_owned(), "holder of a link".to_owned()));
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let request = Request::from_parts(parts, body);
    let address = address(&request).map(|address| address.to_string()).unwrap_or_default();
    let mut response = next.run(request).await;
    if audited.is_once && response.status().is_success() && !audited.app.looks().is_new(&caller_id, &subject) {
        return response;
    }
    let (at, status, action) = (audited.app.now(), response.status().as_u16(), audited.action.to_owned());
    let id = request_id.clone();
    let entry = AuditEntry { at, caller_id, caller_name, action, subject, status, address, request_id };
    let unwritten = response.extensions_mut().remove::<Unwritten>();
    let unwritten = unwritten.and_then(|page| page.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    let store = audited.app.store();
    let written = match unwritten {
        None => store.audit(entry).await,
        Some(page) => match store.write_page(page, Some(entry)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                response = ApiError::from(error.clone()).into_response();
                Err(error)
            }
        },
    };
    if let Err(error) = written {
        error!(error = &error as &dyn std::error::Error, request.id = id, "an audit entry was not written");
    }
    response
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

    /// True when this caller has not looked at this subject within the last minutes, until now.
    fn is_new(&self, caller: &str, subject: &str) -> bool {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (caller.to_owned(), subject.to_owned());
        if last.get(&key).is_some_and(|at| now.millis_since(*at) < limits::LOOK_AGAIN_MS) {
            return false;
        }
        last.retain(|_, at| now.millis_since(*at) < limits::LOOK_AGAIN_MS);
        last.insert(key, now);
        true
    }
}

/// The part of the path that names what it is done to: the file of a link, or else the id, or both ids.
fn subject(params: &Option<RawPathParams>) -> String {
    let value = |name: &str| params.as_ref()?.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let both = || Some(format!("{} {}", value("id")?, value("other_id")?));
    let text = value("file_name").or_else(both).or_else(|| value("id")).unwrap_or_default();
    text.chars().take(200).collect()
}
