//! JSON whose texts or numbers some writers break: made readable again, with everything that can be kept.

use serde_json::Number;

/// JSON after [`repair`], and how many of its values had to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The JSON.
    pub json: Vec<u8>,
    /// Texts and numbers that something was wrong with, names of fields included.
    pub texts: u64,
}

/// Repairs texts and numbers, and leaves everything else unchanged.
///
/// Unpaired surrogates and bytes that are not UTF-8 become U+FFFD; raw control characters, and backslashes that start
/// no escape, are escaped and thus preserved. What is no number in JSON (`NaN`, `Infinity`), and a number with more
/// digits than readers of JSON keep, become texts of the same characters. Control characters between values are
/// removed. Other errors outside of texts remain.
pub fn repair(json: &[u8]) -> Repaired {
    repair_numbers(json).0
}

/// The same; also returns the numbers of the repaired JSON that are read as floats, in order, as they are written: none
/// for each that JSON is written with in the same way.
pub(crate) fn repair_numbers(json: &[u8]) -> (Repaired, Vec<Option<Box<str>>>) {
    let mut floats = Vec::new();
    let repaired = repair_with(json, |between, out| repair_between_texts(between, out, &mut floats));
    (repaired, floats)
}

/// Repairs texts only.
pub fn repair_texts(json: &[u8]) -> Repaired {
    let copy = |between: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(between);
        0
    };
    repair_with(json, copy)
}

/// Repairs texts, and what is between them with a function that returns how much it has repaired.
fn repair_with(json: &[u8], mut between: impl FnMut(&[u8], &mut Vec<u8>) -> u64) -> Repaired {
    let mut out = Vec::with_capacity(json.len() + 16);
    let mut texts = 0;
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'"', rest) {
        let (before, text) = rest.split_at(at);
        texts += between(before, &mut out);
        out.push(b'"');
        let (behind, is_broken) = repair_text(&text[1..], &mut out);
        texts += u64::from(is_broken);
        rest = behind;
    }
    texts += between(rest, &mut out);
    Repaired { json: out, texts }
}

/// The words with which programs write numbers that JSON does not have, without their sign.
const NO_NUMBERS: [&[u8]; 5] = [b"NaN", b"nan", b"Infinity", b"inf", b"Inf"];

/// Copies what stands outside of texts, and adds its floats; returns how much of it was repaired.
fn repair_between_texts(json: &[u8], out: &mut Vec<u8>, floats: &mut Vec<Option<Box<str>>>) -> u64 {
    let mut repaired = 0;
    let mut rest = json;
    while let Some(byte) = rest.first() {
        let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest.iter().position(|byte| !is_of_word(byte)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length.max(1));
        let is_control = *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
        let unsigned = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
        let kind = kind_of(word);
        let is_text = NO_NUMBERS.contains(&unsigned) || kind == Word::LostNumber;
        match (is_control, is_text) {
            (true, _) => {}
            (_, true) => out.extend([b"\"".as_slice(), word, b"\""].concat()),
            (_, false) => out.extend_from_slice(word),
        }
        if let Word::Float(spelling) = kind {
            floats.push(spelling);
        }
        repaired += u64::from(is_control || is_text);
        rest = behind;
    }
    repaired
}

/// Digits of a number beyond which it is not compared: no float has more.
const DIGITS_MAX: usize = 40;

/// Longest number that is kept as one. Unit: bytes.
const NUMBER_BYTES_MAX: usize = 64;

/// What a word between texts is.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// A number that is read as a float, as it is written; none if JSON is written in the same way.
    Float(Option<Box<str>>),
    /// A number that reading and writing JSON changes: it is an integer beyond 64 bits, has more digits than a float
    /// keeps, is too large for one, or is longer than [`NUMBER_BYTES_MAX`].
    LostNumber,
    /// Anything else, such as an integer.
    Other,
}

fn kind_of(word: &[u8]) -> Word {
    let Ok(word) = std::str::from_utf8(word) else { return Word::Other };
    if !word.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit()) {
        return Word::Other;
    }
    // JSON has a negative zero, and integers have none.
    if word != "-0" && (word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok()) {
        return Word::Other;
    }
    let (Some(number), Ok(float)) = (scientific(word), word.parse::<f64>()) else { return Word::Other };
    match word.len() <= NUMBER_BYTES_MAX && is_kept(number, float) {
        true => {
            let written = Number::from_f64(float).map(|number| number.to_string());
            Word::Float((written.as_deref() != Some(word)).then(|| word.into()))
        }
        false => Word::LostNumber,
    }
}

/// True for the digits and the power of a number that its float keeps.
fn is_kept((digits, power): (String, i64), float: f64) -> bool {
    match digits.len() {
        0 => true,
        count if count > DIGITS_MAX => false,
        // A float keeps each number of so many digits.
        count if count <= 15 && (-300..300).contains(&power) => true,
        count if float.is_finite() => {
            // In the fewest digits, and in as many as it has: a tie is rounded in another way in each.
            let written = [format!("{float:e}"), format!("{float:.*e}", count - 1)];
            let number = Some((digits, power));
            written.iter().any(|written| scientific(written) == number)
        }
        _ => false,
    }
}

/// The digits of a number from the first to the last that is not 0, and the power of ten of the first; none if it is no
/// number.
fn scientific(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) =
        mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    // An exponent that no integer holds is out of the range of floats, or the number is 0.
    let exponent = exponent.parse::<i64>().unwrap_or(i64::from(i32::MAX));
    let power = exponent.checked_add(i64::try_from(whole.len()).ok()?)?.checked_sub(zeros)?;
    Some((significant.trim_end_matches('0').to_owned(), power))
}

const UNKNOWN: &[u8] = "\u{fffd}".as_bytes();

/// Copies a string and its closing quote; returns what follows, and whether something was repaired.
fn repair_text<'j>(text: &'j [u8], out: &mut Vec<u8>) -> (&'j [u8], bool) {
    let mut is_broken = false;
    let mut rest = text;
    while let Some(byte) = rest.first() {
        let taken = match byte {
            b'"' => {
                out.push(b'"');
                return (&rest[1..], is_broken);
            }
            b'\\' => {
                let (taken, is_whole) = repair_escape(rest, out);
                is_broken |= !is_whole;
                taken
            }
            0..0x20 => {
                is_broken = true;
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                1
            }
            0x20..0x80 => {
                out.push(*byte);
                1
            }
            _ => {
                let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
                for chunk in rest[..end].utf8_chunks() {
                    out.extend_from_slice(chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        is_broken = true;
                        out.extend_from_slice(UNKNOWN);
                    }
                }
                end
            }
        };
        rest = &rest[taken..];
    }
    (rest, is_broken)
}

/// Copies an escape at the begin of `rest`; gives its length, and whether it was whole.
fn repair_escape(rest: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
    match rest.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
            out.extend_from_slice(&rest[..2]);
            (2, true)
        }
        Some(b'u') => match (code_unit(rest), code_unit(rest.get(6..).unwrap_or_default())) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
                out.extend_from_slice(&rest[..12]);
                (12, true)
            }
            (Some(0xd800..=0xdfff), _) => {
                out.extend_from_slice(UNKNOWN);
                (6, false)
            }
            (Some(_), _) => {
                out.extend_from_slice(&rest[..6]);
                (6, true)
            }
            (None, _) => {
                out.extend_from_slice(b"\\\\");
                (1, false)
            }
        },
        _ => {
            out.extend_from_slice(b"\\\\");
            (1, false)
        }
    }
}

/// The number of an escape like `\u00e9` at the begin.
fn code_unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(json: &[u8], text: &str, texts: u64) {
        let repaired = repair(json);
        let value: Value = serde_json::from_slice(&repaired.json).unwrap();
        assert_eq!((value["a"].as_str(), repaired.texts), (Some(text), texts));
    }

    #[test]
    fn what_is_wrong_in_a_text_is_mended_and_its_neighbours_stay() {
        check(br#"{"a":"x\ud83dy"}"#, "x\u{fffd}y", 1);
        check(br#"{"a":"\ude00\ud83d\ude00"}"#, "\u{fffd}\u{1f600}", 1);
        check(br#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}", 1);
        check(b"{\"a\":\"caf\xe9 \xc3\xa9\"}", "caf\u{fffd} \u{e9}", 1);
        check(b"{\"a\":\"x\ty\", \"b\xff\":\"\x01\"}", "x\ty", 3);
        check(br#"{"a":"C:\data \u12 \"","b":"\\"}"#, "C:\\data \\u12 \"", 1);
        check(br#"{"a":"\u00e9\\\"","b":1}"#, "\u{e9}\\\"", 0);
    }

    #[test]
    fn what_breaks_off_stays_broken() {
        for json in [br#"{"a":"x"#.as_slice(), br#"{"a":"x\"#, br#"{"a":"x\u"#, b"\"", b""] {
            assert!(serde_json::from_slice::<Value>(&repair(json).json).is_err());
        }
    }

    #[track_caller]
    fn check_number(number: &str, expected: Value, repaired: u64) {
        let mended = repair(format!("{{\"a\": [{number}]}}").as_bytes());
        let value: Value = serde_json::from_slice(&mended.json).unwrap();
        assert_eq!((&value["a"][0], mended.texts), (&expected, repaired), "{number}");
    }

    /// They were written as other numbers, or the record that had them was refused.
    #[test]
    fn a_number_that_no_reader_keeps_becomes_a_text_of_the_same_digits() {
        for number in [
            "12345678901234567890123",
            "-9223372036854775809",
            "0.1234567890123456789",
            "12345678901234567.5",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "NaN",
            "-Infinity",
            "Infinity",
            "nan",
            "-inf",
        ] {
            check_number(number, number.into(), 1);
        }
        for number in [
            "0",
            "-0",
            "18446744073709551615",
            "1.10",
            "1e2",
            "0.30000000000000004",
            "1.1000000000000001",
            "193282819875330.63",
            "0e999",
        ] {
            check_number(number, serde_json::from_str(number).unwrap(), 0);
        }
        assert_eq!(repair(b"{\"a\":\x00tru, \x1e1}").json, b"{\"a\":tru, 1}");
    }

    #[test]
    fn numbers_are_kept_up_to_the_limits() {
        let float = |text: &str| Word::Float(Some(text.into()));
        let padded = |zeros: usize| format!("1.{}", "0".repeat(zeros));
        assert_eq!(kind_of(padded(62).as_bytes()), float(&padded(62)));
        assert_eq!(kind_of(padded(63).as_bytes()), Word::LostNumber);
        for (number, kind) in [
            ("1.5", Word::Float(None)),
            ("100000.0", Word::Float(None)),
            ("1.50", float("1.50")),
            ("1e5", float("1e5")),
            ("-0", float("-0")),
            ("0.0", Word::Float(None)),
            ("-0.0", Word::Float(None)),
            ("0", Word::Other),
            ("-9223372036854775808", Word::Other),
            ("18446744073709551615", Word::Other),
            ("18446744073709551616", float("18446744073709551616")),
            ("18446744073709551617", Word::LostNumber),
            ("123456789012345e284", float("123456789012345e284")),
            ("1e308", float("1e308")),
            ("1e309", Word::LostNumber),
            ("5e-324", Word::Float(None)),
            ("4e-324", Word::LostNumber),
            ("true", Word::Other),
            ("-", Word::Other),
            ("1x", Word::Other),
        ] {
            assert_eq!(kind_of(number.as_bytes()), kind, "{number}");
        }
    }

    proptest! {
        #[test]
        fn a_float_is_a_number_however_it_is_written(float in prop::num::f64::NORMAL) {
            for number in [format!("{float:?}"), format!("{float:e}"), format!("{float:.16e}")] {
                prop_assert!(matches!(kind_of(number.as_bytes()), Word::Float(_)), "{}", number);
            }
        }

        #[test]
        fn what_can_be_read_stays_as_it_is(text in any::<String>(), name in any::<String>()) {
            let json = serde_json::to_vec(&serde_json::json!({name: text})).unwrap();
            prop_assert_eq!(repair(&json), Repaired { json, texts: 0 });
        }

        #[test]
        fn any_bytes_in_quotes_become_a_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'"' && *byte != b'\\').collect();
            let json = [b"\"".as_slice(), &bytes, b"\""].concat();
            prop_assert!(serde_json::from_slice::<String>(&repair(&json).json).is_ok());
        }
    }
}
