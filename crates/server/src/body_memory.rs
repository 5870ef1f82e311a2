//! Memory for bodies that are read whole: what one may take, unpacked and decoded, and what all of them may together.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ApiResult};
use crate::limits;

/// The steps in which bodies take memory. Unit: bytes.
const STEP_BYTES: usize = 64 << 10;

/// The memory that there is for such bodies.
pub(crate) struct BodyMemory {
    /// Unit: [`STEP_BYTES`].
    free: Arc<Semaphore>,
    steps_max: usize,
}

/// What one body takes; given back when it is dropped.
pub(crate) struct HeldMemory {
    free: Arc<Semaphore>,
    steps_max: usize,
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl BodyMemory {
    /// So many bytes for all bodies together, and at most all of them for one.
    pub(crate) fn new(bytes: usize) -> Self {
        let steps_max = (bytes / STEP_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(steps_max)), steps_max }
    }

    /// Begins a body, which has no memory yet.
    pub(crate) fn begin(&self) -> HeldMemory {
        HeldMemory { free: Arc::clone(&self.free), steps_max: self.steps_max, permit: None, bytes: 0 }
    }
}

impl HeldMemory {
    /// What a body may take at most. Unit: bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.steps_max.saturating_mul(STEP_BYTES)
    }

    /// Takes so many bytes more, and waits a while for them. 413: no body may take so much. 503: in vain.
    pub(crate) async fn take(&mut self, bytes: usize) -> ApiResult<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max() {
            let message =
                format!("read and decoded, the body takes more than {} bytes; send it in parts", self.bytes_max());
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = self.bytes.div_ceil(STEP_BYTES).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let waiting = Arc::clone(&self.free).acquire_many_owned(u32::try_from(missing).unwrap_or(u32::MAX));
        match tokio::time::timeout(limits::BODY_MEMORY_WAIT, waiting).await {
            Ok(Ok(permit)) => {
                match &mut self.permit {
                    Some(own) => own.merge(permit),
                    None => self.permit = Some(permit),
                }
                Ok(())
            }
            _ => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "more is being pushed than can be read at the moment; send it again",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_wait_for_each_other_and_none_takes_more_than_there_is() {
        let memory = BodyMemory::new(10 * STEP_BYTES);
        let (mut one, mut other) = (memory.begin(), memory.begin());
        one.take(8 * STEP_BYTES).await.unwrap();
        other.take(1).await.unwrap();
        other.take(STEP_BYTES - 1).await.unwrap();
        {
            let mut waiting = std::pin::pin!(other.take(2 * STEP_BYTES));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            drop(one);
            waiting.await.unwrap();
        }
        let refused = other.take(8 * STEP_BYTES).await.unwrap_err();
        assert_eq!(refused.status, 413);
        drop(other);
        memory.begin().take(10 * STEP_BYTES).await.unwrap();
    }
}
