//! JSON whose texts some writers break: made readable again, with everything that can be kept.

/// JSON after [`repair`], and how many of its texts were not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The JSON.
    pub json: Vec<u8>,
    /// Texts that something was wrong with, names of fields included.
    pub texts: u64,
}

/// Repairs invalid texts, and leaves everything else unchanged: unpaired surrogates and bytes that are not UTF-8 become
/// U+FFFD; raw control characters, and backslashes that start no escape, are escaped and thus preserved. For JSON that
/// could not be parsed; errors outside of strings remain.
pub fn repair(json: &[u8]) -> Repaired {
    let mut out = Vec::with_capacity(json.len() + 16);
    let mut texts = 0;
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        let (before, text) = rest.split_at(at + 1);
        out.extend_from_slice(before);
        let (behind, is_broken) = repair_text(text, &mut out);
        texts += u64::from(is_broken);
        rest = behind;
    }
    out.extend_from_slice(rest);
    Repaired { json: out, texts }
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

    proptest! {
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
