//! Pauses after errors that other requests to the upstream would also return.

use std::sync::{Mutex, PoisonError};

use runlog_client::ErrorKind;
use runlog_model::Timestamp;

use super::error::CollectError;
use crate::fetch::error::FetchError;

/// How long nothing is requested after the service has refused it for lack of a right, and after it was unavailable.
const REFUSED_PAUSE_MS: i64 = 900_000;
const UNAVAILABLE_PAUSE_MS: i64 = 60_000;

/// Until when nothing is requested. Default: no pause.
#[derive(Debug, Default)]
pub(super) struct Pause(Mutex<Option<Timestamp>>);

impl Pause {
    /// True while nothing is to be requested. A pause that ends later than any can was begun by a clock that was ahead,
    /// and is over.
    pub(super) fn is_on(&self, now: Timestamp) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| (1..=REFUSED_PAUSE_MS).contains(&until.millis_since(now)))
    }

    /// Begins a pause after an error that other requests would also return. False for any other error, which concerns
    /// the requested object or the archive.
    pub(super) fn begin_after(&self, error: &CollectError, now: Timestamp) -> bool {
        let Some(pause_ms) = pause_after(error) else { return false };
        self.begin(pause_ms, now);
        true
    }

    /// Begins after any error: a long pause, unless the service is unavailable for other requests as well.
    pub(super) fn begin_after_any(&self, error: &CollectError, now: Timestamp) {
        self.begin(pause_after(error).unwrap_or(REFUSED_PAUSE_MS), now);
    }

    /// Begins if the service has not accepted the credentials of the upstream, which are those of all requests.
    pub(super) fn begin_if_unauthorized(&self, error: &CollectError, now: Timestamp) {
        if let CollectError::Upstream(error) | CollectError::Fetch(FetchError::Upstream(error)) = error
            && error.kind() == ErrorKind::Unauthorized
        {
            self.begin(UNAVAILABLE_PAUSE_MS, now);
        }
    }

    fn begin(&self, pause_ms: i64, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now.plus_millis(pause_ms));
    }
}

/// True if the upstream has refused something for lack of a right.
pub(super) fn lacks_right(error: &CollectError) -> bool {
    matches!(error, CollectError::Upstream(error) if error.kind() == ErrorKind::Forbidden)
}

fn pause_after(error: &CollectError) -> Option<i64> {
    let CollectError::Upstream(error) = error else { return None };
    match error.kind() {
        ErrorKind::Forbidden => Some(REFUSED_PAUSE_MS),
        ErrorKind::Unauthorized | ErrorKind::Limited | ErrorKind::Unavailable => Some(UNAVAILABLE_PAUSE_MS),
        // A service without plans answers 404 to their list.
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Damaged
        | ErrorKind::Protocol
        | ErrorKind::Refused
        | ErrorKind::Storage => None,
    }
}
