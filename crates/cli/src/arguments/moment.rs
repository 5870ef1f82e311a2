//! A point in time, given as such or by its distance from now.

use std::str::FromStr;

use runlog_model::Timestamp;

use super::span::Span;

const DAY_MS: i64 = 86_400_000;

/// A point in time such as `2026-11-29T12:00:00Z`, or a distance from now such as `3d`, `2w` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So many milliseconds from now.
    Away(i64),
    /// This time.
    At(Timestamp),
}

impl Moment {
    /// The time, if the distance lies before now.
    pub(crate) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Away(ms) => now.plus_millis(-ms),
            Self::At(time) => time,
        }
    }

    /// The time, if the distance lies after now.
    pub(crate) fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Away(ms) => now.plus_millis(ms),
            Self::At(time) => time,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Durations know no days, because some have 23 or 25 hours; here, a day has 24.
        for (unit, days) in [("d", 1), ("w", 7)] {
            let number = text.strip_suffix(unit).and_then(|number| number.trim().parse::<u32>().ok());
            if let Some(number) = number {
                return Ok(Self::Away(i64::from(number) * days * DAY_MS));
            }
        }
        if let Ok(span) = text.parse::<Span>() {
            return Ok(Self::Away(span.as_millis()));
        }
        let error =
            || format!("{text:?} is neither a time such as 2026-11-29T12:00:00Z nor one from now such as 3d or 12h");
        text.parse().map(Self::At).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_distances_from_now() {
        let moment = |text: &str| text.parse::<Moment>().ok();
        assert_eq!(moment("3d"), Some(Moment::Away(3 * DAY_MS)));
        assert_eq!(moment("2w"), Some(Moment::Away(14 * DAY_MS)));
        assert_eq!(moment("1h 30m"), Some(Moment::Away(5_400_000)));
        assert_eq!(moment("2026-11-29T12:00:00Z"), Some(Moment::At("2026-11-29T12:00:00Z".parse().unwrap())));
        assert_eq!(["", "soon", "-3d", "3"].map(moment), [None; 4]);
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        assert_eq!(Moment::Away(DAY_MS).before(now).to_string(), "2026-11-28T12:00:00.000Z");
        assert_eq!(Moment::Away(DAY_MS).after(now).to_string(), "2026-11-30T12:00:00.000Z");
    }
}
