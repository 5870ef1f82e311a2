//! Places at which tests end the process: between an object and its row, and the like.
//!
//! Without the feature `failpoints`, which only tests switch on, there is nothing here.

/// Reads from the environment variable `FAILPOINTS` where the process is to end.
pub(crate) fn set_up() {
    #[cfg(feature = "failpoints")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // The scenario lasts as long as the process.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}

/// Ends the process here, as a power cut would, when the environment says so.
#[inline]
pub fn reach(place: &str) {
    #[cfg(feature = "failpoints")]
    if fail::eval(place, |_| ()).is_some() {
        std::process::abort();
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = place;
}
