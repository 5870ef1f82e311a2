//! Memory for bodies that are read whole: what one may take, decoded, and what all of them may together.
//!
//! A body takes memory for its bytes while it comes, and for what it unfolds to once it is there. Whoever holds some of
//! either does not wait for more of it: several that did would wait for each other.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ApiResult};
use crate::limits;

/// The steps in which bodies take memory. Unit: bytes.
const STEP_BYTES: usize = 64 << 10;

/// The memory that there is for such bodies. Unit: [`STEP_BYTES`].
pub(crate) struct BodyMemory {
    read: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
    decoded_steps_max: usize,
}

/// What one body takes; given back when it is dropped.
pub(crate) struct HeldMemory {
    read: Share,
    decoded: Share,
    decoded_bytes_max: usize,
}

/// What a body takes of one kind of memory.
struct Share {
    free: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl BodyMemory {
    /// So many bytes for all bodies that are being read, and so many for what they unfold to; of these, one body may take
    /// all.
    pub(crate) fn new(read_bytes: usize, decoded_bytes: usize) -> Self {
        let steps = |bytes: usize| (bytes / STEP_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let free = |bytes: usize| Arc::new(Semaphore::new(steps(bytes)));
        Self { read: free(read_bytes), decoded: free(decoded_bytes), decoded_steps_max: steps(decoded_bytes) }
    }

    /// Begins a body, which has no memory yet.
    pub(crate) fn begin(&self) -> HeldMemory {
        let share = |free: &Arc<Semaphore>| Share { free: Arc::clone(free), permit: None, bytes: 0 };
        let decoded_bytes_max = self.decoded_steps_max.saturating_mul(STEP_BYTES);
        HeldMemory { read: share(&self.read), decoded: share(&self.decoded), decoded_bytes_max }
    }
}

impl HeldMemory {
    /// What a body may unfold to at most. Unit: bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.decoded_bytes_max
    }

    /// Takes so many bytes more of the body itself. 503: there is no memory for them.
    pub(crate) async fn read(&mut self, bytes: usize) -> ApiResult<()> {
        self.read.grow(bytes).await
    }

    /// Takes so many bytes more of what it unfolds to. 413: no body may take so much. 503: there is no memory for them.
    pub(crate) async fn take(&mut self, bytes: usize) -> ApiResult<()> {
        if self.decoded.bytes.saturating_add(bytes) > self.decoded_bytes_max {
            let message = format!(
                "read and decoded, the body takes more than {} bytes; send it in parts",
                self.decoded_bytes_max
            );
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        self.decoded.grow(bytes).await
    }
}

impl Share {
    async fn grow(&mut self, bytes: usize) -> ApiResult<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = self.bytes.div_ceil(STEP_BYTES).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let (free, missing) = (Arc::clone(&self.free), u32::try_from(missing).unwrap_or(u32::MAX));
        let more = match &self.permit {
            Some(_) => free.try_acquire_many_owned(missing).ok(),
            None => {
                let waiting = free.acquire_many_owned(missing);
                tokio::time::timeout(limits::BODY_MEMORY_WAIT, waiting).await.ok().and_then(Result::ok)
            }
        };
        let Some(more) = more else {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "more is being pushed than can be read at the moment; send it again",
            ));
        };
        match &mut self.permit {
            Some(own) => own.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_waits_for_another_and_none_takes_more_than_there_is() {
        let memory = BodyMemory::new(STEP_BYTES, 10 * STEP_BYTES);
        let (mut one, mut other) = (memory.begin(), memory.begin());
        one.take(8 * STEP_BYTES).await.unwrap();
        one.take(STEP_BYTES).await.unwrap();
        {
            let mut waiting = std::pin::pin!(other.take(3 * STEP_BYTES));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            drop(one);
            waiting.await.unwrap();
        }
        let refused = other.take(8 * STEP_BYTES).await.unwrap_err();
        assert_eq!(refused.status, 413);
        drop(other);
        memory.begin().take(10 * STEP_BYTES).await.unwrap();
    }

    #[tokio::test]
    async fn bodies_that_hold_memory_do_not_wait_for_each_other() {
        let memory = BodyMemory::new(10 * STEP_BYTES, 10 * STEP_BYTES);
        let (mut one, mut other) = (memory.begin(), memory.begin());
        for body in [&mut one, &mut other] {
            body.read(5 * STEP_BYTES).await.unwrap();
        }
        // Each is there, and one after the other has room for what it unfolds to.
        one.take(8 * STEP_BYTES).await.unwrap();
        assert_eq!(one.read(1).await.unwrap_err().status, 503, "it is not waited for");
        let mut waiting = std::pin::pin!(other.take(8 * STEP_BYTES));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(one);
        waiting.await.unwrap();
    }
}
