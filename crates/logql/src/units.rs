//! Durations and sizes, as Go and Prometheus write them.

/// Nanoseconds of a duration such as `1h30m`, `500ms` or `7d`; `None` for anything else.
pub fn parse_duration_ns(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut sum = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        sum += number * duration_unit_ns(&rest[..letters])?;
        rest = &rest[letters..];
    }
    let sum = if negative { -sum } else { sum };
    (sum.abs() < 9.0e18).then_some(az::saturating_cast::<f64, i64>(sum))
}

fn duration_unit_ns(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        "d" => 86_400e9,
        "w" => 7.0 * 86_400e9,
        "y" => 365.0 * 86_400e9,
        _ => return None,
    })
}

/// Bytes of a size such as `5KB`, `10MiB` or `42`; `None` for anything else.
pub(crate) fn parse_bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',')).unwrap_or(text.len());
    let number: f64 = text[..digits].replace(',', "").parse().ok()?;
    Some(number * bytes_unit(text[digits..].trim())?)
}

fn bytes_unit(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "pb" | "p" => 1e15,
        "eb" | "e" => 1e18,
        "kib" | "ki" => 1024.0,
        "mib" | "mi" => 1024.0_f64.powi(2),
        "gib" | "gi" => 1024.0_f64.powi(3),
        "tib" | "ti" => 1024.0_f64.powi(4),
        "pib" | "pi" => 1024.0_f64.powi(5),
        "eib" | "ei" => 1024.0_f64.powi(6),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_the_units_of_go() {
        assert_eq!(parse_duration_ns("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration_ns("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration_ns("-2ms"), Some(-2_000_000));
        assert_eq!(parse_duration_ns("1d"), Some(86_400_000_000_000));
        for wrong in ["", "-", "5", "m", "5x", "1h30", "1..5s", "99999999999999999999y"] {
            assert_eq!(parse_duration_ns(wrong), None, "{wrong}");
        }
        assert_eq!(parse_bytes("5KB"), Some(5_000.0));
        assert_eq!(parse_bytes("1.5 MiB"), Some(1.5 * 1_048_576.0));
        assert_eq!(parse_bytes("42"), Some(42.0));
        assert_eq!(parse_bytes("1,024 B"), Some(1_024.0));
        assert_eq!(parse_bytes("1EiB"), Some(1_024.0_f64.powi(6)));
        for wrong in ["", "KB", "5XB", "five"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
