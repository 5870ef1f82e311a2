//! Numbers of templates: as Go reads, computes and writes them.

/// The whole number that a text says, with the prefixes of Go (`0x1f`, `0b1`, `017`); a fraction of zeros is left out.
pub(super) fn parse_whole(text: &str) -> Option<i64> {
    let text = without_zero_fraction(text);
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let is_separated = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__");
    if digits.is_empty() || !is_separated {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    i64::try_from(if is_negative { -number } else { number }).ok()
}

fn without_zero_fraction(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    }
}

/// The exponent from which on a number is written with it.
const EXPONENT_FROM: i32 = 6;

/// A number as Go writes it without a format: the fewest digits, with an exponent below 10⁻⁴ and from 10⁶ on.
pub(super) fn shortest(number: f64) -> String {
    if let Some(special) = special(number) {
        return special.to_owned();
    }
    let (digits, exponent) = digits_of(number, None);
    general(number, &digits, exponent, EXPONENT_FROM)
}

/// A number with so many significant digits, as `%g` writes it.
pub(super) fn with_significant_digits(number: f64, precision: usize) -> String {
    if let Some(special) = special(number) {
        return special.to_owned();
    }
    let precision = precision.max(1);
    let (digits, exponent) = digits_of(number, Some(precision));
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let mut exponent_from = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent_from > count && count > exponent {
        exponent_from = count;
    }
    general(number, digits, exponent, exponent_from)
}

/// A number with an exponent, and so many digits after the point; as many as needed without a precision.
pub(super) fn with_exponent(number: f64, precision: Option<usize>) -> String {
    if let Some(special) = special(number) {
        return special.to_owned();
    }
    let (digits, exponent) = digits_of(number, precision.map(|precision| precision + 1));
    scientific(number, &digits, exponent)
}

fn special(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// The significant digits of a finite number, and the exponent of the first.
fn digits_of(number: f64, count: Option<usize>) -> (String, i32) {
    let written = match count {
        Some(count) => format!("{:.*e}", count - 1, number.abs()),
        None => format!("{:e}", number.abs()),
    };
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    (digits.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn general(number: f64, digits: &str, exponent: i32, exponent_from: i32) -> String {
    if exponent < -4 || exponent >= exponent_from {
        return scientific(number, digits, exponent);
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    match usize::try_from(exponent) {
        Err(_) => {
            let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
            format!("{sign}0.{}{digits}", "0".repeat(zeros))
        }
        Ok(exponent) if digits.len() > exponent + 1 => {
            format!("{sign}{}.{}", &digits[..=exponent], &digits[exponent + 1..])
        }
        Ok(exponent) => format!("{sign}{digits}{}", "0".repeat(exponent + 1 - digits.len())),
    }
}

fn scientific(number: f64, digits: &str, exponent: i32) -> String {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let point = if digits.len() > 1 { "." } else { "" };
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{}{point}{}e{direction}{:02}", &digits[..1], &digits[1..], exponent.unsigned_abs())
}

/// An operation on decimal numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecimalOp {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// The digits after the point of a quotient.
const QUOTIENT_DIGITS: u32 = 16;

/// An operation as it is done on paper, so that 0.1 + 0.2 is 0.3; of floats where digits do not suffice. None for a
/// quotient by zero.
pub(super) fn decimal(op: DecimalOp, left: f64, right: f64) -> Option<f64> {
    if op == DecimalOp::Divide && right == 0.0 {
        return None;
    }
    Some(exact(op, left, right).unwrap_or_else(|| match op {
        DecimalOp::Add => left + right,
        DecimalOp::Subtract => left - right,
        DecimalOp::Multiply => left * right,
        DecimalOp::Divide => left / right,
    }))
}

/// A number as digits, and how many of them are after the point.
fn fixed(number: f64) -> Option<(i128, i32)> {
    if !number.is_finite() {
        return None;
    }
    let (digits, exponent) = digits_of(number, None);
    let scale = i32::try_from(digits.len()).ok()? - 1 - exponent;
    let whole: i128 = digits.parse().ok()?;
    let whole = if number.is_sign_negative() { -whole } else { whole };
    match scale < 0 {
        true => Some((whole.checked_mul(10_i128.checked_pow(u32::try_from(-scale).ok()?)?)?, 0)),
        false => Some((whole, scale)),
    }
}

fn exact(op: DecimalOp, left: f64, right: f64) -> Option<f64> {
    let ((left, left_scale), (right, right_scale)) = (fixed(left)?, fixed(right)?);
    let power = |exponent: i32| 10_i128.checked_pow(u32::try_from(exponent).ok()?);
    let (digits, scale) = match op {
        DecimalOp::Multiply => (left.checked_mul(right)?, left_scale + right_scale),
        DecimalOp::Add | DecimalOp::Subtract => {
            let scale = left_scale.max(right_scale);
            let left = left.checked_mul(power(scale - left_scale)?)?;
            let right = right.checked_mul(power(scale - right_scale)?)?;
            (if op == DecimalOp::Add { left.checked_add(right)? } else { left.checked_sub(right)? }, scale)
        }
        DecimalOp::Divide => {
            let scale = i32::try_from(QUOTIENT_DIGITS).ok()?;
            let shift = scale + right_scale - left_scale;
            let (above, below) = match shift < 0 {
                true => (left, right.checked_mul(power(-shift)?)?),
                false => (left.checked_mul(power(shift)?)?, right),
            };
            let (quotient, rest) = (above / below, above % below);
            let is_half = rest.checked_mul(2)?.abs() >= below.abs();
            let away = if (above < 0) == (below < 0) { 1 } else { -1 };
            (quotient + if is_half { away } else { 0 }, scale)
        }
    };
    format!("{digits}e-{scale}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (number, text) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.0, "-2"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(shortest(number), text);
        }
        assert_eq!(with_significant_digits(1_234.5, 3), "1.23e+03");
        assert_eq!(with_significant_digits(100.0, 5), "100");
        assert_eq!(with_exponent(1_234.5, Some(1)), "1.2e+03");
    }

    #[test]
    fn decimal_numbers_are_computed_as_on_paper() {
        assert_eq!(decimal(DecimalOp::Add, 0.1, 0.2), Some(0.3));
        assert_eq!(decimal(DecimalOp::Subtract, 1.1, 1.0), Some(0.1));
        assert_eq!(decimal(DecimalOp::Multiply, 1.1, 1.1), Some(1.21));
        assert_eq!(decimal(DecimalOp::Divide, 1.0, 3.0), Some(0.333_333_333_333_333_3));
        assert_eq!(decimal(DecimalOp::Divide, 1.0, 0.0), None);
    }

    #[test]
    fn whole_numbers_have_prefixes() {
        for (text, number) in [("12", 12), ("-0x1f", -31), ("017", 15), ("12.00", 12), ("0", 0), ("1_000", 1_000)] {
            assert_eq!(parse_whole(text), Some(number), "{text}");
        }
        for wrong in ["", "12.5", "a", "08", "--1", "9223372036854775808", "1.", "0x", "_1", "1__0"] {
            assert_eq!(parse_whole(wrong), None, "{wrong}");
        }
    }
}
