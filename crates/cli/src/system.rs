//! The interface to the machine: the clock and randomness, which are injected everywhere else.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;
use runlog_model::{Clock, Random, Timestamp};

/// The system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::clamped(jiff::Timestamp::now().as_millisecond())
    }

    fn elapsed(&self) -> Duration {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        BEGUN.get_or_init(Instant::now).elapsed()
    }
}

/// The operating system's generator of random bytes.
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // There is no safe way on without randomness: tokens would be guessable.
        SysRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
    }
}

/// A variable of the environment; none when it is not set or not text.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment by hand")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
