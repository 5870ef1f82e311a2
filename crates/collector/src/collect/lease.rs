//! The lease of a claimed run, which is renewed while the run is processed.

use std::sync::Arc;

use runlog_model::{Timestamp, millis};
use runlog_store::collection::ClaimedRun;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::context::CollectContext;

/// A lease that is renewed until this value is dropped.
pub(super) struct RunLease {
    lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

impl RunLease {
    /// Renews the lease in a separate task, so that processing the run cannot delay it.
    pub(super) fn hold(context: &Arc<CollectContext>, claimed: &ClaimedRun) -> Self {
        let (context, claimed, lost) = (Arc::clone(context), claimed.clone(), CancellationToken::new());
        let is_lost = lost.clone();
        let renewing = async move {
            let CollectContext { archive, upstream, .. } = &*context;
            loop {
                upstream.client.sleep(upstream.settings.lease / 3).await;
                let until = lease_end(&context, upstream.client.clock().now());
                match archive.collection.renew_lease(&upstream.name, &claimed, until).await {
                    Ok(true) => {}
                    Ok(false) => break is_lost.cancel(),
                    Err(error) => debug!(%error, "cannot renew a lease"),
                }
            }
        };
        Self { lost, _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)) }
    }

    /// Returns when another collector has taken the run.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// The expiry of a lease that is taken or renewed now.
pub(super) fn lease_end(context: &CollectContext, now: Timestamp) -> Timestamp {
    now.plus_millis(millis(context.upstream.settings.lease))
}
