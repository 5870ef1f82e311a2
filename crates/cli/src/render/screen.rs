//! Standard output and standard error: bytes are written unchanged to a file or a pipe; on a terminal, control
//! characters of logs and peers are escaped.
//!
//! All output of the program is written through a [`Screen`]. On a terminal, it passes text, line feeds, tabs and the
//! styles of this program, and shows every other control character as text, in the notation of
//! [`runlog_model::printable`]. Code that writes text of a log or a peer must use [`Stream::shown`] as well, which also
//! shows styles in that text as text. Of a progress bar in the text, it shows the final state.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use super::pager::Paged;
use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use runlog_model::printable::{Escaped, is_control, printable, printable_line};

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: results.
    Result,
    /// Standard error: everything else.
    Note,
}

impl Stream {
    /// Returns true if the stream is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Result => io::stdout().is_terminal(),
            Self::Note => io::stderr().is_terminal(),
        }
    }

    /// Returns true if the stream shows colours: on a terminal, unless `NO_COLOR` or a similar setting disables them.
    pub(crate) fn has_colours(self) -> bool {
        let choice = match self {
            Self::Result => AutoStream::choice(&io::stdout()),
            Self::Note => AutoStream::choice(&io::stderr()),
        };
        choice != ColorChoice::Never
    }

    /// Returns `style` if the stream shows colours, else the empty style.
    pub(crate) fn style(self, style: Style) -> Style {
        if self.has_colours() { style } else { Style::new() }
    }

    /// Escapes a text of a log or a peer for this stream.
    pub(crate) fn shown(self, text: &str) -> Cow<'_, str> {
        if self.is_terminal() { printable(text) } else { Cow::Borrowed(text) }
    }

    /// Like [`shown`](Self::shown), for a text that must be on one line.
    pub(crate) fn shown_on_line(self, text: &str) -> Cow<'_, str> {
        if self.is_terminal() { printable_line(text) } else { Cow::Borrowed(text) }
    }

    /// Returns a writer to the stream.
    pub(crate) fn screen(self) -> Screen<Box<dyn Write + Send>> {
        let out: Box<dyn Write + Send> = match self {
            Self::Result => Box::new(Paged),
            Self::Note => Box::new(io::stderr()),
        };
        match self.is_terminal() {
            true => Screen::of_terminal(out, self.has_colours()),
            false => Screen::of_bytes(out),
        }
    }
}

/// The styles of this program, as parameters of "select graphic rendition".
// Includes the styles of the program's log and of the help.
const STYLES: [&[u8]; 11] = [b"0", b"1", b"2", b"3", b"4", b"31", b"32", b"33", b"34", b"35", b"36"];

/// Longest sequence of [`STYLES`].
const SEQUENCE_BYTES_MAX: usize = 5;

/// A writer to a terminal, a file or a pipe.
///
/// Writes may be split at any byte; [`Write::flush`] shows the incomplete rest as it is.
#[derive(Debug)]
pub(crate) struct Screen<W: Write> {
    out: W,
    /// None: bytes are written unchanged.
    terminal: Option<Terminal>,
}

#[derive(Debug, Default)]
struct Terminal {
    has_colours: bool,
    /// The beginning of an incomplete character or sequence: a few bytes.
    begun: Vec<u8>,
    /// True if a style was started and not reset.
    is_styled: bool,
}

impl<W: Write> Screen<W> {
    /// Returns a screen that writes to a terminal.
    pub(crate) fn of_terminal(out: W, has_colours: bool) -> Self {
        Self { out, terminal: Some(Terminal { has_colours, ..Terminal::default() }) }
    }

    /// Returns a screen that writes bytes unchanged.
    pub(crate) fn of_bytes(out: W) -> Self {
        Self { out, terminal: None }
    }

    /// Shows all output written so far, and resets a style that is still active.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.terminal.as_mut().is_some_and(|terminal| std::mem::take(&mut terminal.is_styled)) {
            true => self.out.write_all(b"\x1b[0m").and_then(|()| self.out.flush()),
            false => Ok(()),
        }
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.terminal {
            None => self.out.write(bytes),
            Some(terminal) => {
                let shown = terminal.shown(bytes, false);
                self.out.write_all(shown.as_bytes())?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            let shown = terminal.shown(&[], true);
            self.out.write_all(shown.as_bytes())?;
        }
        self.out.flush()
    }
}

impl Terminal {
    /// Returns the output for these bytes; an incomplete sequence at the end is retained unless `is_end`.
    fn shown(&mut self, bytes: &[u8], is_end: bool) -> String {
        let all = [std::mem::take(&mut self.begun).as_slice(), bytes].concat();
        let mut shown = String::with_capacity(all.len() + 16);
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (text, bad) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(error) => {
                    let (text, after) = rest.split_at(error.valid_up_to());
                    // Only the text before it is valid.
                    (std::str::from_utf8(text).unwrap_or_default(), Some((after, error.error_len())))
                }
            };
            let kept = self.put(text, is_end || bad.is_some(), &mut shown);
            self.begun.extend_from_slice(&text.as_bytes()[text.len() - kept..]);
            rest = match bad {
                None => &[],
                Some((after, None)) if !is_end => {
                    self.begun.extend_from_slice(after);
                    &[]
                }
                Some((after, length)) => {
                    let (bad, after) = after.split_at(length.unwrap_or(after.len()));
                    bad.iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
                    after
                }
            };
        }
        shown
    }

    /// Appends a text, and returns how many bytes at its end may be the start of a style.
    fn put(&mut self, text: &str, is_end: bool, shown: &mut String) -> usize {
        let mut rest = text;
        while let Some(at) = rest.find(|letter| is_control(letter) && !matches!(letter, '\n' | '\t')) {
            let (before, from) = rest.split_at(at);
            shown.push_str(before);
            match style_at(from.as_bytes()) {
                StyleAt::Whole(length) if self.has_colours => {
                    self.is_styled = &from[..length] != "\x1b[0m";
                    shown.push_str(&from[..length]);
                    rest = &from[length..];
                }
                StyleAt::Begun if self.has_colours && !is_end => return from.len(),
                _ => {
                    let letter = from.chars().next().unwrap_or_default();
                    shown.push_str(&Escaped(letter).to_string());
                    rest = &from[letter.len_utf8()..];
                }
            }
        }
        shown.push_str(rest);
        0
    }
}

/// Writes events of the program's own log, each in a single write: one line per event, regardless of the quoted text,
/// and without control characters, also in a file.
#[derive(Debug)]
pub(crate) struct EventLine<W: Write>(pub(crate) W);

impl<W: Write> Write for EventLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\\n").replace('\t', "\\t");
        let mut screen = Screen::of_terminal(Vec::with_capacity(line.len() + 16), true);
        screen.write_all(line.as_bytes())?;
        screen.end()?;
        screen.out.push(b'\n');
        self.0.write_all(&screen.out)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The kind of content at the start of a byte sequence.
enum StyleAt {
    /// A style of this program, with its length in bytes.
    Whole(usize),
    /// Possibly the beginning of a style.
    Begun,
    /// Something else.
    None,
}

fn style_at(bytes: &[u8]) -> StyleAt {
    let beginning = &bytes[..bytes.len().min(SEQUENCE_BYTES_MAX)];
    let mut is_begun = false;
    for parameter in STYLES {
        let sequence = [b"\x1b[", parameter, b"m"].concat();
        if bytes.starts_with(&sequence) {
            return StyleAt::Whole(sequence.len());
        }
        is_begun |= sequence.starts_with(beginning);
    }
    if is_begun { StyleAt::Begun } else { StyleAt::None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes that a terminal receives when these parts are written in sequence.
    fn written(parts: &[&[u8]], has_colours: bool) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::of_terminal(&mut out, has_colours);
        parts.iter().for_each(|part| screen.write_all(part).unwrap());
        screen.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_our_own_styles_are_printed() {
        assert_eq!(
            written(&[b"\x1b[1m\x1b[31merror:\x1b[0m \x1b[2Jx"], true),
            "\x1b[1m\x1b[31merror:\x1b[0m \\x1b[2Jx"
        );
        assert_eq!(written(&[b"\x1b[31mred\x1b[0m"], false), "\\x1b[31mred\\x1b[0m");
        assert_eq!(written(&[b"\x1b[8mhidden\x1b[30m\x1b[31;8m"], true), "\\x1b[8mhidden\\x1b[30m\\x1b[31;8m");
        // A style that is not reset does not affect later output.
        assert_eq!(written(&[b"\x1b[31mred"], true), "\x1b[31mred\x1b[0m");
    }

    #[test]
    fn a_part_may_end_anywhere() {
        let text = "a\x1b[32mgrün\x1b[0m\x1b]0;t\x07\u{9b}2J日\x1b".as_bytes();
        let whole = written(&[text], true);
        assert_eq!(whole, "a\x1b[32mgrün\x1b[0m\\x1b]0;t\\x07\\u{9b}2J日\\x1b");
        for cut in 0..text.len() {
            assert_eq!(written(&[&text[..cut], &text[cut..]], true), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(written(&single, true), whole);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_by_their_number() {
        assert_eq!(written(&[b"a\x9b2J\xffb"], true), "a\\x9b2J\\xffb");
        assert_eq!(written(&[b"cut \xe6\x97"], true), "cut \\xe6\\x97");
    }

    #[test]
    fn files_and_pipes_receive_unchanged_bytes() {
        let (bytes, mut out) = (b"a\x1b[2J\xff\r\x1b[31m\x9b", Vec::new());
        let mut screen = Screen::of_bytes(&mut out);
        screen.write_all(bytes).unwrap();
        screen.finish().unwrap();
        assert_eq!(out, bytes);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_bytes_control_a_terminal(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b'm'), b'0'..=b'9', Just(0xc2), 0x80..=0x9f_u8],
                0..80,
            ),
            cut in 0..80_usize,
            has_colours: bool,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let shown = written(&[first, second], has_colours);
            prop_assert_eq!(&shown, &written(&[&bytes], has_colours));
            let mut bare = shown;
            for parameter in ["0", "1", "2", "3", "4", "31", "32", "33", "34", "35", "36"] {
                if has_colours {
                    bare = bare.replace(&format!("\x1b[{parameter}m"), "");
                }
            }
            prop_assert!(!bare.contains(|letter| is_control(letter) && !matches!(letter, '\n' | '\t')), "{:?}", bare);
        }
    }
}
