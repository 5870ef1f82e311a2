//! `GET /runlog/v1/audit`: the audit log, newest first.

use axum::Json;
use axum::extract::State;
use runlog_model::TimeRange;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::wire::executions::ListPage;
use runlog_store::audit::AuditFilter;

use crate::app::App;
use crate::http::error::ApiResult;
use crate::http::parameter_groups::PageQuery;
use crate::http::parameters::{Query, query_parameters};

query_parameters! {
    /// Parameters of the audit log.
    pub(crate) struct AuditQuery {
        ..page: PageQuery,
        ..range: TimeRange,
        /// Only actions of this caller.
        caller_id: Option<String> = "callerId",
        /// Only actions on this subject.
        subject: Option<String> = "subject",
    }
}

/// Lists audit log entries, optionally of a time range, a `callerId` or a `subject`.
#[utoipa::path(
    get,
    path = "/runlog/v1/audit",
    tag = "administration",
    responses((status = 200, description = "Entries, newest first", body = ListPage<AuditEntry>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<ListPage<AuditEntry>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let AuditQuery { range, caller_id, subject, .. } = query;
    let filter = AuditFilter { range, caller_id, subject, limit, offset };
    let (items, total) = app.store().audit().entries(&filter).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}
