//! The lease of a run that was claimed, renewed for as long as it is worked on.

use std::sync::Arc;

use runlog_model::{Timestamp, millis};
use runlog_store::collection::ClaimedRun;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::context::CollectContext;

/// A lease that is renewed while this lives.
pub(super) struct RunLease {
    lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

impl RunLease {
    /// Renews the lease of a run, in a task of its own, so that no work on the run holds a renewal up.
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

    /// Ends when another collector has taken the run.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// Until when a lease holds that is taken or renewed now.
pub(super) fn lease_end(context: &CollectContext, now: Timestamp) -> Timestamp {
    now.plus_millis(millis(context.upstream.settings.lease))
}
