//! Framing of messages in a stream of bytes (RFC 6587): a message ends after the number of bytes before it, or at a
//! line break or a zero.
//!
//! All occur on one port, and are told apart message by message: a number is followed by a space and `<` or `{`. Once a
//! message had its length before it, the next one has as well, or begins with `<` or `{`: a line that does not is no
//! part of the message before, which is complete.

use bytes::{Buf, BytesMut};
use memchr::memchr2;

/// Most digits of a length.
const DIGITS_MAX: usize = 10;

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// Its length before it was cut, if it was, or if the connection ended within it. Unit: bytes.
    pub(crate) whole_bytes: Option<u64>,
    pub(crate) start: Start,
}

/// The kind of the beginning of a frame, as far as its position in the stream determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// A message.
    Message,
    /// A message, or a further line of the one before: that ended with a line break, as each line of a message does.
    Line,
    /// Neither a length nor a message, although the message before had a length.
    NoLength,
}

/// Divides a stream into messages of a bounded length.
#[derive(Debug)]
pub(crate) struct Frames {
    bytes_max: usize,
    state: State,
    before: End,
}

#[derive(Debug)]
enum State {
    /// At the beginning of a message.
    Between,
    /// In a message of this length, of which this part is there already.
    Counted { length: u64, rest: u64, kept: Vec<u8> },
    /// In a line that is too long: its beginning, the length so far, and what it begins with.
    LongLine { kept: Vec<u8>, length: u64, start: Start },
}

/// How the message before has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There was none, or it ended with a zero.
    Zero,
    LineBreak,
    /// It had its length before it.
    Counted,
}

impl Frames {
    /// The longer part of a message is cut off beyond `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: State::Between, before: End::Zero }
    }

    /// The next complete message of the buffer, which is taken out of it.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        loop {
            match &mut self.state {
                State::Between => {
                    self.skip_separators(buffer);
                    match length(buffer, self.before) {
                        Length::Unknown => return None,
                        Length::Counted { digits, length } => {
                            buffer.advance(digits);
                            self.state = State::Counted { length, rest: length, kept: Vec::new() };
                        }
                        Length::Line => match memchr2(b'\n', 0, buffer) {
                            Some(end) => {
                                let line = buffer.split_to(end + 1);
                                let frame = self.line(&line[..end], end as u64);
                                self.end_line(line[end], frame.start);
                                return Some(frame);
                            }
                            None if buffer.len() <= self.bytes_max => return None,
                            None => {
                                let length = buffer.len() as u64;
                                let start = self.start_of_line(buffer);
                                let kept = buffer[..self.bytes_max].to_vec();
                                buffer.clear();
                                self.state = State::LongLine { kept, length, start };
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
                    (self.state, self.before) = (State::Between, End::Counted);
                    // Many senders count a line break at the end, and some a zero.
                    if whole_bytes.is_none() && bytes.ends_with(b"\0") {
                        bytes.pop();
                    }
                    if whole_bytes.is_none() && bytes.ends_with(b"\n") {
                        bytes.truncate(bytes.len() - 1 - usize::from(bytes.ends_with(b"\r\n")));
                    }
                    return Some(Frame { bytes, whole_bytes, start: Start::Message });
                }
                State::LongLine { kept, length, start } => {
                    let end = memchr2(b'\n', 0, buffer);
                    *length += end.unwrap_or(buffer.len()) as u64;
                    let Some(end) = end else {
                        buffer.clear();
                        return None;
                    };
                    let (bytes, whole_bytes, start) = (std::mem::take(kept), Some(*length), *start);
                    let separator = buffer[end];
                    buffer.advance(end + 1);
                    self.state = State::Between;
                    self.end_line(separator, start);
                    return Some(Frame { bytes, whole_bytes, start });
                }
            }
        }
    }

    /// The rest at the end of the stream: a line without a line break, or a message that is not complete.
    pub(crate) fn finish(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        let rest = buffer.split();
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between if rest.is_empty() => None,
            State::Between => Some(self.line(&rest, rest.len() as u64)),
            State::Counted { length, kept, .. } => {
                Some(Frame { bytes: kept, whole_bytes: Some(length), start: Start::Message })
            }
            State::LongLine { kept, length, start } => Some(Frame { bytes: kept, whole_bytes: Some(length), start }),
        }
    }

    /// Takes off what separates messages: line breaks and zeros, of which some senders write several.
    fn skip_separators(&mut self, buffer: &mut BytesMut) {
        let begin = buffer.iter().position(|byte| !matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(buffer.len());
        if self.before == End::LineBreak && buffer[..begin].contains(&0) {
            self.before = End::Zero;
        }
        buffer.advance(begin);
    }

    fn line(&self, line: &[u8], length: u64) -> Frame {
        let start = self.start_of_line(line);
        if line.len() > self.bytes_max {
            return Frame { bytes: line[..self.bytes_max].to_vec(), whole_bytes: Some(length), start };
        }
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        Frame { bytes: line[..end].to_vec(), whole_bytes: None, start }
    }

    fn start_of_line(&self, line: &[u8]) -> Start {
        match self.before {
            End::Zero => Start::Message,
            End::LineBreak => Start::Line,
            End::Counted if line.starts_with(b"<") || line.starts_with(b"{") => Start::Message,
            End::Counted => Start::NoLength,
        }
    }

    fn end_line(&mut self, separator: u8, start: Start) {
        self.before = match start {
            // The following bytes are not part of a message either.
            Start::NoLength => End::Counted,
            Start::Message | Start::Line if separator == 0 => End::Zero,
            Start::Message | Start::Line => End::LineBreak,
        };
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

fn length(buffer: &[u8], before: End) -> Length {
    if buffer.is_empty() {
        return Length::Unknown;
    }
    let digits = buffer.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX || buffer[0] == b'0' {
        return Length::Line;
    }
    match (buffer.get(digits..digits + 2), before) {
        (Some(b" <"), _) | (Some(b" {"), End::Zero) | (Some([b' ', _]), End::Counted) => {}
        (Some(_), _) => return Length::Line,
        (None, _) if buffer.len() > digits && buffer[digits] != b' ' => return Length::Line,
        (None, _) => return Length::Unknown,
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

    fn starts(stream: &[u8]) -> Vec<(String, Start)> {
        let text = |frame: Frame| (String::from_utf8_lossy(&frame.bytes).into_owned(), frame.start);
        divided(stream, 4_096, 64).into_iter().map(text).collect()
    }

    #[test]
    fn messages_that_end_with_zeros_are_not_merged() {
        let expected = [("<1>a", Start::Message), ("{\"b\":1}", Start::Message), ("c", Start::Message)];
        let expected = expected.map(|(text, start)| (text.to_owned(), start));
        assert_eq!(starts(b"<1>a\0{\"b\":1}\0c\0"), expected);
        assert_eq!(starts(b"<1>a\n\0{\"b\":1}\0\nc"), expected);
        let further = starts(b"<1>a\n\tat b.C\0<1>d\0");
        assert_eq!(further[1], ("\tat b.C".to_owned(), Start::Line), "a message may have lines");
    }

    #[test]
    fn after_a_message_with_a_length_no_line_continues_it() {
        let expected = |them: &[(&str, Start)]| -> Vec<(String, Start)> {
            them.iter().map(|(text, start)| ((*text).to_owned(), *start)).collect()
        };
        assert_eq!(
            starts(b"5 <1>ab9 {\"c\":\"d\"}4 text5 <2>ef"),
            expected(&[
                ("<1>ab", Start::Message),
                ("{\"c\":\"d\"}", Start::Message),
                ("text", Start::Message),
                ("<2>ef", Start::Message)
            ])
        );
        assert_eq!(
            starts(b"5 <1>ab0x9 lost\nlost\n5 <2>cd<3>e\n\tat f.G\n12 {h\n"),
            expected(&[
                ("<1>ab", Start::Message),
                ("0x9 lost", Start::NoLength),
                ("lost", Start::NoLength),
                ("<2>cd", Start::Message),
                ("<3>e", Start::Message),
                ("\tat f.G", Start::Line),
                ("12 {h", Start::Line),
            ])
        );
        assert_eq!(starts(b"9 {\"c\":\"d\"}").len(), 1);
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
