//! Writes audit entries for routes that are marked accordingly in the list.
//!
//! Changes are recorded by the call that makes them, in one transaction, in a task that continues if the client
//! disconnects: the handler receives the [`AuditContext`] for that purpose. Reads are recorded after they are done and
//! before the response is sent. In addition, requests are recorded here that were refused or changed nothing.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use runlog_model::wire::admin::AuditEntry;
use runlog_store::audit::AuditContext;
use runlog_store::{Error, Store};
use tracing::error;

use crate::auth::recent_reads::Read;
use crate::auth::state::Auth;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::Argument;
use crate::http::request::{RequestId, client_address};

/// The action of an audited route, such as `read log`.
#[derive(Clone)]
pub(crate) struct Audited {
    pub(crate) auth: Auth,
    pub(crate) action: &'static str,
    pub(crate) mode: AuditMode,
}

/// Which requests of a route are recorded, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditMode {
    /// Every request, together with what it changes.
    Change,
    /// Everything that the request creates, starts or ends; the request itself has no entry.
    ChangeByPart,
    /// Every request, before its response is sent; it changes nothing.
    Read,
    /// The same, but repeated requests within some minutes are not recorded.
    ReadOnce,
}

/// The audit entry of a read request, without its status. It is in the extensions of the request, for handlers that
/// write it in one transaction with their work.
#[derive(Clone)]
pub(crate) struct AuditDraft(AuditEntry);

impl AuditDraft {
    /// The entry of a request with this status of the response.
    pub(crate) fn entry(self, status: StatusCode) -> AuditEntry {
        AuditEntry { status: status.as_u16(), ..self.0 }
    }
}

/// In the extensions of a response: its handler has written the entry, or there is nothing to record.
#[derive(Clone)]
pub(crate) struct AlreadyAudited;

/// The context of an audited change. It is available in handlers of audited routes that change something.
#[derive(Clone)]
pub(crate) struct AuditedChange {
    context: AuditContext,
    store: Store,
}

impl<S: Sync> FromRequestParts<S> for AuditedChange {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        // A route that changes something and is not listed as audited is a bug, and must not make a change without an
        // entry.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "this route is not listed as one that is written down")
        })
    }
}

impl Argument for AuditedChange {}

impl AuditedChange {
    /// The context of changes that no request asks for: its parts are recorded with this entry.
    pub(crate) fn without_request(store: Store, entry: AuditEntry) -> Self {
        Self { context: AuditContext::new(entry), store }
    }

    /// The archive for a change, which is recorded with this status.
    pub(crate) fn store(&self, status: StatusCode) -> Store {
        self.store.with_audit(self.context.with_status(status.as_u16()))
    }

    /// The archive for one of the changes of a request that has no entry of its own, such as `start run`.
    pub(crate) fn store_to(&self, action: &str, status: StatusCode) -> Store {
        self.store.with_audit(self.context.with_action(action).with_status(status.as_u16()))
    }

    /// Records that a part of this request was refused.
    pub(crate) async fn refused(&self, status: StatusCode, subject: String) -> ApiResult<()> {
        Ok(self.store.audit().record_context(&self.context.with_status(status.as_u16()).with_subject(subject)).await?)
    }

    /// The archive for a change whose subject is not only the one in the path.
    pub(crate) fn store_about(&self, status: StatusCode, subject: String) -> Store {
        self.store.with_audit(self.context.with_status(status.as_u16()).with_subject(subject))
    }
}

/// Handles a request and records it.
pub(crate) async fn audit_request(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let subject = subject(&RawPathParams::from_request_parts(&mut parts, &()).await.ok());
    let caller = parts.extensions.get::<Authenticated>().map(|caller| (caller.0.id.clone(), caller.0.name.clone()));
    // A link authorises its holder, whose identity is unknown.
    let (caller_id, caller_name) = caller.unwrap_or_else(|| ("-".to_owned(), "holder of a link".to_owned()));
    let entry = AuditEntry {
        at: audited.auth.now(),
        caller_id,
        caller_name,
        action: audited.action.to_owned(),
        subject,
        status: StatusCode::OK.as_u16(),
        address: client_address(&parts.extensions).map(|address| address.to_string()).unwrap_or_default(),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
    };
    let request = Request::from_parts(parts, body);
    match audited.mode {
        AuditMode::Read | AuditMode::ReadOnce => read(&audited, entry, request, next).await,
        AuditMode::Change | AuditMode::ChangeByPart => change(&audited, entry, request, next).await,
    }
}

/// Handles a changing request completely, whether or not its client waits.
async fn change(audited: &Audited, entry: AuditEntry, mut request: Request, next: Next) -> Response {
    let (context, store) = (AuditContext::new(entry.clone()), audited.auth.store().clone());
    request.extensions_mut().insert(AuditedChange { context: context.clone(), store: store.clone() });
    let has_entry = audited.mode == AuditMode::Change;
    let change = audited.auth.changes().run(async move {
        let response = next.run(request).await;
        let status = response.status();
        // If a request fails after its change was made and recorded, the status differs from the recorded one.
        let is_told = context.is_written() && status.is_success();
        if has_entry && !is_told {
            let entry = AuditEntry { status: status.as_u16(), ..entry };
            let id = entry.request_id.clone();
            if let Err(error) = store.audit().record(entry).await {
                error!(error = &error as &dyn std::error::Error, request.id = id, "cannot write an audit entry");
            }
        }
        response
    });
    change.await
}

/// Handles a read request. The response waits until its audit entry is written: no log is read without a trace.
async fn read(audited: &Audited, entry: AuditEntry, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(AuditDraft(entry.clone()));
    let mut response = next.run(request).await;
    if response.extensions_mut().remove::<AlreadyAudited>().is_some() {
        return response;
    }
    let is_success = response.status().is_success();
    let read = || Read { caller_id: entry.caller_id.clone(), action: audited.action, subject: entry.subject.clone() };
    let read = (audited.mode == AuditMode::ReadOnce && is_success).then(read);
    if read.as_ref().is_some_and(|read| audited.auth.recent_reads().contains(read)) {
        return response;
    }
    let entry = AuditEntry { status: response.status().as_u16(), ..entry };
    let id = entry.request_id.clone();
    match (audited.auth.store().audit().record(entry).await, read) {
        (Ok(()), Some(read)) => audited.auth.recent_reads().insert(read),
        (Ok(()), None) => {}
        (Err(error), _) if is_success => return not_recorded(error).into_response(),
        (Err(error), _) => {
            error!(error = &error as &dyn std::error::Error, request.id = id, "cannot write an audit entry");
        }
    }
    response
}

/// 503: the data is not returned, because the access could not be recorded.
fn not_recorded(error: Error) -> ApiError {
    let message = "the audit entry of this request could not be written; the request is rejected, try again";
    ApiError { cause: Some(Arc::new(error)), ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message) }
}

/// The subject of the request from its path: the file of a link, or else one or both IDs.
fn subject(params: &Option<RawPathParams>) -> String {
    let value = |name: &str| params.as_ref()?.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let both = |one, other| Some(format!("{} {}", value(one)?, value(other)?));
    let text = value("file_name").or_else(|| both("id", "other_id")).or_else(|| both("workspace_id", "id"));
    let text = text.or_else(|| value("id")).or_else(|| value("upstream")).or_else(|| value("sink"));
    let text = text.or_else(|| value("rule")).unwrap_or_default();
    text.chars().take(200).collect()
}
