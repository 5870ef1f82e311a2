//! The interface to the machine: the clock and randomness, which are injected everywhere else, the environment, and
//! temporary folders.

use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::TryRng;
use rand::rngs::SysRng;
use runlog_model::{Clock, Random, Timestamp};
use tempfile::TempDir;

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

/// A temporary folder for logs, accessible to this user only, whatever the umask is.
pub(crate) fn private_temporary_folder(prefix: &str) -> anyhow::Result<TempDir> {
    let private = std::fs::Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix(prefix).permissions(private).tempdir();
    made.with_context(|| format!("cannot make a folder in {}", std::env::temp_dir().display()))
}
