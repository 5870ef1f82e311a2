//! The synchronization primitives of structures that are used concurrently.
//!
//! `tests/interleavings` compiles the files of these structures with primitives of the same names, which are controlled
//! by a scheduler that decides which task runs next.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use tokio::spawn;
pub(crate) use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

pub(crate) use crate::timeout::timeout_while_running;
