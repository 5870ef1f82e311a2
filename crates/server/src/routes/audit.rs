//! `GET /runlog/v1/audit`: the audit log, newest first.

use axum::Json;
use axum::extract::State;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::wire::executions::ListPage;
use runlog_store::audit::AuditFilter;

use crate::app::App;
use crate::http::error::ApiResult;
use crate::http::parameters::{ListQuery, Params, RangeQuery};

/// Lists audit log entries, optionally of a time range, a `callerId` or a `subject`.
#[utoipa::path(
    get,
    path = "/runlog/v1/audit",
    tag = "administration",
    params(ListQuery, RangeQuery, ("callerId" = Option<String>, Query, description = "Only actions of this caller"), ("subject" = Option<String>, Query, description = "Only actions on this subject")),
    responses((status = 200, description = "Entries, newest first", body = ListPage<AuditEntry>))
)]
pub(crate) async fn list(State(app): State<App>, params: Params) -> ApiResult<Json<ListPage<AuditEntry>>> {
    let (limit, offset) = params.limit_and_offset()?;
    let text = |name| params.text(name).map(str::to_owned);
    let filter = AuditFilter {
        range: params.time_range()?,
        caller_id: text("callerId"),
        subject: text("subject"),
        limit,
        offset,
    };
    let (items, total) = app.store().audit().entries(&filter).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}
