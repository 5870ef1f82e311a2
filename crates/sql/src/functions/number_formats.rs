//! The formats of `to_char` and `to_number` for numbers, with the patterns of PostgreSQL: `FM999,990.00`.

use crate::functions::time_formats::ordinal;

/// Maximum number of digits of a format.
const DIGITS_MAX: usize = 200;

/// A piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `9` or `0`.
    Digit,
    /// `,` or `G`.
    Group,
    /// `.` or `D`.
    Point,
    Text(String),
    /// `S`: the position of the sign.
    Sign,
    /// `MI`: a minus, or a space.
    Minus,
    /// `PL`: a plus, or a space.
    Plus,
    /// `SG`: a plus or a minus.
    PlusOrMinus,
    /// `TH` and `th`.
    Ordinal {
        is_upper: bool,
    },
    /// `L`: the currency symbol, which is empty.
    Currency,
}

/// A format of numbers.
#[derive(Debug)]
struct Format {
    parts: Vec<Part>,
    /// Digits before and after the point.
    whole: usize,
    fraction: usize,
    /// The position of the first `0` before the point, in digits; none if there is no such `0`.
    first_zero: Option<usize>,
    /// The position of the last `0` after the point, in digits.
    last_zero: usize,
    is_filled: bool,
    has_brackets: bool,
    /// Number of digits by which `V` shifts the point.
    shift: u32,
    /// `RN`, and its case.
    roman: Option<bool>,
    is_scientific: bool,
}

impl Format {
    fn parse(format: &str) -> Result<Self, String> {
        let mut parsed = Self {
            parts: Vec::new(),
            whole: 0,
            fraction: 0,
            first_zero: None,
            last_zero: 0,
            is_filled: true,
            has_brackets: false,
            shift: 0,
            roman: None,
            is_scientific: false,
        };
        let (mut rest, mut has_point, mut has_shift) = (format, false, false);
        while let Some(letter) = rest.chars().next() {
            let upper: String = rest.chars().take(4).collect::<String>().to_ascii_uppercase();
            let is = |name: &str| upper.starts_with(name);
            let length = if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                parsed.parts.push(Part::Text(quoted[..end].to_owned()));
                (end + 2).min(rest.len())
            } else if is("EEEE") {
                parsed.is_scientific = true;
                4
            } else if is("FM") {
                parsed.is_filled = false;
                2
            } else if is("MI") {
                parsed.parts.push(Part::Minus);
                2
            } else if is("PL") {
                parsed.parts.push(Part::Plus);
                2
            } else if is("SG") {
                parsed.parts.push(Part::PlusOrMinus);
                2
            } else if is("PR") {
                parsed.has_brackets = true;
                2
            } else if is("RN") {
                parsed.roman = Some(letter == 'r');
                2
            } else if is("TH") {
                parsed.parts.push(Part::Ordinal { is_upper: letter == 'T' });
                2
            } else if is("S") {
                parsed.parts.push(Part::Sign);
                1
            } else if is("V") {
                has_shift = true;
                1
            } else if is("L") {
                parsed.parts.push(Part::Currency);
                1
            } else if is(",") || is("G") {
                parsed.parts.push(Part::Group);
                1
            } else if is(".") || is("D") {
                if has_point {
                    return Err("a format of numbers has several points".to_owned());
                }
                has_point = true;
                parsed.parts.push(Part::Point);
                1
            } else if is("9") || is("0") {
                parsed.digit(letter == '0', has_point, has_shift)?;
                1
            } else {
                parsed.parts.push(Part::Text(letter.to_string()));
                letter.len_utf8()
            };
            rest = &rest[length..];
        }
        Ok(parsed)
    }

    fn digit(&mut self, is_zero: bool, has_point: bool, has_shift: bool) -> Result<(), String> {
        self.parts.push(Part::Digit);
        if has_point {
            self.fraction += 1;
            if is_zero {
                self.last_zero = self.fraction;
            }
        } else {
            if is_zero && self.first_zero.is_none() {
                self.first_zero = Some(self.whole);
            }
            self.whole += 1;
        }
        self.shift += u32::from(has_shift);
        match self.whole + self.fraction > DIGITS_MAX {
            true => Err(format!("a format of numbers has more than {DIGITS_MAX} digits")),
            false => Ok(()),
        }
    }

    fn has_sign(&self) -> bool {
        self.has_brackets || self.parts.iter().any(|part| matches!(part, Part::Sign | Part::Minus | Part::PlusOrMinus))
    }
}

/// Formats a number. The error is the reason why the format is invalid.
pub(super) fn formatted(number: f64, format: &str) -> Result<String, String> {
    let format = Format::parse(format)?;
    if let Some(is_small) = format.roman {
        let roman = roman(number);
        let roman = if is_small { roman.to_lowercase() } else { roman };
        return Ok(if format.is_filled { format!("{roman:>15}") } else { roman });
    }
    if format.is_scientific {
        let text = format!("{:.*e}", format.fraction, number);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        let space = if number < 0.0 { "" } else { " " };
        return Ok(format!("{space}{digits}e{sign}{exponent:0>2}"));
    }
    let number = number * 10_f64.powi(i32::try_from(format.shift).unwrap_or(0));
    let rounded = rounded(number.abs(), format.fraction);
    let (whole, fraction) = rounded.split_once('.').unwrap_or((&rounded, ""));
    let whole = whole.trim_start_matches('0');
    let is_negative = number < 0.0 && rounded.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    let is_overflow = whole.len() > format.whole || !number.is_finite();
    let digits = if is_overflow { "#".repeat(format.whole) } else { format!("{whole:>width$}", width = format.whole) };
    let fraction = if is_overflow { "#".repeat(format.fraction) } else { fraction.to_owned() };
    Ok(Writer { format: &format, is_negative, whole: digits.into_bytes(), fraction: fraction.into_bytes() }
        .written(whole.is_empty()))
}

/// Rounds a number to this many digits after the point; halves are rounded away from zero.
fn rounded(number: f64, digits: usize) -> String {
    // The shortest text that represents the number, so that 2.345 does not become 2.34499…
    let shortest = format!("{number}");
    let Some((whole, fraction)) = shortest.split_once('.') else { return format!("{number:.digits$}") };
    if fraction.len() <= digits {
        return format!("{whole}.{fraction:0<digits$}");
    }
    let is_up = fraction.as_bytes()[digits] >= b'5';
    let mut kept: Vec<u8> = whole.bytes().chain(fraction[..digits].bytes()).collect();
    let mut at = kept.len();
    let mut carries = is_up;
    while carries && at > 0 {
        at -= 1;
        carries = kept[at] == b'9';
        kept[at] = if carries { b'0' } else { kept[at] + 1 };
    }
    if carries {
        kept.insert(0, b'1');
    }
    let point = kept.len() - digits;
    let text = String::from_utf8_lossy(&kept).into_owned();
    if digits == 0 { text } else { format!("{}.{}", &text[..point], &text[point..]) }
}

struct Writer<'f> {
    format: &'f Format,
    is_negative: bool,
    /// The digits before the point, with a space for each missing digit.
    whole: Vec<u8>,
    fraction: Vec<u8>,
}

impl Writer<'_> {
    fn written(&self, is_below_one: bool) -> String {
        let format = self.format;
        let own_sign = if format.has_sign() { None } else { Some(if self.is_negative { "-" } else { " " }) };
        let mut text = String::new();
        let (mut digit, mut after_point, mut has_begun, mut has_sign) = (0, None, false, own_sign.is_none());
        // A number below one has a zero before the point only if the format has one there or has no fraction.
        let is_zero_shown = is_below_one && format.fraction == 0;
        for (index, part) in format.parts.iter().enumerate() {
            match (part, after_point) {
                (Part::Digit, None) => {
                    let is_last = digit + 1 == format.whole;
                    let is_zero = format.first_zero.is_some_and(|first| digit >= first) || (is_last && is_zero_shown);
                    let is_blank = self.whole[digit] == b' ' && !is_zero;
                    digit += 1;
                    if is_blank {
                        if format.is_filled {
                            text.push(' ');
                        }
                        continue;
                    }
                    if !has_sign {
                        text.push_str(own_sign.filter(|sign| format.is_filled || *sign == "-").unwrap_or_default());
                        has_sign = true;
                    }
                    has_begun = true;
                    let shown = self.whole[digit - 1];
                    text.push(if shown == b' ' { '0' } else { char::from(shown) });
                }
                (Part::Digit, Some(position)) => {
                    let byte = self.fraction.get(position).copied().unwrap_or(b'0');
                    let rest = self.fraction.get(position..).unwrap_or_default();
                    let is_trailing = rest.iter().all(|byte| *byte == b'0') && position >= format.last_zero;
                    if format.is_filled || !is_trailing {
                        text.push(char::from(byte));
                    }
                    after_point = Some(position + 1);
                }
                (Part::Group, None) if has_begun => text.push(','),
                (Part::Group, None) => text.push_str(if format.is_filled { " " } else { "" }),
                (Part::Group, Some(_)) => text.push(','),
                (Part::Point, _) => {
                    if !has_sign {
                        text.push_str(own_sign.filter(|sign| format.is_filled || *sign == "-").unwrap_or_default());
                        has_sign = true;
                    }
                    text.push('.');
                    after_point = Some(0);
                }
                (Part::Sign, _) => {
                    let sign = if self.is_negative { '-' } else { '+' };
                    match index == 0 || !format.parts[..index].contains(&Part::Digit) {
                        true => text.push('\u{0}'),
                        false => text.push(sign),
                    }
                }
                (Part::Minus, _) => text.push_str(self.either("-", if format.is_filled { " " } else { "" })),
                (Part::Plus, _) => text.push_str(self.either(if format.is_filled { " " } else { "" }, "+")),
                (Part::PlusOrMinus, _) => text.push_str(self.either("-", "+")),
                (Part::Currency, _) => text.push_str(if format.is_filled { " " } else { "" }),
                (Part::Ordinal { is_upper }, _) if !self.is_negative && format.fraction == 0 => {
                    let ending = ordinal(&text);
                    text.push_str(&if *is_upper { ending.to_uppercase() } else { ending.to_owned() });
                }
                (Part::Ordinal { .. }, _) => {}
                (Part::Text(plain), _) => text.push_str(plain),
            }
        }
        if !has_sign {
            text.insert_str(0, own_sign.unwrap_or_default());
        }
        self.bracketed(text)
    }

    fn either(&self, negative: &'static str, positive: &'static str) -> &'static str {
        if self.is_negative { negative } else { positive }
    }

    /// Returns the text with the sign or the bracket directly before the first digit.
    fn bracketed(&self, text: String) -> String {
        let mut text = text;
        if let Some(at) = text.find('\u{0}') {
            text.remove(at);
            let first = text.find(|letter: char| letter != ' ').unwrap_or(text.len());
            text.insert_str(first, self.either("-", "+"));
        }
        if self.format.has_brackets {
            let first = text.find(|letter: char| letter != ' ').unwrap_or(0);
            let (open, close) = match (self.is_negative, self.format.is_filled) {
                (true, _) => ("<", ">"),
                (false, true) => (" ", " "),
                (false, false) => ("", ""),
            };
            text.insert_str(first, open);
            text.push_str(close);
        }
        text
    }
}

fn roman(number: f64) -> String {
    const LETTERS: [(i64, &str); 13] = [
        (1_000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let rounded = number.round();
    if !(1.0..=3_999.0).contains(&rounded) {
        return "#".repeat(15);
    }
    let mut left: i64 = format!("{rounded}").parse().unwrap_or(0);
    let mut text = String::new();
    for (value, letters) in LETTERS {
        while left >= value {
            text.push_str(letters);
            left -= value;
        }
    }
    text
}

/// Parses a number, ignoring the grouping and decoration of a format. None if the text contains no number.
pub(super) fn parsed(text: &str) -> Option<f64> {
    let is_negative = text.contains('-') || (text.contains('<') && text.contains('>'));
    let digits: String = text.chars().filter(|letter| letter.is_ascii_digit() || *letter == '.').collect();
    let number: f64 = digits.parse().ok()?;
    Some(if is_negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are those of PostgreSQL.
    #[test]
    fn numbers_are_formatted_as_in_postgresql() {
        for (number, format, expected) in [
            (1_234.567, "9999.99", " 1234.57"),
            (1_234.567, "FM9,999.00", "1,234.57"),
            (1_234_567.0, "9,999,999", " 1,234,567"),
            (-12.0, "999", " -12"),
            (12.0, "0000", " 0012"),
            (0.5, "990.9%", "   0.5%"),
            (0.5, "999.9", "    .5"),
            (0.0, "999", "   0"),
            (42.0, "FM999", "42"),
            (12_345.0, "999", " ###"),
            (-1.5, "FM0.0", "-1.5"),
            (485.0, "999S", "485+"),
            (-485.0, "S999", "-485"),
            (-485.0, "999MI", "485-"),
            (485.0, "999MI", "485 "),
            (-485.0, "999PR", "<485>"),
            (482.0, "999th", " 482nd"),
            (12.4, "99V999", " 12400"),
            (5.0, "RN", "              V"),
            (0.000_485_9, "9.99EEEE", " 4.86e-04"),
            (148.5, "FM999.990", "148.500"),
            (2.345, "9.99", " 2.35"),
            (1.0, "\"no. \"9", "no.  1"),
        ] {
            assert_eq!(formatted(number, format).as_deref(), Ok(expected), "{number} {format}");
        }
        assert!(formatted(1.0, "9.9.9").is_err());
        assert_eq!(
            (parsed("1,234.5"), parsed("<7>"), parsed("12-"), parsed("x")),
            (Some(1_234.5), Some(-7.0), Some(-12.0), None)
        );
    }
}
