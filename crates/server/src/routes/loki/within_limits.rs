//! The limits of a query: how many run at a time, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};

/// Maximum time of a query. Grafana and logcli wait longer than that by default.
pub(super) const QUERY_TIME_MAX: Duration = Duration::from_secs(60);

/// True if a query was cancelled: it has reached its time limit, or its client has disconnected. What is done for it on
/// other threads does not end with its future, and looks here before each record.
#[derive(Debug, Clone, Default)]
pub(super) struct QueryCancellation(Arc<AtomicBool>);

impl QueryCancellation {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Set when this is dropped.
    pub(super) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }
}

/// Sets [`QueryCancellation`] when it is dropped, with the future that owns it.
pub(super) struct CancelOnDrop(QueryCancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Computes on a thread for blocking work. A long computation looks whether it was given up.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce(&QueryCancellation) -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    let cancellation = QueryCancellation::default();
    let _on_drop = cancellation.on_drop();
    match tokio::task::spawn_blocking(move || work(&cancellation)).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the computation of a query has failed");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the query could not be computed"))
        }
    }
}

/// Waits for a turn, and then for a query; 504 when it takes too long.
pub(super) async fn within_limits<T>(app: &App, query: impl Future<Output = ApiResult<T>>) -> ApiResult<T> {
    let _permit = app.searches().acquire().await?;
    // On the heap: a query is many functions deep, and its state is large.
    match runlog_store::timeout_while_running(QUERY_TIME_MAX, Box::pin(query)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "the query took longer than {} s; use a shorter time range, a more specific selector, or fewer series",
                QUERY_TIME_MAX.as_secs()
            ),
        )),
    }
}
