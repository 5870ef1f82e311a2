//! The audit logs of tenants, which upstreams keep of their users: at the vendor's path, and searched.
//!
//! They belong to no workspace: only administrators and service accounts with the vendor's permission read them.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::tenant_audit_logs::{
    PAGE_FIRST, PAGE_LAST, PAGE_NUMBER, PAGE_TOTAL_ELEMENTS, TOTAL_ELEMENTS, TOTAL_PAGES, TenantAuditLogBody,
    VendorAuditLog,
};
use runlog_model::{LogTime, LogZone, TimeRange, Timestamp, tenant_audit_log};
use runlog_store::tenant_audit_logs::{StoredTenantAuditLog, TenantAuditFilter};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::rights::{self, READ_TENANT_AUDIT_LOGS};
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_groups::PageQuery;
use crate::http::parameter_types::{NumberOr, TimeOrMillis};
use crate::http::parameters::{ParameterValue, Query, query_parameters};
use crate::limits;

/// A time in ISO 8601; without a zone, it is UTC.
pub(crate) struct IsoTime(Timestamp);

impl ParameterValue for IsoTime {
    fn parse(text: &str) -> Result<Self, String> {
        // A plus sign that was not encoded arrives as a space.
        let zoned = <Timestamp as ParameterValue>::parse(text);
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let read = || LogTime::read(&Value::from(text), &LogZone::default()).filter(|_| !is_number).map(|at| at.time);
        zoned.or_else(|error| read().ok_or(error)).map(Self)
    }

    fn schema() -> RefOr<Schema> {
        <Timestamp as ParameterValue>::schema()
    }
}

query_parameters! {
    /// Parameters of the audit logs of the tenant.
    pub(crate) struct VendorQuery {
        /// Earliest time, ISO 8601; must not be in the future.
        from_date: Option<IsoTime> = "fromDate",
        /// Latest time, ISO 8601; a time in the future stands for now.
        to_date: Option<IsoTime> = "toDate",
        /// ID of an entry, a UUID: only it, what has the same time, and later entries; ignored if `fromDate` is given.
        /// An unknown ID finds nothing.
        from_id: Option<String> = "fromId",
        /// Number of the page, starting at 1.
        page: NumberOr<1, { limits::AUDIT_LOG_PAGES_MAX }, 1> = "page",
        /// Number of entries per page.
        size: NumberOr<1, { limits::AUDIT_LOG_PAGE_MAX }, { limits::AUDIT_LOG_PAGE_DEFAULT }> = "size",
    }
}

/// `GET /security/audit/logs`: lists the audit logs of the tenants that were collected, newest first, as their services
/// wrote them. Needs the permission `AUDIT_LOGS_VIEW`; administrators have it.
#[utoipa::path(
    get,
    path = "/security/audit/logs",
    tag = "tenant audit logs",
    responses((
        status = 200,
        description = "A page of entries, newest first, unchanged",
        body = Vec<VendorAuditLog>,
        headers(
            ("page-first" = bool, description = "Whether this is the first page"),
            ("page-last" = bool, description = "Whether this is the last page"),
            ("page-number" = u64, description = "Number of this page, starting at 1"),
            ("page-total-elements" = u64, description = "Number of entries on this page"),
            ("total-elements" = u64, description = "Number of entries on all pages"),
            ("total-pages" = u64, description = "Number of pages"),
        ),
    ))
)]
pub(crate) async fn vendor_list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<VendorQuery>,
) -> ApiResult<Response> {
    rights::permission(&caller, READ_TENANT_AUDIT_LOGS)?;
    let now = app.now();
    let VendorQuery { from_date, to_date, from_id, page, size } = query;
    let (from, to) = (from_date.map(|from| from.0), to_date.map(|to| to.0));
    if let Some(from) = from.filter(|from| *from > now) {
        return Err(ApiError::invalid(format!("fromDate {from} is in the future")));
    }
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(ApiError::invalid(format!("fromDate {from} is later than toDate {to}")));
    }
    let start = match (from, from_id) {
        (_, Some(id)) if uuid::Uuid::try_parse(&id).is_err() => {
            return Err(ApiError::invalid("fromId: must be the ID of an entry, a UUID"));
        }
        (None, Some(id)) => match app.store().tenant_audit_logs().time_of(&id).await? {
            None => return Ok(page_of(&[], 0, page.0, size.0)),
            found => found,
        },
        (from, _) => from,
    };
    let filter = TenantAuditFilter {
        range: TimeRange { start, end: Some(to.map_or(now, |to| to.min(now))) },
        limit: size.0,
        offset: (page.0 - 1).saturating_mul(size.0),
        ..TenantAuditFilter::default()
    };
    let (entries, total) = app.store().tenant_audit_logs().list(&filter).await?;
    Ok(page_of(&entries, total, page.0, size.0))
}

/// A page of entries to the letter, with its headers.
fn page_of(entries: &[StoredTenantAuditLog], total: u64, page: u64, size: u64) -> Response {
    let bodies: Vec<&str> = entries.iter().map(|entry| entry.body.get()).collect();
    let pages = total.div_ceil(size);
    let headers = [
        (PAGE_FIRST, (page == 1).to_string()),
        (PAGE_LAST, (page >= pages).to_string()),
        (PAGE_NUMBER, page.to_string()),
        (PAGE_TOTAL_ELEMENTS, entries.len().to_string()),
        (TOTAL_ELEMENTS, total.to_string()),
        (TOTAL_PAGES, pages.to_string()),
        (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff".to_owned()),
    ];
    (headers, format!("[{}]", bodies.join(","))).into_response()
}

query_parameters! {
    /// Parameters of a search in the audit logs of tenants.
    pub(crate) struct TenantAuditQuery {
        ..page: PageQuery,
        /// Earliest time, inclusive; RFC 3339 or epoch milliseconds.
        from: Option<TimeOrMillis> = "from",
        /// Latest time, inclusive.
        to: Option<TimeOrMillis> = "to",
        /// Only entries that contain this text, as they are written in JSON; the case of ASCII letters is ignored.
        text: Option<String> = "q",
        /// Only entries of this user, by name, mail address or technical ID; the case of ASCII letters is ignored.
        user: Option<String> = "user",
        /// Only entries of this application, such as `TMC`.
        application_id: Option<String> = "applicationId",
        /// Only entries of this category.
        event_category: Option<String> = "eventCategory",
        /// Only entries of this type.
        event_type: Option<String> = "eventType",
        /// Only entries of this operation.
        event_operation: Option<String> = "eventOperation",
        /// Only entries of this upstream.
        upstream: Option<String> = "upstream",
    }
}

/// `GET /runlog/v1/tenant-audit-logs`: searches the audit logs of tenants, newest first. Needs the permission
/// `AUDIT_LOGS_VIEW`; administrators have it.
#[utoipa::path(
    get,
    path = "/runlog/v1/tenant-audit-logs",
    tag = "tenant audit logs",
    responses(
        (status = 200, description = "Entries, newest first", body = ListPage<TenantAuditLogBody>),
        (status = 403, description = "The caller lacks the permission", body = ErrorBody),
    )
)]
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<TenantAuditQuery>,
) -> ApiResult<Json<ListPage<TenantAuditLogBody>>> {
    rights::permission(&caller, READ_TENANT_AUDIT_LOGS)?;
    let (limit, offset) = query.page.limit_and_offset();
    let (start, end) = (query.from.map(|from| from.0), query.to.map(|to| to.0));
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(ApiError::invalid(format!("from {start} is later than to {end}")));
    }
    let filter = TenantAuditFilter {
        range: TimeRange { start, end },
        upstream: query.upstream,
        user: query.user,
        application_id: query.application_id,
        event_category: query.event_category,
        event_type: query.event_type,
        event_operation: query.event_operation,
        text: query.text,
        limit,
        offset,
    };
    let (entries, total) = app.store().tenant_audit_logs().list(&filter).await?;
    let items = entries.into_iter().map(body_of).collect();
    Ok(Json(ListPage { items, limit, offset, total }))
}

fn body_of(stored: StoredTenantAuditLog) -> TenantAuditLogBody {
    // An entry that does not decode must not make the others of its page unreadable.
    let entry = tenant_audit_log::values_of(&stored.body).unwrap_or_default();
    let fields = stored.fields;
    TenantAuditLogBody {
        log_id: stored.id,
        time: stored.time,
        upstream: stored.upstream,
        stored_at: stored.stored_at,
        application_id: fields.application_id,
        event_category: fields.event_category,
        event_type: fields.event_type,
        event_operation: fields.event_operation,
        user_id: fields.user_id,
        username: fields.username,
        email: fields.email,
        client_ip: fields.client_ip,
        method: fields.method,
        url: fields.url,
        status: fields.status,
        entry,
    }
}
