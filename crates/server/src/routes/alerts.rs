//! `/runlog/v1/alerts`: the rules of alerts, what they reported, mutes, and previews.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::alerts::{AlertBody, AlertPreviewBody, AlertRuleBody, AlertState, NewAlertMute};
use runlog_model::wire::executions::ListPage;
use runlog_store::alerts::AlertFilter;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameter_groups::PageQuery;
use crate::http::parameter_types::{NumberOr, words};
use crate::http::parameters::{Query, query_parameters};
use crate::limits;

query_parameters! {
    /// Parameters of the history of alerts.
    pub(crate) struct HistoryQuery {
        ..page: PageQuery,
        /// Only alerts of this rule.
        rule: Option<String> = "rule",
        /// Only alerts in this state.
        state: Option<WantedState> = "state",
    }
}

query_parameters! {
    /// Parameters of a preview.
    pub(crate) struct PreviewQuery {
        /// How many days back to search.
        days: NumberOr<1, { limits::ALERT_PREVIEW_DAYS_MAX }, 2> = "days",
    }
}

words! {
    /// The state of alerts.
    pub(crate) enum WantedState {
        /// Those that will be sent, or sent again.
        Waiting = "waiting",
        /// Those that were delivered.
        Delivered = "delivered",
        /// Those that were not sent, because their rule or problem was muted.
        Muted = "muted",
        /// Those that were given up.
        Refused = "refused",
        /// Those that were over at the end of a maintenance window, or came and went too often.
        Dropped = "dropped",
    }
}

/// `GET /runlog/v1/alerts`: lists the alert rules with their state.
#[utoipa::path(
    get,
    path = "/runlog/v1/alerts",
    tag = "administration",
    responses((status = 200, description = "The rules, by name", body = Vec<AlertRuleBody>))
)]
pub(crate) async fn rules(State(app): State<App>) -> ApiResult<Json<Vec<AlertRuleBody>>> {
    Ok(Json(app.store().alerts().rules().await?))
}

/// `GET /runlog/v1/alerts/history`: lists the alerts of the last 90 days.
#[utoipa::path(
    get,
    path = "/runlog/v1/alerts/history",
    tag = "administration",
    responses((status = 200, description = "The alerts, newest first, one for each destination", body = ListPage<AlertBody>))
)]
pub(crate) async fn history(
    State(app): State<App>,
    Query(query): Query<HistoryQuery>,
) -> ApiResult<Json<ListPage<AlertBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let state = query.state.map(|state| match state {
        WantedState::Waiting => AlertState::Waiting,
        WantedState::Delivered => AlertState::Delivered,
        WantedState::Muted => AlertState::Muted,
        WantedState::Refused => AlertState::Refused,
        WantedState::Dropped => AlertState::Dropped,
    });
    let filter = AlertFilter { rule: query.rule, state, limit, offset };
    let (items, total) = app.store().alerts().history(&filter).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `GET /runlog/v1/alerts/preview`: searches for what the rules in the settings of this service would have reported of
/// the last days; nothing is recorded or sent.
#[utoipa::path(
    get,
    path = "/runlog/v1/alerts/preview",
    tag = "administration",
    responses((status = 200, description = "The rules in the settings of this service", body = Vec<AlertPreviewBody>), (status = 501, description = "This service has no settings file with alerts", body = ErrorBody))
)]
pub(crate) async fn preview(
    State(app): State<App>,
    Query(query): Query<PreviewQuery>,
) -> ApiResult<Json<Vec<AlertPreviewBody>>> {
    let Some(preview) = &app.settings().alert_preview else {
        let message = "this service has no alert rules: start it with --settings and a file that has [[alert]]";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
    };
    let _permit = app.searches().acquire().await?;
    let days = i64::try_from(query.days.0).unwrap_or(1);
    let since = app.now().plus_millis(-days * runlog_store::limits::DAY_MS);
    match tokio::time::timeout(limits::ALERT_PREVIEW_TIME_MAX, preview.since(since)).await {
        Ok(Ok(previews)) => Ok(Json(previews)),
        Ok(Err(reason)) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
        Err(_) => {
            let message = "the preview took too long: search fewer days";
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

/// `PUT /runlog/v1/alerts/{rule}/mute`: mutes a rule: meanwhile, its alerts are recorded but never sent.
#[utoipa::path(
    put,
    path = "/runlog/v1/alerts/{rule}/mute",
    tag = "administration",
    params(("rule" = String, Path, description = "Name of the rule")),
    request_body(content = NewAlertMute),
    responses((status = 204, description = "Muted"), (status = 404, description = "No such rule", body = ErrorBody))
)]
pub(crate) async fn mute(
    Authenticated(caller): Authenticated,
    Path(rule): Path<String>,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewAlertMute>,
) -> ApiResult<StatusCode> {
    let until = new.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let store = change.store_about(StatusCode::NO_CONTENT, format!("{rule}{until}"));
    store.alerts().set_mute(&rule, Some(&new), &caller.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /runlog/v1/alerts/{rule}/mute`: ends the mute of a rule.
#[utoipa::path(
    delete,
    path = "/runlog/v1/alerts/{rule}/mute",
    tag = "administration",
    params(("rule" = String, Path, description = "Name of the rule")),
    responses((status = 204, description = "It sends again"), (status = 404, description = "No such rule", body = ErrorBody))
)]
pub(crate) async fn unmute(
    Authenticated(caller): Authenticated,
    Path(rule): Path<String>,
    change: AuditedChange,
) -> ApiResult<StatusCode> {
    let store = change.store_about(StatusCode::NO_CONTENT, rule.clone());
    store.alerts().set_mute(&rule, None, &caller.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
