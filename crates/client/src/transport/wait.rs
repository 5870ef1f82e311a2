//! Waiting, injected so that tests need not wait.

use std::pin::Pin;
use std::time::Duration;

/// The source of delays of the client.
pub trait Wait: Send + Sync {
    /// Ends when so much time has passed.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Waits for real.
#[derive(Debug, Clone, Copy)]
pub struct TokioWait;

impl Wait for TokioWait {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(time))
    }
}
