//! The elements of JSON that comes in any arrangement: in arrays, one after another, with commas missing or surplus, on
//! one line or on many.

/// Follows an element (an object, an array, a text, a number or a word) to its end, in pieces of any length.
///
/// What is wrong inside of an element is left to its reader; only its end matters here. An element that was cut short
/// does not take its neighbours with it: a brace at the beginning of a line where none can follow begins the next one.
#[derive(Debug, Clone, Default)]
pub struct ElementScan {
    /// Open braces and brackets.
    depth: u32,
    in_text: bool,
    /// The byte before was a backslash in a text.
    is_escaped: bool,
    /// How many bytes of [`NEXT_ELEMENT`] were met last, inside a text.
    of_next: usize,
    /// The last byte outside of texts that is no white space; 0 before the element.
    last: u8,
    /// True if only white space precedes on this line.
    begins_line: bool,
}

/// Inside a text, where JSON has no line breaks, this is the beginning of the next element.
const NEXT_ELEMENT: &[u8] = b"\n{\"";

/// The result of a step of an [`ElementScan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something inside of the element.
    Inside,
    /// A line break outside of its texts.
    LineBreak,
    /// The beginning of an array inside of it.
    Array,
    /// The end of the element, before the place that the step returns.
    End,
    /// The element was cut short: so many bytes before the place that the step returns begin the next one, which the
    /// scan is in now.
    Next(usize),
}

impl ElementScan {
    /// A scan of an object whose first brace was taken.
    pub fn in_object() -> Self {
        Self { depth: 1, last: b'{', ..Self::default() }
    }

    /// Braces and brackets that are open.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// True inside of a text.
    pub fn is_in_text(&self) -> bool {
        self.in_text
    }

    /// Takes the bytes of a piece from a place on, as far as nothing is met; returns the place behind them, and what
    /// was met.
    pub fn step(&mut self, piece: &[u8], at: usize) -> (usize, Step) {
        if self.in_text {
            return self.step_in_text(piece, at);
        }
        let byte = piece[at];
        let is_word = self.depth == 0 && self.last != 0;
        if is_word && (byte.is_ascii_whitespace() || b",[]{}\"".contains(&byte)) {
            return (at, Step::End);
        }
        if byte.is_ascii_whitespace() {
            let is_break = matches!(byte, b'\n' | b'\r');
            self.begins_line |= is_break;
            return (at + 1, if is_break { Step::LineBreak } else { Step::Inside });
        }
        let is_first = std::mem::take(&mut self.begins_line);
        let before = std::mem::replace(&mut self.last, byte);
        let met = match byte {
            b'{' if is_first && self.depth > 0 && !matches!(before, b':' | b'[' | b',') => {
                *self = Self::in_object();
                Step::Next(1)
            }
            b'{' | b'[' => {
                self.depth += 1;
                if byte == b'[' { Step::Array } else { Step::Inside }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 { Step::End } else { Step::Inside }
            }
            b'"' => {
                self.in_text = true;
                Step::Inside
            }
            _ => Step::Inside,
        };
        (at + 1, met)
    }

    /// Goes to the end of a text, or of the piece.
    fn step_in_text(&mut self, piece: &[u8], at: usize) -> (usize, Step) {
        if std::mem::take(&mut self.is_escaped) {
            return (at + 1, Step::Inside);
        }
        if self.of_next > 0 {
            if piece[at] == NEXT_ELEMENT[self.of_next] {
                self.of_next += 1;
                if self.of_next < NEXT_ELEMENT.len() {
                    return (at + 1, Step::Inside);
                }
                // The quotation mark begins the first name of the next element.
                *self = Self { in_text: true, ..Self::in_object() };
                return (at + 1, Step::Next(NEXT_ELEMENT.len() - 1));
            }
            self.of_next = 0;
        }
        let Some(ahead) = memchr::memchr3(b'"', b'\\', b'\n', &piece[at..]) else { return (piece.len(), Step::Inside) };
        let at = at + ahead;
        match piece[at] {
            b'"' => {
                self.in_text = false;
                if self.depth == 0 {
                    return (at + 1, Step::End);
                }
            }
            b'\n' => self.of_next = 1,
            _ => self.is_escaped = true,
        }
        (at + 1, Step::Inside)
    }
}

/// The length of the element that a text begins with; none if it is cut short, by the end of the text or by another
/// element.
pub fn element_length(text: &[u8]) -> Option<usize> {
    let (mut scan, mut at) = (ElementScan::default(), 0);
    while at < text.len() {
        match scan.step(text, at) {
            (end, Step::End) => return Some(end),
            (_, Step::Next(_)) => return None,
            (next, _) => at = next,
        }
    }
    (scan.depth == 0 && !scan.in_text && scan.last != 0).then_some(text.len())
}

/// A text without what stands before elements: white space, and the marks that some writers put between them (byte
/// order marks, record separators, zeros).
pub fn without_marks(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = match rest {
            [0xef, 0xbb, 0xbf, behind @ ..] | [0 | 0x1e, behind @ ..] => behind,
            [byte, behind @ ..] if byte.is_ascii_whitespace() => behind,
            _ => return rest,
        };
    }
}

/// The elements of a line, each with its place in it: one, several, or those of an array that may have begun on another
/// line. A line that does not begin like JSON is one element, and so is the rest of one that is cut short.
pub fn elements_of_line(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = line;
    let mut is_json = false;
    std::iter::from_fn(move || {
        loop {
            rest = without_marks(rest);
            match rest.first()? {
                b'[' | b']' | b',' => (rest, is_json) = (&rest[1..], true),
                byte => {
                    is_json |= *byte == b'{';
                    let length = if is_json { element_length(rest) } else { None };
                    let at = line.len() - rest.len();
                    let (element, behind) = rest.split_at(length.unwrap_or(rest.len()));
                    rest = behind;
                    return Some((at, element.trim_ascii_end()));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(line: &str, expected: &[&str]) {
        let found: Vec<&str> = elements_of_line(line.as_bytes())
            .map(|(at, element)| {
                assert_eq!(&line.as_bytes()[at..][..element.len()], element);
                std::str::from_utf8(element).unwrap()
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_elements_of_a_line_are_found_in_any_arrangement() {
        let (one, other) = (r#"{"a":"]}\"{"}"#, r#"{"b":[{}]}"#);
        check_line(one, &[one]);
        check_line(&format!("[{one},{other}]"), &[one, other]);
        check_line(&format!("{one}{other}"), &[one, other]);
        check_line(&format!(" {one} , {other} , "), &[one, other]);
        check_line(&format!("[{one} {other},]"), &[one, other]);
        check_line(&format!("\u{feff}{one}\r"), &[one]);
        check_line(&format!("\u{1e}{one}\0{other}"), &[one, other]);
        check_line(&format!(r#"[{one},null,"a,b",7,[{other}]]"#), &[one, "null", r#""a,b""#, "7", other]);
        for structure in ["[", "]", "],", " , ", "[]", "\u{feff}"] {
            check_line(structure, &[]);
        }
    }

    #[test]
    fn what_is_no_json_or_cut_short_is_one_element() {
        check_line("not json, but text", &["not json, but text"]);
        check_line(r#"{"a":1},{"b":"#, &[r#"{"a":1}"#, r#"{"b":"#]);
    }

    #[test]
    fn an_element_has_an_end_unless_it_is_cut_short() {
        for (text, length) in [
            ("{\n \"a\": [\n  {\n  }\n ]\n} rest", Some(22)),
            ("{\"a\":1\n{\"b\":2}", None),
            ("{\"a\":\"tw\n{\"b\":2}", None),
            ("{\"a\":\"one\ntwo\n{three\"}", Some(22)),
            ("{\"a\":[1,\n{}]}", Some(13)),
            ("nul,", Some(3)),
            ("12", Some(2)),
            ("\"a\\\"b\",", Some(6)),
            ("{", None),
            ("", None),
        ] {
            assert_eq!(element_length(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn a_scan_has_the_depth_of_what_is_open() {
        let mut scan = ElementScan::in_object();
        assert_eq!((scan.depth(), scan.is_in_text()), (1, false));
        let text = br#""a":[{"b"#;
        let (mut at, mut met) = (0, Vec::new());
        while at < text.len() {
            let (next, step) = scan.step(text, at);
            met.extend((step != Step::Inside).then_some(step));
            at = next;
        }
        assert_eq!((scan.depth(), scan.is_in_text(), met), (3, true, vec![Step::Array]));
        let mut scan = ElementScan::in_object();
        assert_eq!(
            [scan.step(b"\n", 0), scan.step(b"\r", 0), scan.step(b" ", 0)],
            [(1, Step::LineBreak), (1, Step::LineBreak), (1, Step::Inside),]
        );
        assert_eq!(scan.step(b"}", 0), (1, Step::End));
    }
}
