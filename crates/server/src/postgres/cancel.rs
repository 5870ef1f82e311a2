//! Cancelling statements, which a client asks for on a connection of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// The sessions of this process, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: Mutex<HashMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: i32,
    /// Cancels the statement that is running.
    statement: CancellationToken,
}

/// A session in the list, until it is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    sessions: Arc<Sessions>,
    pub(super) process_id: i32,
    pub(super) secret: i32,
}

impl Sessions {
    /// Adds a session with random numbers.
    pub(super) fn register(self: &Arc<Self>, mut random: impl FnMut() -> i32) -> Registered {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let process_id = loop {
            let process_id = random() & i32::MAX;
            if process_id != 0 && !known.contains_key(&process_id) {
                break process_id;
            }
        };
        let secret = random();
        known.insert(process_id, Entry { secret, statement: CancellationToken::new() });
        Registered { sessions: Arc::clone(self), process_id, secret }
    }

    /// Cancels the statement that a session is running, if the secret is right.
    pub(super) fn cancel(&self, process_id: i32, secret: i32) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(&process_id)
            && bool::from(entry.secret.ct_eq(&secret))
        {
            entry.statement.cancel();
        }
    }

    /// Number of sessions.
    pub(super) fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Registered {
    /// Cancels the next statement. Earlier requests do not affect it.
    pub(super) fn statement(&self) -> CancellationToken {
        let statement = CancellationToken::new();
        let mut known = self.sessions.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(&self.process_id) {
            entry.statement = statement.clone();
        }
        statement
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_request_needs_the_secret_and_affects_only_the_running_statement() {
        let sessions = Arc::new(Sessions::default());
        let mut numbers = 1..;
        let session = sessions.register(|| numbers.next().unwrap());
        let first = session.statement();
        sessions.cancel(session.process_id, session.secret + 1);
        sessions.cancel(session.process_id + 1, session.secret);
        assert!(!first.is_cancelled());
        sessions.cancel(session.process_id, session.secret);
        assert!(first.is_cancelled());
        assert!(!session.statement().is_cancelled());
        assert_eq!(sessions.len(), 1);
        drop(session);
        assert_eq!(sessions.len(), 0);
    }
}
