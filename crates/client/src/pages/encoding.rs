//! The encoding of a page file: UTF-8, or UTF-16 with a byte order mark.

use std::borrow::Cow;

/// Decodes a file that arrives in any pieces.
#[derive(Debug)]
pub(crate) enum Encoding {
    /// Nothing was received yet, or only the first byte of a possible byte order mark.
    Unknown(Option<u8>),
    /// It is passed on as it is.
    Utf8,
    /// Half of a surrogate pair becomes U+FFFD.
    Utf16 {
        unit: fn([u8; 2]) -> u16,
        /// The beginning of a character.
        rest: Vec<u8>,
    },
}

impl Default for Encoding {
    fn default() -> Self {
        Self::Unknown(None)
    }
}

impl Encoding {
    /// Returns the text of a piece, up to the last complete character.
    pub(crate) fn decode<'p>(&mut self, piece: &'p [u8]) -> Cow<'p, [u8]> {
        match self {
            Self::Utf8 => Cow::Borrowed(piece),
            Self::Utf16 { unit, rest } => {
                rest.extend_from_slice(piece);
                let mut units: Vec<u16> = rest.as_chunks().0.iter().map(|bytes| unit(*bytes)).collect();
                // The other half may come with the next piece.
                units.pop_if(|unit| (0xd800..0xdc00).contains(&*unit));
                rest.drain(..units.len() * 2);
                let letters = char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER));
                Cow::Owned(letters.collect::<String>().into_bytes())
            }
            Self::Unknown(first) => {
                let begin: Vec<u8> = first.iter().chain(piece).copied().collect();
                match begin.as_slice() {
                    [] => {}
                    [byte @ (0xfe | 0xff)] => *first = Some(*byte),
                    [0xff, 0xfe, text @ ..] => return self.decode_utf16(u16::from_le_bytes, text),
                    [0xfe, 0xff, text @ ..] => return self.decode_utf16(u16::from_be_bytes, text),
                    _ => {
                        *self = Self::Utf8;
                        return Cow::Owned(begin);
                    }
                }
                Cow::Borrowed(&[])
            }
        }
    }

    fn decode_utf16<'p>(&mut self, unit: fn([u8; 2]) -> u16, text: &[u8]) -> Cow<'p, [u8]> {
        *self = Self::Utf16 { unit, rest: Vec::new() };
        Cow::Owned(self.decode(text).into_owned())
    }

    /// True if no character is missing its end.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Unknown(first) => first.is_none(),
            Self::Utf8 => true,
            Self::Utf16 { rest, .. } => rest.is_empty(),
        }
    }
}
