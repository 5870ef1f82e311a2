//! The limits of a query: how many run at a time, and for how long.

use std::time::Duration;

use axum::http::StatusCode;

use crate::app::App;
use crate::http::error::ApiError;
use crate::routes::loki::error::{LokiError, LokiResult};

/// Maximum time of a query. Grafana and logcli wait longer than that by default.
pub(super) const QUERY_TIME_MAX: Duration = Duration::from_secs(60);

/// Waits for a turn, and then for a query; 504 when it takes too long.
pub(super) async fn within_limits<T>(app: &App, query: impl Future<Output = LokiResult<T>>) -> LokiResult<T> {
    let _permit = app.searches().acquire().await?;
    // On the heap: a query is many functions deep, and its state is large.
    match runlog_store::timeout_while_running(QUERY_TIME_MAX, Box::pin(query)).await {
        Ok(result) => result,
        Err(_) => Err(LokiError(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "the query took longer than {} s; use a shorter time range, a more specific selector, or fewer series",
                QUERY_TIME_MAX.as_secs()
            ),
        ))),
    }
}
