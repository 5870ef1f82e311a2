//! Text of a log or a peer, made fit for a terminal.
//!
//! A log can contain anything: sequences that clear the screen, set the title, write to the clipboard or hide a link,
//! backspaces and carriage returns that overwrite text, bidirectional overrides that change the displayed order.
//! [`printable`] is the single place that decides which parts of a text may be sent to a terminal; everything else is
//! escaped in the notation of string literals: `\x1b`, `\u{9b}`, `\u{202e}`.
//!
//! It is used for output to people. Files and pipes receive every byte unchanged.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// True for a character that does something to the text around it, or to the terminal, rather than being shown: the
/// control characters C0, C1 and DEL, the line and paragraph separators, and the characters that embed, override or
/// isolate a direction of writing.
///
/// Line feeds and tabs are among them. The marks for a direction (U+200E, U+200F, U+061C) are not: they belong to
/// ordinary Arabic and Hebrew text, and move nothing but themselves.
pub fn is_control(letter: char) -> bool {
    matches!(letter, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// True for a character that a reader does not see and a program reads: marks, joiners, tags, variation selectors.
///
/// Some belong to ordinary text of some scripts. They matter where a text is read by a language model, to which they
/// can carry what no person sees.
pub fn is_invisible(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2060..=0x206f
            | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff
    )
}

/// A character in the notation of string literals: `\n`, `\x1b`, `\u{202e}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped(pub char);

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            '\t' => f.write_str("\\t"),
            letter if letter.is_ascii() => write!(f, "\\x{:02x}", u32::from(letter)),
            letter => write!(f, "\\u{{{:x}}}", u32::from(letter)),
        }
    }
}

/// A text of any number of lines: line feeds and tabs stay, every other control character is shown as text.
///
/// Of a line that carriage returns paint over again and again, as progress bars do, the last state is shown, after a
/// `\r` that says so. A carriage return at the end of a line is left out.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter| is_control(letter) && !matches!(letter, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            shown.push('\n');
        }
        let (is_painted_over, line) = last_state(line);
        shown.push_str(if is_painted_over { "\\r" } else { "" });
        escape(line, &mut shown, |letter| letter == '\t');
    }
    Cow::Owned(shown)
}

/// Like [`printable`], on a single line: line feeds and tabs are shown as text as well.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    escape(&printable(text), &mut shown, |_| false);
    Cow::Owned(shown)
}

/// Returns the final text of a line, and whether it overwrites other text.
fn last_state(line: &str) -> (bool, &str) {
    let line = line.trim_end_matches('\r');
    match line.rsplit_once('\r') {
        Some((_, last)) => (true, last),
        None => (false, line),
    }
}

fn escape(text: &str, shown: &mut String, keeps: impl Fn(char) -> bool) {
    for letter in text.chars() {
        if is_control(letter) && !keeps(letter) {
            // A text can always be written to.
            let _ = write!(shown, "{}", Escaped(letter));
        } else {
            shown.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(printable(text), expected);
    }

    #[test]
    fn sequences_are_shown_as_text() {
        check("a\x1b[2J\x1b[Hb", "a\\x1b[2J\\x1b[Hb");
        check("\x1b]0;title\x07", "\\x1b]0;title\\x07");
        check("\x1b]52;c;cm0gLXJmIH4=\x1b\\", "\\x1b]52;c;cm0gLXJmIH4=\\x1b\\");
        check("\u{9b}2J\u{9d}0;title\u{9c}", "\\u{9b}2J\\u{9d}0;title\\u{9c}");
        check("password\x08\x08\x08", "password\\x08\\x08\\x08");
        check("\0\x7f", "\\x00\\x7f");
    }

    #[test]
    fn nothing_changes_the_order_of_a_text() {
        check("user\u{202e}nimda\u{202c}", "user\\u{202e}nimda\\u{202c}");
        check("\u{2067}x\u{2069}\u{2028}y\u{2029}z", "\\u{2067}x\\u{2069}\\u{2028}y\\u{2029}z");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let text = "größer\n\tat x.y(Z.java:1)\nשלום\u{200f}, مرحبا, 日本語 👩‍👩‍👧 \u{feff}";
        assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn a_progress_bar_shows_its_end() {
        check("loading\n10%\r50%\r100%\ndone", "loading\n\\r100%\ndone");
        check("10%\r50%\r\r", "\\r50%");
        check("of Windows\r\nlines\r\n", "of Windows\nlines\n");
        // Overwritten text leaves a mark.
        check("DROP TABLE orders\rall is well", "\\rall is well");
    }

    #[test]
    fn a_single_line_stays_one() {
        assert_eq!(printable_line("a\nb\tc\r\n\x1b"), "a\\nb\\tc\\n\\x1b");
        assert!(matches!(printable_line("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn the_ends_of_each_range_are_known() {
        let of = |is: fn(char) -> bool, code: u32| char::from_u32(code).is_some_and(is);
        for (first, last) in [(0, 0x1f), (0x7f, 0x9f), (0x2028, 0x2029), (0x202a, 0x202e), (0x2066, 0x206f)] {
            assert_eq!([first, last].map(|code| of(is_control, code)), [true, true], "{first:x}");
        }
        assert_eq!([0x20, 0x7e, 0xa0, 0x2027, 0x202f, 0x2065, 0x2070].map(|code| of(is_control, code)), [false; 7]);
        for (first, last) in [
            (0x180b, 0x180f),
            (0x200b, 0x200f),
            (0x2060, 0x206f),
            (0xfe00, 0xfe0f),
            (0xfff0, 0xfffb),
            (0xe0000, 0xe0fff),
            (0xad, 0x34f),
            (0x61c, 0x115f),
            (0x1160, 0x17b4),
            (0x17b5, 0x3164),
            (0xfeff, 0xffa0),
        ] {
            assert_eq!([first, last].map(|code| of(is_invisible, code)), [true, true], "{first:x}");
        }
        assert_eq!(
            [0x180a, 0x1810, 0x200a, 0x2010, 0xfdff, 0xfe10, 0xfffc, 0xe1000].map(|code| of(is_invisible, code)),
            [false; 8]
        );
        assert_eq!(
            ['\n', '\r', '\t', '\0', '\u{9b}'].map(|c| Escaped(c).to_string()),
            ["\\n", "\\r", "\\t", "\\x00", "\\u{9b}"]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Texts with as many control characters as others.
        #[test]
        fn no_text_controls_a_terminal(
            text in "([\\x00-\\x1f\\x7f-\u{9f}\u{2028}-\u{202e}\u{2060}-\u{206f}]|\r|\n|\x1b\\[|\\PC|[a-z0-9;m]){0,60}"
        ) {
            let is_steering = |letter: char| {
                letter.is_control() || ('\u{2028}'..='\u{202e}').contains(&letter)
                    || ('\u{2066}'..='\u{206f}').contains(&letter)
            };
            prop_assert!(!printable(&text).contains(|letter| is_steering(letter) && !matches!(letter, '\n' | '\t')));
            prop_assert!(!printable_line(&text).contains(is_steering));
            // Shown once more it is the same.
            let once = printable(&text).into_owned();
            prop_assert_eq!(printable(&once), once.as_str());
            prop_assert_eq!(printable(&text).matches('\n').count(), text.matches('\n').count());
        }
    }
}
