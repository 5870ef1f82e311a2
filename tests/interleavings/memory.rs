//! Memory of batches: never more is reserved than there is, and all of it is released.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::future::{block_on, spawn, yield_now};

use crate::explore;
use crate::sync::Arc;

#[path = "../../crates/store/src/ingest/memory_budget.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole file: not all of it is needed here")]
mod memory_budget;

use memory_budget::{MemoryBudget, MemoryReservation};

const STEP_BYTES: usize = 10;
const BYTES_MAX: usize = 4 * STEP_BYTES;

/// What tasks use of the memory that they have reserved. Unit: bytes.
#[derive(Default)]
struct Used(AtomicUsize);

impl Used {
    fn add(&self, bytes: usize) {
        let used = self.0.fetch_add(bytes, Ordering::SeqCst) + bytes;
        assert!(used <= BYTES_MAX, "{used} bytes of {BYTES_MAX} are used");
    }

    fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// A batch that grows, is written in the background, and grows again.
async fn receive(mut reservation: MemoryReservation, used: Arc<Used>) {
    let wait_max = Duration::from_secs(5);
    if !reservation.try_grow(STEP_BYTES) && !reservation.grow(STEP_BYTES, wait_max).await {
        return;
    }
    used.add(STEP_BYTES);
    if reservation.grow(2 * STEP_BYTES + 1, wait_max).await {
        used.add(2 * STEP_BYTES);
        yield_now().await;
        used.remove(2 * STEP_BYTES);
        reservation.shrink(STEP_BYTES);
    }
    assert_eq!(reservation.bytes(), STEP_BYTES);
    let written = reservation.take();
    let writing = spawn({
        let used = Arc::clone(&used);
        async move {
            yield_now().await;
            used.remove(STEP_BYTES);
            drop(written);
        }
    });
    if reservation.grow(3 * STEP_BYTES, wait_max).await {
        used.add(3 * STEP_BYTES);
        yield_now().await;
        used.remove(3 * STEP_BYTES);
    }
    drop(reservation);
    writing.await.unwrap();
}

fn receive_together(gives_up: bool) {
    block_on(async move {
        let (budget, used) = (MemoryBudget::new(BYTES_MAX, STEP_BYTES), Arc::<Used>::default());
        let mut batches: Vec<_> = (0..3).map(|_| spawn(receive(budget.reservation(), Arc::clone(&used)))).collect();
        if gives_up {
            // It is given up before it uses anything, unless it has ended by then.
            let mut waiting = budget.reservation();
            let batch = spawn(async move {
                waiting.grow(BYTES_MAX, Duration::from_secs(5)).await;
            });
            yield_now().await;
            batch.abort();
            batches.push(batch);
        }
        for batch in batches {
            let _ = batch.await;
        }
        assert_eq!(budget.reserved_bytes(), 0, "all of it is released");
        assert!(budget.reservation().try_grow(BYTES_MAX));
        assert!(!budget.reservation().try_grow(BYTES_MAX + 1));
    });
}

#[test]
fn no_more_is_reserved_than_there_is_and_all_is_released() {
    explore(|| receive_together(false));
}

#[test]
fn a_batch_that_gives_up_while_it_waits_keeps_nothing() {
    explore(|| receive_together(true));
}
