//! Bytes as text, also where they are not UTF-8.

use std::borrow::Cow;

/// Decodes the parts of a log.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Parts that were not valid UTF-8.
    pub(crate) invalid_texts: u64,
}

impl Decoder {
    /// The text of some bytes. Bytes that are not UTF-8 are read as Windows-1252, which programs on Windows write, unless
    /// other characters beyond ASCII are valid: then they become U+FFFD.
    pub(crate) fn decode<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, str> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Cow::Borrowed(text);
        }
        self.invalid_texts += 1;
        match bytes.utf8_chunks().all(|chunk| chunk.valid().is_ascii()) {
            true => Cow::Owned(bytes.iter().map(|byte| windows_1252(*byte)).collect()),
            false => String::from_utf8_lossy(bytes),
        }
    }
}

/// The characters of the bytes 0x80 to 0x9f; those without one are as in ISO 8859-1.
const FROM_80: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => FROM_80[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_windows_are_read_and_counted() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode("grün 5 €".as_bytes()), "grün 5 €");
        assert_eq!(decoder.decode(b"gr\xfcn 5 \x80"), "grün 5 €");
        assert_eq!(decoder.decode("grün \u{ff}".as_bytes()).len(), 8);
        assert_eq!(decoder.decode(b"gr\xc3\xbcn \xff"), "grün \u{fffd}");
        assert_eq!(decoder.invalid_texts, 2);
    }
}
