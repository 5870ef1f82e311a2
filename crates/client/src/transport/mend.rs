//! Makes JSON of an entry that is almost JSON: one odd entry among many must not keep a log from being fetched.
//!
//! Everything that can be recovered is preserved, see [`repair`]. An entry that is still not a JSON object becomes a
//! record with the whole entry as its text.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use runlog_model::repair;
use serde::de::IgnoredAny;
use serde_json::json;

/// Returns the entry unchanged if it is a JSON object, and otherwise an object that represents it as closely as
/// possible.
pub(crate) fn mended(entry: &[u8]) -> Cow<'_, [u8]> {
    match entry.first() == Some(&b'{') && !is_odd(entry) {
        true => Cow::Borrowed(entry),
        false => repaired(entry),
    }
}

/// The same without a look at what is odd: an object as it came, or repaired on one line, or a record with a text.
pub(crate) fn repaired(entry: &[u8]) -> Cow<'_, [u8]> {
    let repaired = repair(entry);
    match is_json_object(&repaired.json) {
        true if repaired.texts == 0 => Cow::Borrowed(entry),
        true => Cow::Owned(on_one_line(&repaired.json)),
        false => Cow::Owned(as_text(entry)),
    }
}

/// Returns a record whose text is the received entry.
pub(crate) fn as_text(entry: &[u8]) -> Vec<u8> {
    let text = serde_json::from_slice(entry).unwrap_or_else(|_| String::from_utf8_lossy(entry).into_owned());
    json!({"logMessage": text}).to_string().into_bytes()
}

/// An entry that ends in so many objects, and inside a text or not, as one that ends.
pub(crate) fn closed(begun: &[u8], depth: u32, is_in_text: bool) -> Vec<u8> {
    let begun = begun.trim_ascii_end();
    let kept = if is_in_text { without_trailing_escape(begun) } else { begun };
    let mut entry = kept.to_vec();
    entry.extend(is_in_text.then_some(b'"'));
    entry.extend(std::iter::repeat_n(b'}', depth as usize));
    let closed = repair(&entry).json;
    if is_json_object(&closed) { on_one_line(&closed) } else { as_text(kept) }
}

/// A text without the backslash at its end that begins an escape: a text that is cut within an escape would be invalid.
pub(crate) fn without_trailing_escape(text: &[u8]) -> &[u8] {
    let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
    &text[..text.len() - backslashes % 2]
}

/// Returns the JSON without white space outside of its strings.
pub(crate) fn on_one_line(entry: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(entry.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in entry {
        if in_string || !byte.is_ascii_whitespace() {
            line.push(*byte);
        }
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => in_string = !in_string,
            _ => {}
        }
    }
    line
}

/// True for what may be something that no JSON parser accepts: bytes within strings, or words for numbers. Other errors
/// are detected by the parser.
fn is_odd(entry: &[u8]) -> bool {
    // All bytes are checked without an early exit, which allows vectorisation.
    let has_controls = entry.iter().fold(false, |found, byte| found | (*byte < b' '));
    let has_no_numbers = || memmem::find(entry, b"NaN").is_some() || memmem::find(entry, b"Infinity").is_some();
    has_controls || std::str::from_utf8(entry).is_err() || has_odd_escapes(entry) || has_no_numbers()
}

fn has_odd_escapes(entry: &[u8]) -> bool {
    let mut rest = entry;
    while let Some(at) = memchr(b'\\', rest) {
        rest = &rest[at..];
        match escape_length(rest) {
            Some(length) => rest = &rest[length..],
            None => return true,
        }
    }
    false
}

/// The length of the escape at the beginning; none if it is half of a character, or only a backslash.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match unit(bytes)? {
            0xd800..=0xdbff => {
                bytes.get(6..).and_then(unit).filter(|unit| (0xdc00..=0xdfff).contains(unit)).map(|_| 12)
            }
            0xdc00..=0xdfff => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// The number of an escape like `\u00e9`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    u16::from_str_radix(digits?, 16).ok()
}

/// True for what a reader of JSON takes.
fn is_json_object(entry: &[u8]) -> bool {
    entry.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(entry).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &[u8], expected: &str) {
        let mended = mended(entry);
        assert_eq!(std::str::from_utf8(&mended).unwrap(), expected);
        serde_json::from_slice::<serde_json::Value>(&mended).unwrap();
    }

    #[test]
    fn what_is_json_stays_as_it_is() {
        for entry in [r#"{"a":"x\n\"\\ \u00e9 \ud83d\ude00 \\ud83d"}"#, r#"{"a":"C:\\Users"}"#, "{}", r#"{ "a" : 1 }"#]
        {
            assert!(matches!(mended(entry.as_bytes()), Cow::Borrowed(_)), "{entry}");
            check(entry.as_bytes(), entry);
        }
    }

    #[test]
    fn texts_are_kept_to_the_letter_and_what_is_no_character_is_replaced() {
        check(br#"{"a":"x \ud83d y"}"#, "{\"a\":\"x \u{fffd} y\"}");
        check(br#"{"a":"\ude00\ud83d\ud83d\ude00"}"#, "{\"a\":\"\u{fffd}\u{fffd}\\ud83d\\ude00\"}");
        check(br#"{"a":"\ud83d\u0041"}"#, "{\"a\":\"\u{fffd}\\u0041\"}");
        check(b"{\"a\":\"caf\xe9 au lait\"}", "{\"a\":\"caf\u{fffd} au lait\"}");
        check(b"{\"a\":\"one\ttwo\nthree\x1b[0m\"}", r#"{"a":"one\u0009two\u000athree\u001b[0m"}"#);
        check(br#"{"a":"C:\Users\x \u12 \u"}"#, r#"{"a":"C:\\Users\\x \\u12 \\u"}"#);
        check(b"{\"a\" :\t1,\n\"b\":\x002}", r#"{"a":1,"b":2}"#);
        check(b"{\"a\":\tNaN,\"b\":-Infinity, \"c\":\"NaN\"}", r#"{"a":"NaN","b":"-Infinity","c":"NaN"}"#);
    }

    #[test]
    fn truncated_json_is_closed() {
        let text = |begun: &str, depth| String::from_utf8(closed(begun.as_bytes(), depth, true)).unwrap();
        assert_eq!(text(r#"{"t":1,"a":{"b":"x y\u00"#, 2), r#"{"t":1,"a":{"b":"x y\\u00"}}"#);
        assert_eq!(text("{\"a\":\"x\\", 1), r#"{"a":"x"}"#);
        assert_eq!(text(r#"{"a":["x"#, 2), r#"{"logMessage":"{\"a\":[\"x"}"#);
        assert_eq!(text(r#"{"a":1,"log"#, 1), r#"{"logMessage":"{\"a\":1,\"log"}"#);
        assert_eq!(closed(b"{\"a\":{\"b\":1\n", 2, false), br#"{"a":{"b":1}}"#);
    }

    #[test]
    fn a_value_that_is_no_object_becomes_a_text() {
        check(b"{\"a\":\ttru}", r#"{"logMessage":"{\"a\":\ttru}"}"#);
        check(b"null", r#"{"logMessage":"null"}"#);
        check(br#""a \"text\"""#, r#"{"logMessage":"a \"text\""}"#);
        check(b"[1,{}]", r#"{"logMessage":"[1,{}]"}"#);
    }
}
