//! `POST /runlog/v1/events`: what a Remote Engine logs, in its own JSON forms, of any number of runs.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::push::StoredEvents;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::ingest::body::read_whole;
use crate::ingest::decoded_size;
use crate::ingest::engine::group_by_run;
use crate::ingest::event_body::events;
use crate::ingest::intake::Sender;

/// Stores each event with its run, and starts and ends runs according to job management events.
#[utoipa::path(
    post,
    path = "/runlog/v1/events",
    tag = "push",
    request_body(content = serde_json::Value, description = "Events as JSON objects: one, one after another, or in arrays"),
    responses((status = 200, description = "Counts of stored and refused events", body = StoredEvents), (status = 415, description = "Unknown content encoding", body = ErrorBody))
)]
pub(crate) async fn push(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<StoredEvents>> {
    rights::publisher(app.store(), &caller).await?;
    let (body, mut memory) =
        read_whole(body, &headers, &app.settings().bounds, app.body_memory().reservation()).await?;
    memory.reserve_decoded(decoded_size::of_events(&body)).await?;
    let zone = &app.settings().event_zone;
    let sender = Sender { store: app.store(), metrics: app.metrics(), caller: &caller, change: &change };
    let outcome = group_by_run(events(&body)?, app.now(), zone, &mut memory).await?.store(&sender, &body).await?;
    let refused = outcome.refused;
    // Clients cannot fix lines that are not events: a shipper would send them forever.
    if refused.count > refused.lines && outcome.stored == 0 {
        let why = refused.why.unwrap_or_default();
        return Err(ApiError::invalid(format!("none of the {} events was stored: {why}", refused.count)));
    }
    Ok(Json(StoredEvents {
        stored: outcome.stored,
        begun: outcome.begun,
        ended: outcome.ended,
        refused: refused.count,
        why: refused.why,
        repaired: outcome.repaired,
        undated: outcome.undated,
    }))
}
