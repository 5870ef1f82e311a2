//! UTF-16 as UTF-8.

use std::io::{self, Read};

/// The byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// Converts UTF-16 to UTF-8. Half of a surrogate pair, and half of a unit at the end, become U+FFFD.
pub(crate) struct Utf16Reader<R> {
    bytes: R,
    order: ByteOrder,
    /// Bytes that were read, possibly with an incomplete character.
    read: Vec<u8>,
    /// Characters that were not given yet, from `at` on.
    text: String,
    at: usize,
    is_at_end: bool,
}

impl<R: Read> Utf16Reader<R> {
    pub(crate) fn new(bytes: R, order: ByteOrder) -> Self {
        Self { bytes, order, read: Vec::new(), text: String::new(), at: 0, is_at_end: false }
    }

    fn fill(&mut self) -> io::Result<()> {
        let begun = self.read.len();
        let mut chunk = [0; 16 << 10];
        let more = self.bytes.read(&mut chunk)?;
        self.is_at_end = more == 0;
        self.read.extend_from_slice(&chunk[..more]);
        let mut units: Vec<u16> = self.read.as_chunks().0.iter().map(|unit| self.unit(*unit)).collect();
        let is_half_pair = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        // The other half may be in the next read.
        if is_half_pair && !self.is_at_end {
            units.pop();
        }
        self.read.drain(..units.len() * 2);
        self.text.clear();
        self.at = 0;
        self.text.extend(char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)));
        if self.is_at_end && begun % 2 == 1 {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        Ok(())
    }

    fn unit(&self, bytes: [u8; 2]) -> u16 {
        match self.order {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() && !self.is_at_end {
            self.fill()?;
        }
        let rest = &self.text.as_bytes()[self.at..];
        let given = rest.len().min(out.len());
        out[..given].copy_from_slice(&rest[..given]);
        self.at += given;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let end = out.len().min(1);
            self.0.read(&mut out[..end])
        }
    }

    fn read(bytes: &[u8], order: ByteOrder) -> String {
        let (mut at_once, mut slowly) = (String::new(), String::new());
        Utf16Reader::new(bytes, order).read_to_string(&mut at_once).unwrap();
        Utf16Reader::new(Slow(bytes), order).read_to_string(&mut slowly).unwrap();
        assert_eq!(at_once, slowly);
        at_once
    }

    #[test]
    fn every_character_is_decoded() {
        let text = "a grün 日本 👍 \u{10ffff}\n".repeat(3_000);
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(read(&little, ByteOrder::Little), text);
        assert_eq!(read(&big, ByteOrder::Big), text);
    }

    #[test]
    fn incomplete_characters_are_replaced() {
        assert_eq!(read(&[0x3d, 0xd8, b'a', 0], ByteOrder::Little), "\u{fffd}a");
        assert_eq!(read(&[b'a', 0, 0x3d, 0xd8], ByteOrder::Little), "a\u{fffd}");
        assert_eq!(read(&[b'a', 0, b'b'], ByteOrder::Little), "a\u{fffd}");
    }
}
