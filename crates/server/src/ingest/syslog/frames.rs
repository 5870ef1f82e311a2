//! Where a message ends in a stream of bytes (RFC 6587): after the number of bytes before it, or at a line break.
//!
//! Both occur on one port, and are told apart message by message: a number is followed by a space and `<`.

use bytes::{Buf, BytesMut};
use memchr::memchr;

/// Most digits of a length.
const DIGITS_MAX: usize = 10;

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// Its length before it was cut, if it was, or if the connection ended within it. Unit: bytes.
    pub(crate) whole_bytes: Option<u64>,
    /// True if it ended with a line break, so that a message with several lines is several frames.
    pub(crate) is_line: bool,
}

/// Divides a stream into messages of a bounded length.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// At the beginning of a message.
    Between,
    /// In a message of this length, of which this part is there already.
    Counted { length: u64, rest: u64, kept: Vec<u8> },
    /// In a line that is too long: its beginning, and the length so far.
    LongLine { kept: Vec<u8>, length: u64 },
}

impl Frames {
    /// The longer part of a message is cut off beyond `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: State::Between }
    }

    /// The next complete message of the buffer, which is taken out of it.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        loop {
            match &mut self.state {
                State::Between => {
                    // What separates messages: line breaks, and the zeros that some senders end theirs with.
                    let begin =
                        buffer.iter().position(|byte| !matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(buffer.len());
                    buffer.advance(begin);
                    match length(buffer) {
                        Length::Unknown => return None,
                        Length::Counted { digits, length } => {
                            buffer.advance(digits);
                            self.state = State::Counted { length, rest: length, kept: Vec::new() };
                        }
                        Length::Line => match memchr(b'\n', buffer) {
                            Some(end) => {
                                let line = buffer.split_to(end + 1);
                                return Some(self.line(&line[..end], end as u64));
                            }
                            None if buffer.len() <= self.bytes_max => return None,
                            None => {
                                let length = buffer.len() as u64;
                                let kept = buffer[..self.bytes_max].to_vec();
                                buffer.clear();
                                self.state = State::LongLine { kept, length };
                            }
                        },
                    }
                }
                State::Counted { length, rest, kept } => {
                    let here = usize::try_from(*rest).unwrap_or(usize::MAX).min(buffer.len());
                    let room = self.bytes_max.saturating_sub(kept.len()).min(here);
                    kept.extend_from_slice(&buffer[..room]);
                    buffer.advance(here);
                    *rest -= here as u64;
                    if *rest > 0 {
                        return None;
                    }
                    let whole_bytes = (*length > self.bytes_max as u64).then_some(*length);
                    let mut bytes = std::mem::take(kept);
                    self.state = State::Between;
                    // Many senders count a line break at the end.
                    if whole_bytes.is_none() && bytes.ends_with(b"\n") {
                        bytes.truncate(bytes.len() - 1 - usize::from(bytes.ends_with(b"\r\n")));
                    }
                    return Some(Frame { bytes, whole_bytes, is_line: false });
                }
                State::LongLine { kept, length } => {
                    let end = memchr(b'\n', buffer);
                    *length += end.unwrap_or(buffer.len()) as u64;
                    let (bytes, length) = match end {
                        None => {
                            buffer.clear();
                            return None;
                        }
                        Some(_) => (std::mem::take(kept), *length),
                    };
                    buffer.advance(end.map_or(0, |end| end + 1));
                    self.state = State::Between;
                    return Some(Frame { bytes, whole_bytes: Some(length), is_line: true });
                }
            }
        }
    }

    /// What is left at the end of the stream: a line without a line break, or a message that is not complete.
    pub(crate) fn finish(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let rest = buffer.split();
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between if rest.is_empty() => None,
            State::Between => Some(self.line(&rest, rest.len() as u64)),
            State::Counted { length, kept, .. } => {
                Some(Frame { bytes: kept, whole_bytes: Some(length), is_line: false })
            }
            State::LongLine { kept, length } => Some(Frame { bytes: kept, whole_bytes: Some(length), is_line: true }),
        }
    }

    fn line(&self, line: &[u8], length: u64) -> Frame {
        if line.len() > self.bytes_max {
            return Frame { bytes: line[..self.bytes_max].to_vec(), whole_bytes: Some(length), is_line: true };
        }
        let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | 0)).map_or(0, |last| last + 1);
        Frame { bytes: line[..end].to_vec(), whole_bytes: None, is_line: true }
    }
}

/// How the end of a message is found.
enum Length {
    /// By its length, which is written in this many bytes before it.
    Counted {
        digits: usize,
        length: u64,
    },
    Line,
    /// More bytes are needed to tell.
    Unknown,
}

fn length(buffer: &[u8]) -> Length {
    if buffer.is_empty() {
        return Length::Unknown;
    }
    let digits = buffer.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX || buffer[0] == b'0' {
        return Length::Line;
    }
    match buffer.get(digits..digits + 2) {
        Some(b" <") => {}
        Some(_) => return Length::Line,
        None if buffer.len() > digits && buffer[digits] != b' ' => return Length::Line,
        None => return Length::Unknown,
    }
    let text = std::str::from_utf8(&buffer[..digits]).unwrap_or_default();
    match text.parse() {
        Ok(length) => Length::Counted { digits: digits + 1, length },
        Err(_) => Length::Line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(stream: &[u8], part_bytes: usize, bytes_max: usize) -> Vec<Frame> {
        let (mut frames, mut buffer, mut found) = (Frames::new(bytes_max), BytesMut::new(), Vec::new());
        for part in stream.chunks(part_bytes) {
            buffer.extend_from_slice(part);
            while let Some(frame) = frames.next(&mut buffer) {
                found.push(frame);
            }
        }
        found.extend(frames.finish(&mut buffer));
        found
    }

    fn texts(stream: &[u8]) -> Vec<String> {
        let text = |frame: Frame| String::from_utf8_lossy(&frame.bytes).into_owned();
        divided(stream, 4_096, 64).into_iter().map(text).collect()
    }

    #[test]
    fn messages_end_by_their_length_or_at_a_line_break() {
        assert_eq!(texts(b"5 <1>ab6 <1>a\nb<1>c\r\n\n<1>d\0\n\0<1>e"), ["<1>ab", "<1>a\nb", "<1>c", "<1>d", "<1>e"]);
        assert_eq!(texts(b"6 <1>ab\n7 <1>ab\r\n6 <1>a\n\n<1>c\n"), ["<1>ab", "<1>ab", "<1>a\n", "<1>c"]);
        assert_eq!(texts(b"3 errors\n12\n0 <1>\n99999999999 <1>\n"), ["3 errors", "12", "0 <1>", "99999999999 <1>"]);
        assert_eq!(texts(b""), [""; 0]);
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_what_follows_is_not() {
        let long = "x".repeat(200);
        let stream = format!("203 <1>{long}<2>{long}\n<3>next\n300 <4>lost");
        let frames = divided(stream.as_bytes(), 7, 64);
        let lengths: Vec<(usize, Option<u64>)> =
            frames.iter().map(|frame| (frame.bytes.len(), frame.whole_bytes)).collect();
        assert_eq!(lengths, [(64, Some(203)), (64, Some(203)), (7, None), (7, Some(300))]);
        assert_eq!(frames[2].bytes, b"<3>next");
    }

    #[test]
    fn it_does_not_matter_in_which_parts_a_stream_arrives() {
        let long = "y".repeat(100);
        let stream = format!("5 <1>ab<2>cd\n103 <3>{long}<4>{long}\r\n\tat a.B\n12 <5>e\nfghijkl<6>\n{long}\n7 <7>m");
        let whole = divided(stream.as_bytes(), usize::MAX, 64);
        for part_bytes in 1..stream.len() {
            assert_eq!(divided(stream.as_bytes(), part_bytes, 64), whole, "{part_bytes}");
        }
    }
}
