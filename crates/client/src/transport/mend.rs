//! Makes JSON of an entry that is almost JSON: one odd entry among many must not keep a log from being fetched.
//!
//! Everything that can be recovered is preserved exactly: a control character in a string is escaped, and a backslash
//! that escapes nothing becomes an escaped backslash. Invalid bytes and incomplete characters become U+FFFD. An entry
//! that is still not JSON becomes a record with the whole entry as its text.

use std::borrow::Cow;

use memchr::memchr;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// The replacement for invalid characters.
const REPLACEMENT: &str = "\\ufffd";

/// The same entry when it is JSON, and JSON that says the same as nearly as can be when it is not.
pub(crate) fn mended(entry: &[u8]) -> Cow<'_, [u8]> {
    if !is_odd(entry) {
        return Cow::Borrowed(entry);
    }
    let mended = with_texts_mended(&String::from_utf8_lossy(entry)).into_bytes();
    if is_json_object(&mended) { Cow::Owned(mended) } else { Cow::Owned(as_text(entry)) }
}

/// A record that has what came as its text.
pub(crate) fn as_text(entry: &[u8]) -> Vec<u8> {
    json!({"logMessage": String::from_utf8_lossy(entry)}).to_string().into_bytes()
}

/// An entry that ends inside a text, in so many objects, as one that ends.
pub(crate) fn closed(begun: &[u8], depth: u32) -> Vec<u8> {
    let mut entry = begun.trim_ascii_end().to_vec();
    // What is cut off within an escape is no escape.
    let backslashes = entry.iter().rev().take_while(|byte| **byte == b'\\').count();
    entry.truncate(entry.len() - backslashes % 2);
    let text_end = entry.len();
    entry.push(b'"');
    entry.extend(std::iter::repeat_n(b'}', depth as usize));
    let entry = mended(&entry).into_owned();
    if is_json_object(&entry) { entry } else { as_text(&begun[..text_end.min(begun.len())]) }
}

/// True for bytes that no JSON parser accepts within strings. Other errors are detected by the parser.
fn is_odd(entry: &[u8]) -> bool {
    // All bytes are checked without an early exit, which allows vectorisation.
    let has_controls = entry.iter().fold(false, |found, byte| found | (*byte < b' '));
    has_controls || std::str::from_utf8(entry).is_err() || has_odd_escapes(entry)
}

fn has_odd_escapes(entry: &[u8]) -> bool {
    let mut rest = entry;
    while let Some(at) = memchr(b'\\', rest) {
        rest = &rest[at..];
        match escape(rest) {
            Escape::Good(length) => rest = &rest[length..],
            Escape::NoCharacter(_) | Escape::Nothing => return true,
        }
    }
    false
}

/// What a backslash and what follows it are.
enum Escape {
    /// A character, in so many bytes.
    Good(usize),
    /// Half of a character, in so many bytes.
    NoCharacter(usize),
    /// A backslash.
    Nothing,
}

/// Looks at bytes that begin with a backslash.
fn escape(bytes: &[u8]) -> Escape {
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::Good(2),
        Some(b'u') => match unit(bytes) {
            None => Escape::Nothing,
            Some(0xd800..=0xdbff) => match bytes.get(6..).and_then(unit) {
                Some(0xdc00..=0xdfff) => Escape::Good(12),
                _ => Escape::NoCharacter(6),
            },
            Some(0xdc00..=0xdfff) => Escape::NoCharacter(6),
            Some(_) => Escape::Good(6),
        },
        _ => Escape::Nothing,
    }
}

/// The number of an escape like `\u00e9`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    u16::from_str_radix(digits?, 16).ok()
}

fn with_texts_mended(entry: &str) -> String {
    let mut mended = String::with_capacity(entry.len() + 16);
    let mut in_string = false;
    let mut rest = entry;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '"' => {
                in_string = !in_string;
                mended.push('"');
            }
            '\\' if in_string => match escape(rest.as_bytes()) {
                Escape::Good(taken) => {
                    length = taken;
                    mended.push_str(&rest[..taken]);
                }
                Escape::NoCharacter(taken) => {
                    length = taken;
                    mended.push_str(REPLACEMENT);
                }
                Escape::Nothing => mended.push_str("\\\\"),
            },
            '\u{0}'..='\u{1f}' if in_string => {
                mended.push_str(Value::from(character.to_string()).to_string().trim_matches('"'))
            }
            // White space between texts is left out, so that an entry is one line.
            '\n' | '\r' | '\t' => {}
            // What is no white space either.
            '\u{0}'..='\u{1f}' => {}
            other => mended.push(other),
        }
        rest = &rest[length..];
    }
    mended
}

/// True for what a reader of JSON takes.
pub(crate) fn is_json_object(entry: &[u8]) -> bool {
    entry.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(entry).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &[u8], expected: &str) {
        let mended = mended(entry);
        assert_eq!(std::str::from_utf8(&mended).unwrap(), expected);
        serde_json::from_slice::<Value>(&mended).unwrap();
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
        check(br#"{"a":"x \ud83d y"}"#, r#"{"a":"x \ufffd y"}"#);
        check(br#"{"a":"\ude00\ud83d\ud83d\ude00"}"#, r#"{"a":"\ufffd\ufffd\ud83d\ude00"}"#);
        check(br#"{"a":"\ud83d\u0041"}"#, r#"{"a":"\ufffd\u0041"}"#);
        check(b"{\"a\":\"caf\xe9 au lait\"}", "{\"a\":\"caf\u{fffd} au lait\"}");
        check(b"{\"a\":\"one\ttwo\nthree\x1b[0m\"}", r#"{"a":"one\ttwo\nthree\u001b[0m"}"#);
        check(br#"{"a":"C:\Users\x \u12 \u"}"#, r#"{"a":"C:\\Users\\x \\u12 \\u"}"#);
        check(b"{\"a\" :\t1,\n\"b\":\x002}", r#"{"a" :1,"b":2}"#);
    }

    #[test]
    fn what_was_cut_short_is_closed() {
        let text = |begun: &str, depth| String::from_utf8(closed(begun.as_bytes(), depth)).unwrap();
        assert_eq!(text(r#"{"t":1,"a":{"b":"x y\u00"#, 2), r#"{"t":1,"a":{"b":"x y\\u00"}}"#);
        assert_eq!(text("{\"a\":\"x\\", 1), r#"{"a":"x"}"#);
        assert_eq!(text(r#"{"a":["x"#, 2), r#"{"logMessage":"{\"a\":[\"x"}"#);
        assert_eq!(text(r#"{"a":1,"log"#, 1), r#"{"logMessage":"{\"a\":1,\"log"}"#);
    }

    #[test]
    fn what_is_no_json_at_all_is_a_text() {
        check(b"{\"a\":\ttru}", r#"{"logMessage":"{\"a\":\ttru}"}"#);
    }
}
