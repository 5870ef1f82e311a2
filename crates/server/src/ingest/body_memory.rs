//! Limits the memory for pushed bodies, of each body and of all together.
//!
//! A body reserves memory for its bytes and buffers while it is received, and for its decoded form afterwards. A body
//! that holds memory of one kind does not wait for more of it: several that did would wait for each other.

use axum::http::StatusCode;
use runlog_store::MemoryBudget;

use crate::http::error::{ApiError, ApiResult};
use crate::limits;

/// The granularity of reservations. Unit: bytes.
const STEP_BYTES: usize = 64 << 10;

/// The memory for pushed bodies.
pub(crate) struct BodyMemory {
    read: MemoryBudget,
    decoded: MemoryBudget,
    /// Maximum decoded size of one body that is read completely. Unit: bytes.
    whole_bytes_max: usize,
}

/// The reservation of one body, which is released when it is dropped.
pub(crate) struct MemoryReservation {
    read: Share,
    decoded: Share,
}

/// The reservation of one kind of memory.
struct Share {
    reservation: runlog_store::MemoryReservation,
    /// The memory that the body was granted so far. Unit: bytes.
    bytes: usize,
    /// The total of this kind of memory. Unit: bytes.
    bytes_max: usize,
}

impl BodyMemory {
    /// Creates the memory with a limit for all bodies that are being read, and one for their decoded forms, of which
    /// one body that is read completely may take `whole_bytes_max`.
    pub(crate) fn new(read_bytes: usize, decoded_bytes: usize, whole_bytes_max: usize) -> Self {
        let [read, decoded] = [read_bytes, decoded_bytes].map(|bytes| MemoryBudget::new(bytes, STEP_BYTES));
        let whole_bytes_max = whole_bytes_max.min(decoded.bytes());
        Self { read, decoded, whole_bytes_max }
    }

    /// The empty reservation of a body that is read completely.
    pub(crate) fn reservation(&self) -> MemoryReservation {
        self.reservation_up_to(self.whole_bytes_max)
    }

    /// The empty reservation of a body that is read line by line: one line may take all memory.
    pub(crate) fn reservation_for_lines(&self) -> MemoryReservation {
        self.reservation_up_to(self.decoded.bytes())
    }

    fn reservation_up_to(&self, decoded_bytes_max: usize) -> MemoryReservation {
        let share = |memory: &MemoryBudget, bytes_max| Share { reservation: memory.reservation(), bytes: 0, bytes_max };
        MemoryReservation {
            read: share(&self.read, self.read.bytes()),
            decoded: share(&self.decoded, decoded_bytes_max),
        }
    }

    /// The total of both kinds of memory. Unit: bytes.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.read.bytes(), self.decoded.bytes())
    }

    /// The reserved memory, for encoded and decoded bodies. Unit: bytes.
    pub(crate) fn held_bytes(&self) -> (usize, usize) {
        (self.read.reserved_bytes(), self.decoded.reserved_bytes())
    }
}

impl MemoryReservation {
    /// Maximum decoded size of a body. Unit: bytes.
    pub(crate) fn decoded_bytes_max(&self) -> usize {
        self.decoded.bytes_max
    }

    /// Reserves further bytes for the encoded body. 413 if no body may take so much; 503 if there is no memory for it.
    pub(crate) async fn reserve_read(&mut self, bytes: usize) -> ApiResult<()> {
        self.read.grow(bytes, "with the buffers for reading it").await
    }

    /// Memory reserved for the encoded body. Unit: bytes.
    #[cfg(test)]
    pub(crate) fn read_bytes(&self) -> usize {
        self.read.bytes
    }

    /// Releases this number of bytes of the encoded body.
    pub(crate) fn release_read(&mut self, bytes: usize) {
        self.read.shrink(bytes);
    }

    /// Reserves further bytes for the decoded body. 413 if no body may take so much; 503 if there is no memory for it.
    pub(crate) async fn reserve_decoded(&mut self, bytes: usize) -> ApiResult<()> {
        self.decoded.grow(bytes, "read and decoded").await
    }

    /// Releases the memory of the decoded body.
    pub(crate) fn release_decoded(&mut self) {
        self.decoded.shrink(usize::MAX);
    }
}

impl Share {
    async fn grow(&mut self, bytes: usize, what: &str) -> ApiResult<()> {
        let wanted = self.bytes.saturating_add(bytes);
        if wanted > self.bytes_max {
            let message =
                format!("{what}, the body takes more than {} bytes; split it into several requests", self.bytes_max);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        self.bytes = wanted;
        let is_reserved = match self.reservation.bytes() {
            0 => self.reservation.grow(self.bytes, limits::BODY_MEMORY_WAIT).await,
            _ => self.reservation.try_grow(self.bytes),
        };
        match is_reserved {
            true => Ok(()),
            false => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "more is being pushed than can be read at the moment; send it again",
            )),
        }
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.reservation.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_wait_for_memory_and_never_exceed_it() {
        let memory = BodyMemory::new(STEP_BYTES, 10 * STEP_BYTES, usize::MAX);
        let (mut one, mut other) = (memory.reservation(), memory.reservation());
        one.reserve_decoded(8 * STEP_BYTES).await.unwrap();
        one.reserve_decoded(STEP_BYTES).await.unwrap();
        {
            let mut waiting = std::pin::pin!(other.reserve_decoded(3 * STEP_BYTES));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            drop(one);
            waiting.await.unwrap();
        }
        let refused = other.reserve_decoded(8 * STEP_BYTES).await.unwrap_err();
        assert_eq!(refused.status, 413);
        drop(other);
        memory.reservation().reserve_decoded(10 * STEP_BYTES).await.unwrap();
    }

    #[tokio::test]
    async fn bodies_that_hold_memory_do_not_wait_for_each_other() {
        let memory = BodyMemory::new(10 * STEP_BYTES, 10 * STEP_BYTES, usize::MAX);
        let (mut one, mut other) = (memory.reservation(), memory.reservation());
        for body in [&mut one, &mut other] {
            body.reserve_read(5 * STEP_BYTES).await.unwrap();
        }
        // All are received, and get memory for their decoded form one after the other.
        one.reserve_decoded(8 * STEP_BYTES).await.unwrap();
        assert_eq!(one.reserve_read(1).await.unwrap_err().status, 503, "it is not waited for");
        let mut waiting = std::pin::pin!(other.reserve_decoded(8 * STEP_BYTES));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(one);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn released_memory_is_available_to_others() {
        let memory = BodyMemory::new(10 * STEP_BYTES, 10 * STEP_BYTES, usize::MAX);
        let (mut one, mut other) = (memory.reservation(), memory.reservation());
        one.reserve_read(10 * STEP_BYTES).await.unwrap();
        one.reserve_decoded(3 * STEP_BYTES).await.unwrap();
        assert_eq!(memory.held_bytes(), (10 * STEP_BYTES, 3 * STEP_BYTES));
        one.release_read(8 * STEP_BYTES + 1);
        one.release_decoded();
        assert_eq!(memory.held_bytes(), (2 * STEP_BYTES, 0));
        other.reserve_read(8 * STEP_BYTES).await.unwrap();
        assert_eq!(other.reserve_read(3 * STEP_BYTES).await.unwrap_err().status, 413, "no body may take so much");
        one.release_read(usize::MAX);
        one.reserve_read(STEP_BYTES).await.unwrap();
        drop((one, other));
        assert_eq!(memory.held_bytes(), (0, 0));
    }
}
