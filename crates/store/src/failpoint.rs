//! Failpoints: places at which tests abort the process or make it panic, for example between writing an object and its
//! row.
//!
//! Failpoints exist only with the feature `failpoints`, which is enabled by tests. The environment variable
//! `FAILPOINTS` then lists the active failpoints as `NAME=ACTION`, separated by `;`. `abort:N` aborts the process, as a
//! power failure would, after the failpoint has been passed N times; `panic:N` panics the first N times.

#[cfg(feature = "failpoints")]
use std::{
    collections::HashMap,
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
};

/// Reads the active failpoints from the environment variable `FAILPOINTS`.
///
/// # Panics
///
/// Panics if the variable cannot be parsed, because a test without its failpoint would prove nothing.
pub(crate) fn set_up() {
    #[cfg(feature = "failpoints")]
    actions();
}

/// Aborts the process or panics if this failpoint is active.
#[inline]
pub fn reach(place: &str) {
    #[cfg(feature = "failpoints")]
    if let Some(failpoint) = actions().get(place) {
        failpoint.act(place);
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = place;
}

/// An active failpoint.
#[cfg(feature = "failpoints")]
#[derive(Debug)]
struct Failpoint {
    action: Action,
    times_reached: AtomicU64,
}

#[cfg(feature = "failpoints")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    AbortAfter(u64),
    PanicTimes(u64),
}

#[cfg(feature = "failpoints")]
impl Failpoint {
    fn act(&self, place: &str) {
        let times_before = self.times_reached.fetch_add(1, Ordering::Relaxed);
        match self.action {
            Action::AbortAfter(times) if times_before >= times => std::process::abort(),
            Action::PanicTimes(times) if times_before < times => panic!("failpoint {place}"),
            Action::AbortAfter(_) | Action::PanicTimes(_) => {}
        }
    }
}

#[cfg(feature = "failpoints")]
#[allow(clippy::disallowed_methods, reason = "tests set it, and nobody hands it through the program")]
fn actions() -> &'static HashMap<String, Failpoint> {
    static ACTIONS: OnceLock<HashMap<String, Failpoint>> = OnceLock::new();
    ACTIONS.get_or_init(|| {
        let text = std::env::var("FAILPOINTS").unwrap_or_default();
        text.split(';').filter(|one| !one.is_empty()).map(|one| parse(one).unwrap_or_else(|| unreadable(one))).collect()
    })
}

#[cfg(feature = "failpoints")]
fn parse(text: &str) -> Option<(String, Failpoint)> {
    let (place, action) = text.split_once('=')?;
    let (name, times) = action.split_once(':')?;
    let times = times.parse().ok()?;
    let action = match name {
        "abort" => Action::AbortAfter(times),
        "panic" => Action::PanicTimes(times),
        _ => return None,
    };
    Some((place.to_owned(), Failpoint { action, times_reached: AtomicU64::new(0) }))
}

#[cfg(feature = "failpoints")]
fn unreadable(text: &str) -> ! {
    panic!("FAILPOINTS: cannot read {text:?}; write NAME=abort:N or NAME=panic:N")
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_and_nothing_else_is_taken_for_one() {
        assert_eq!(parse("seal-before-rows=abort:4").unwrap().1.action, Action::AbortAfter(4));
        assert_eq!(parse("job-sealing=panic:2").unwrap().1.action, Action::PanicTimes(2));
        for text in ["job-sealing", "job-sealing=panic", "job-sealing=return:1", "job-sealing=abort:x"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_place_panics_as_often_as_is_said() {
        let (place, failpoint) = parse("here=panic:2").unwrap();
        let panics = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| failpoint.act(&place))).is_err();
        assert_eq!([panics(), panics(), panics()], [true, true, false]);
    }
}
