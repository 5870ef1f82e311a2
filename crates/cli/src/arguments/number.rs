//! Numbers and sizes in arguments, with errors in words.

use std::fmt::Display;
use std::str::FromStr;

/// Reads a number from `least` to `most`, both included.
pub(crate) fn between<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse::<T>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{text:?} is not a number between {least} and {most}"))
    }
}

/// A size in bytes such as `500MiB`, `5GB` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// The units of sizes, and how many bytes they are.
const UNITS: [(&str, u64); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
    ("", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a size such as 500MiB, 5GB or 1048576");
        let plain = text.trim().to_ascii_lowercase();
        let digits = plain.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = plain.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(error)?;
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(*factor).map(Self).ok_or_else(|| format!("{text:?} is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(
            ["5GB", "500 MiB", "1048576", "0b"].map(size),
            [Ok(5_000_000_000), Ok(524_288_000), Ok(1_048_576), Ok(0)]
        );
        for wrong in ["", "GB", "5 elephants", "-1", "1.5GB"] {
            assert!(size(wrong).unwrap_err().contains("is not a size such as 500MiB"), "{wrong}");
        }
        assert!(size("99999999999TB").unwrap_err().contains("too large"));
    }

    #[test]
    fn a_number_out_of_bounds_is_reported_with_the_bounds() {
        let days = between(1_u32, 60);
        assert_eq!(days("60"), Ok(60));
        for wrong in ["90", "0", "-1", "soon"] {
            assert_eq!(days(wrong), Err(format!("{wrong:?} is not a number between 1 and 60")));
        }
    }
}
