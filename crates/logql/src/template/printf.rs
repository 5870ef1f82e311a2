//! `printf`, with the verbs and flags of Go.

use std::fmt::Write;

use crate::template::numbers::{shortest, with_exponent, with_significant_digits};
use crate::template::value::Value;

/// Widest field, and most digits. Longer ones are refused.
const WIDTH_MAX: i64 = 4_096;

/// How a value is written.
#[derive(Debug, Clone, Copy, Default)]
struct Format {
    is_left: bool,
    has_plus: bool,
    is_alternate: bool,
    has_space: bool,
    has_zeros: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The text of a format and its values; none when it takes more than `bytes_max`.
pub(super) fn printf(format: &str, values: &[Value<'_>], bytes_max: usize) -> Option<String> {
    let mut output = String::new();
    let mut arguments = Arguments { values, next: 0, is_reordered: false };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = verb(rest, &mut arguments, &mut output, bytes_max)?;
        if output.len() > bytes_max {
            return None;
        }
    }
    output.push_str(rest);
    if !arguments.is_reordered && arguments.next < values.len() {
        output.push_str("%!(EXTRA ");
        for (index, value) in values[arguments.next..].iter().enumerate() {
            output.push_str(if index == 0 { "" } else { ", " });
            bad_value(value, &mut output, bytes_max)?;
        }
        output.push(')');
    }
    (output.len() <= bytes_max).then_some(output)
}

struct Arguments<'a, 'v> {
    values: &'a [Value<'v>],
    next: usize,
    is_reordered: bool,
}

impl<'a, 'v> Arguments<'a, 'v> {
    fn take(&mut self) -> Option<&'a Value<'v>> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        value
    }

    /// `[2]` names the argument that comes next; false if there is none with the number.
    fn reorder<'f>(&mut self, rest: &'f str) -> (bool, &'f str) {
        let Some((number, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) else {
            return (true, rest);
        };
        self.is_reordered = true;
        match number.parse::<usize>().ok().filter(|number| (1..=self.values.len()).contains(number)) {
            Some(number) => {
                self.next = number - 1;
                (true, after)
            }
            None => (false, after),
        }
    }

    /// A number in the format, or of an argument for `*`.
    fn size<'f>(&mut self, rest: &'f str) -> Result<(Option<i64>, &'f str), &'static str> {
        if let Some(after) = rest.strip_prefix('*') {
            return match self.take() {
                Some(Value::Int(size) | Value::Int64(size)) if size.abs() <= WIDTH_MAX => Ok((Some(*size), after)),
                _ => Err("BADWIDTH"),
            };
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Ok((None, rest));
        }
        match rest[..digits].parse::<i64>() {
            Ok(size) if size <= WIDTH_MAX => Ok((Some(size), &rest[digits..])),
            _ => Err("BADWIDTH"),
        }
    }
}

/// Writes the value of a verb; returns what follows it.
fn verb<'f>(
    rest: &'f str,
    arguments: &mut Arguments<'_, '_>,
    output: &mut String,
    bytes_max: usize,
) -> Option<&'f str> {
    let mut format = Format::default();
    let mut rest = rest;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => format.is_left = true,
            '+' => format.has_plus = true,
            '#' => format.is_alternate = true,
            ' ' => format.has_space = true,
            '0' => format.has_zeros = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let (is_known, after) = arguments.reorder(rest);
    let mut problem = (!is_known).then_some("BADINDEX");
    rest = after;
    let skipped = |rest: &'f str| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '*');
    match arguments.size(rest) {
        Ok((size, after)) => {
            format.is_left |= size.is_some_and(|size| size < 0);
            format.width = size.map(|size| usize::try_from(size.unsigned_abs()).unwrap_or(0));
            rest = after;
        }
        Err(wrong) => (problem, rest) = (problem.or(Some(wrong)), skipped(rest)),
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (is_known, after) = arguments.reorder(after);
        problem = problem.or((!is_known).then_some("BADINDEX"));
        match arguments.size(after) {
            Ok((size, after)) => {
                format.precision = Some(usize::try_from(size.unwrap_or(0)).unwrap_or(0));
                rest = after;
            }
            Err(_) => (problem, rest) = (problem.or(Some("BADPREC")), skipped(after)),
        }
    }
    let (is_known, after) = arguments.reorder(rest);
    problem = problem.or((!is_known).then_some("BADINDEX"));
    rest = after;
    // Zeros are written on the left only.
    format.has_zeros &= !format.is_left;
    let Some(verb) = rest.chars().next() else {
        output.push_str("%!(NOVERB)");
        return Some(rest);
    };
    rest = &rest[verb.len_utf8()..];
    if verb == '%' {
        output.push('%');
        return Some(rest);
    }
    if let Some(problem) = problem {
        write!(output, "%!{verb}({problem})").unwrap_or_default();
        return Some(rest);
    }
    match arguments.take() {
        Some(value) => write_value(verb, &format, value, output, bytes_max)?,
        None => write!(output, "%!{verb}(MISSING)").unwrap_or_default(),
    }
    Some(rest)
}

fn write_value(verb: char, format: &Format, value: &Value<'_>, output: &mut String, bytes_max: usize) -> Option<()> {
    let written = match (verb, value) {
        ('T', value) => Some(text(value.type_name(), format)),
        ('v', Value::Nil) => Some(text("<nil>", format)),
        ('v' | 't', Value::Bool(is_true)) => Some(text(if *is_true { "true" } else { "false" }, format)),
        (_, Value::Int(number) | Value::Int64(number)) => whole(verb, format, *number),
        (_, Value::Float(number)) => float(verb, format, *number),
        (_, Value::Text(value)) => text_verb(verb, format, value),
        ('v' | 's' | 'q', Value::Time(time)) => text_verb(verb, format, &time.to_string()),
        ('v' | 's', Value::List(_) | Value::Map(_) | Value::Labels(_)) => {
            let mut printed = String::new();
            if !value.print(&mut printed, bytes_max) {
                return None;
            }
            Some(text(&printed, format))
        }
        (verb, Value::List(list)) => {
            let mut printed = String::from("[");
            for (index, element) in list.iter().enumerate() {
                printed.push_str(if index == 0 { "" } else { " " });
                write_value(verb, format, element, &mut printed, bytes_max)?;
                if printed.len() > bytes_max {
                    return None;
                }
            }
            printed.push(']');
            Some(printed)
        }
        _ => None,
    };
    match written {
        Some(written) => output.push_str(&written),
        None => {
            write!(output, "%!{verb}(").unwrap_or_default();
            bad_value(value, output, bytes_max)?;
            output.push(')');
        }
    }
    Some(())
}

/// `string=abc`, in what says that a verb does not fit.
fn bad_value(value: &Value<'_>, output: &mut String, bytes_max: usize) -> Option<()> {
    if let Value::Nil = value {
        output.push_str("<nil>");
        return Some(());
    }
    write!(output, "{}=", value.type_name()).unwrap_or_default();
    value.print(output, bytes_max).then_some(())
}

fn text_verb(verb: char, format: &Format, value: &str) -> Option<String> {
    let cut = || match format.precision {
        Some(most) => value.chars().take(most).collect::<String>(),
        None => value.to_owned(),
    };
    Some(match verb {
        'v' | 's' => text(&cut(), &Format { precision: None, ..*format }),
        'q' => text(&quoted(&cut(), format), &Format { precision: None, ..*format }),
        'x' | 'X' => {
            let bytes = &value.as_bytes()[..format.precision.unwrap_or(value.len()).min(value.len())];
            let prefix =
                if format.is_alternate && !bytes.is_empty() { if verb == 'x' { "0x" } else { "0X" } } else { "" };
            let mut hex = String::from(prefix);
            for (index, byte) in bytes.iter().enumerate() {
                if format.has_space && index > 0 {
                    hex.push(' ');
                    hex.push_str(prefix);
                }
                let digits = if verb == 'x' { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
                digits.unwrap_or_default();
            }
            text(&hex, &Format { precision: None, ..*format })
        }
        _ => return None,
    })
}

/// A text in its field.
fn text(text: &str, format: &Format) -> String {
    padded(text, format, if format.has_zeros { '0' } else { ' ' })
}

fn padded(text: &str, format: &Format, fill: char) -> String {
    let missing = format.width.unwrap_or(0).saturating_sub(text.chars().count());
    let padding = std::iter::repeat_n(fill, missing);
    match format.is_left {
        true => text.chars().chain(padding).collect(),
        false => padding.chain(text.chars()).collect(),
    }
}

/// A number in its field: zeros come after the sign.
fn number(sign: &str, digits: &str, format: &Format) -> String {
    match format.width.filter(|_| format.has_zeros) {
        Some(width) => {
            let missing = width.saturating_sub(sign.len() + digits.chars().count());
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        None => padded(&format!("{sign}{digits}"), format, ' '),
    }
}

fn sign_of(is_negative: bool, format: &Format) -> &'static str {
    match is_negative {
        true => "-",
        false if format.has_plus => "+",
        false if format.has_space => " ",
        false => "",
    }
}

fn whole(verb: char, format: &Format, value: i64) -> Option<String> {
    let absolute = value.unsigned_abs();
    let (prefix, digits) = match verb {
        'v' | 'd' => ("", absolute.to_string()),
        'b' => (if format.is_alternate { "0b" } else { "" }, format!("{absolute:b}")),
        'o' => (if format.is_alternate { "0" } else { "" }, format!("{absolute:o}")),
        'O' => ("0o", format!("{absolute:o}")),
        'x' => (if format.is_alternate { "0x" } else { "" }, format!("{absolute:x}")),
        'X' => (if format.is_alternate { "0X" } else { "" }, format!("{absolute:X}")),
        'c' | 'q' | 'U' => return Some(character(verb, format, value)),
        _ => return None,
    };
    let mut digits = digits;
    let mut format = *format;
    if let Some(precision) = format.precision.take() {
        format.has_zeros = false;
        let missing = precision.saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(missing));
        if precision == 0 && value == 0 {
            digits.clear();
        }
    }
    let sign = sign_of(value < 0, &format);
    Some(number(&format!("{sign}{prefix}"), &digits, &format))
}

fn character(verb: char, format: &Format, value: i64) -> String {
    let letter = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match verb {
        'c' => text(&letter.to_string(), format),
        'q' => {
            let quoted = match letter {
                '\'' => "\\'".to_owned(),
                '"' => "\"".to_owned(),
                letter => escaped(letter, format.has_plus),
            };
            text(&format!("'{quoted}'"), format)
        }
        _ => {
            let shown = if format.is_alternate { format!(" '{letter}'") } else { String::new() };
            text(&format!("U+{value:04X}{shown}"), format)
        }
    }
}

fn float(verb: char, format: &Format, value: f64) -> Option<String> {
    let written = match verb {
        'v' | 'g' | 'G' => match format.precision {
            Some(precision) => with_significant_digits(value, precision),
            None => shortest(value),
        },
        'f' | 'F' => match value.is_finite() {
            true => format!("{value:.*}", format.precision.unwrap_or(6)),
            false => shortest(value),
        },
        'e' | 'E' => with_exponent(value, Some(format.precision.unwrap_or(6))),
        _ => return None,
    };
    let written = if matches!(verb, 'G' | 'E') { written.to_uppercase() } else { written };
    let digits = written.trim_start_matches(['-', '+']);
    let is_negative = written.starts_with('-');
    let mut format = *format;
    format.has_zeros &= value.is_finite();
    let sign = if value == f64::INFINITY && written.starts_with('+') { "+" } else { sign_of(is_negative, &format) };
    Some(number(sign, digits, &format))
}

/// A text in quotes, as Go writes it.
fn quoted(value: &str, format: &Format) -> String {
    if format.is_alternate && !value.contains('`') && !value.chars().any(|c| c.is_control() && c != '\t') {
        return format!("`{value}`");
    }
    let inside: String = value.chars().map(|letter| escaped(letter, format.has_plus)).collect();
    format!("\"{inside}\"")
}

fn escaped(letter: char, is_ascii: bool) -> String {
    match letter {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        '\\' => "\\\\".to_owned(),
        '"' => "\\\"".to_owned(),
        letter if letter.is_ascii_control() => format!("\\x{:02x}", u32::from(letter)),
        letter if letter.is_control() || (is_ascii && !letter.is_ascii()) => match u32::from(letter) {
            code @ 0..0x1_0000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
        letter => letter.to_string(),
    }
}
