//! Converts a line to its shape: values that vary from record to record are replaced with placeholders for their kind.
//!
//! One pass over the bytes, without regular expressions. The shape of a line depends on that line alone, never on the
//! lines before it, so the same statement has the same shape in every run. Inside a shape each [`Mask`] is one control
//! character (a line's own control characters become spaces); [`text_of`] writes the names.

use std::borrow::Cow;
use std::ops::Range;

/// Maximum number of bytes of a line that are considered.
pub(crate) const LINE_BYTES_MAX: usize = 8_192;

/// Maximum number of words and masks of a shape; the rest becomes [`Mask::Cut`].
pub(crate) const SHAPE_WORDS_MAX: usize = 64;

/// Size in bytes from which no further word is added to a shape; with the last word, the size stays below twice this
/// value.
pub(crate) const SHAPE_BYTES_MAX: usize = 600;

/// Maximum length of a run of letters and digits in bytes; a longer one is an encoded value, not a word, and becomes
/// `<id>`.
const WORD_BYTES_MAX: usize = 128;

/// Minimum length of a hexadecimal number that consists only of letters; shorter ones are words.
const HEX_LETTERS_MIN: usize = 8;

/// Minimum length of a value that is encoded as Base64.
const ENCODED_BYTES_MIN: usize = 14;

/// Maximum length of the name of a JSON member in bytes; a longer text is a value.
const NAME_BYTES_MAX: usize = 40;

/// Maximum number of repetitions of a punctuation mark in a shape, so that rulers of any length are equal.
const REPEATS_MAX: usize = 3;

/// Minimum number of asterisks that represent an unknown number.
const UNKNOWN_BYTES_MIN: usize = 3;

/// Maximum number of bytes after such asterisks that are searched for the first number of a list.
const UNKNOWN_AHEAD_MAX: usize = 32;

/// Minimum length of a progress bar in bytes.
const BAR_BYTES_MIN: usize = 10;

/// Maximum length of the code of an error in bytes, such as `SQL20054N`.
const CODE_BYTES_MAX: usize = 9;

/// The placeholder of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mask {
    /// `42`, `-1`, `1,536`, `3.14`, `1.5E-7`, `4.3.0`, also within words: `broadcast_7`.
    Number,
    /// `0x1f`, a hash of seven or more digits, `@451001e5`.
    Hex,
    /// `0b1a51f8-ce26-4590-89c6-c5bf0720bd6c`.
    Uuid,
    /// A date, a time of day, or both.
    Time,
    /// `12 ms`, `1h30m`.
    Duration,
    /// `39.4 KiB`, `104 bytes`.
    Size,
    /// `/opt/data/x.csv`, `C:\data`, `a/b/c`, `hdfs://host/x`.
    Path,
    /// An IP address, with its port.
    Address,
    /// A quoted text.
    Text,
    /// Letters and digits that are too mixed (`x7Kd93Qa`) or too long for a word.
    Id,
    /// A word that varies; detected only when shapes are joined to templates.
    Word,
    /// The rest of a line that is too long.
    Cut,
    /// Not a value: the class of the exception in the record follows.
    Exception,
    /// Not a value: the space between two cells of a row.
    Gap,
}

impl Mask {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Number, "<number>"),
        (Self::Hex, "<hex>"),
        (Self::Uuid, "<uuid>"),
        (Self::Time, "<time>"),
        (Self::Duration, "<duration>"),
        (Self::Size, "<size>"),
        (Self::Path, "<path>"),
        (Self::Address, "<address>"),
        (Self::Text, "<text>"),
        (Self::Id, "<id>"),
        (Self::Word, "<*>"),
        (Self::Cut, "<...>"),
        (Self::Exception, " | "),
        (Self::Gap, "  "),
    ];

    /// Returns the character that represents the mask in a shape: U+0001 and following.
    pub(crate) const fn char(self) -> char {
        (self as u8 + 1) as char
    }

    fn name_of(c: char) -> Option<&'static str> {
        let place = (c as usize).checked_sub(1)?;
        Self::ALL.get(place).map(|(_, name)| *name)
    }
}

/// Returns the text of a shape, as displayed and as hashed for its ID.
pub(crate) fn text_of(shape: &str) -> String {
    let mut text = String::with_capacity(shape.len() + 32);
    for c in shape.chars() {
        match Mask::name_of(c) {
            Some(name) => text.push_str(name),
            None => text.push(c),
        }
    }
    text
}

/// Parses the output of [`text_of`] into a shape.
pub(crate) fn shape_of_text(text: &str) -> String {
    let mut shape = text.to_owned();
    for (mask, name) in Mask::ALL {
        if shape.contains(name) {
            shape = shape.replace(name, mask.char().encode_utf8(&mut [0; 4]));
        }
    }
    shape
}

/// Returns a line with its values masked, as text.
pub(crate) fn masked(line: &str) -> String {
    let mut shape = String::new();
    mask_line(line, &mut shape);
    text_of(&shape)
}

/// Adds the shape of a line to `shape`.
///
/// Terminal colours do not affect the shape.
pub(crate) fn mask_line(line: &str, shape: &mut String) {
    let line = &*without_colours(&line[..line.floor_char_boundary(LINE_BYTES_MAX)]);
    let start = shape.len();
    let mut masker = Masker {
        line,
        bytes: line.as_bytes(),
        at: 0,
        words: 0,
        words_before: 0,
        unclosed: [false; 128],
        unclosed_wide: 0,
        message_end: usize::MAX,
        word_start: start,
        word_before: start..start,
        has_gaps: false,
        shape,
    };
    masker.run();
}

/// Removes terminal colours, such as `ESC [ 1 ; 31 m`, from a text. Other control sequences are kept because they are
/// not decoration.
pub(crate) fn without_colours(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr::memchr(0x1b, bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut rest = 0;
    let mut plain = String::new();
    for start in memchr::memmem::find_iter(bytes, b"\x1b[") {
        let parameters = bytes[start + 2..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
        let end = start + 2 + parameters;
        if bytes.get(end) == Some(&b'm') {
            plain.push_str(&text[rest..start]);
            rest = end + 1;
        }
    }
    match rest {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(plain + &text[rest..]),
    }
}

/// Separates words that are spaced like cells of a row, until it is known whether the line is a row.
const GAP: char = Mask::Gap.char();
const TAB: char = '\u{f}';

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == GAP as u8 || byte == TAB as u8
}

/// Minimum number of cells of a row that are separated by gaps.
const GAP_CELLS_MIN: usize = 3;

/// Maximum number of words of such a cell.
const GAP_CELL_WORDS_MAX: usize = 4;

/// Keeps the gaps of a row, and replaces them with spaces in other lines. An assignment between two tabs has a single
/// value.
fn settle_gaps(shape: &mut String, start: usize) {
    let line = &shape[start..];
    if line.contains(TAB) && line.contains('=') {
        let cells: Vec<String> = line.split(TAB).map(with_assigned_masked).collect();
        shape.truncate(start);
        shape.push_str(&cells.join(" "));
    }
    let line = &shape[start..];
    let other = if is_row(line) { GAP } else { ' ' };
    let settled: String = line.chars().map(|c| if c == GAP || c == TAB { other } else { c }).collect();
    shape.truncate(start);
    shape.push_str(&settled);
}

/// Masks a value of several words, as in `OPERATION=AM Allocated Container`.
fn with_assigned_masked(cell: &str) -> String {
    match cell.split_once('=') {
        Some((name, value)) if value.contains(' ') && !name.contains(' ') && !value.contains('=') => {
            format!("{name}={}", Mask::Word.char())
        }
        _ => cell.to_owned(),
    }
}

/// True for a line of short cells that are separated by gaps, without the punctuation of sentences, if one cell is a
/// value.
fn is_row(line: &str) -> bool {
    let is_value = |cell: &str| cell.len() == 1 && cell.starts_with(|c: char| c < ' ');
    let (mut count, mut values) = (0, 0);
    for cell in line.split([GAP, TAB]).map(|cell| cell.trim_matches(' ')) {
        if cell.split(' ').count() > GAP_CELL_WORDS_MAX {
            return false;
        }
        count += 1;
        values += usize::from(is_value(cell));
    }
    count >= GAP_CELLS_MIN && values > 0 && !line.contains([':', '=', '(', '[', '{', '<', '|', ';'])
}

struct Masker<'a> {
    line: &'a str,
    bytes: &'a [u8],
    at: usize,
    words: usize,
    /// Number of words before the current one.
    words_before: usize,
    /// Quotation marks without a closing mark in the rest of the line, so that the line is searched only once for each.
    unclosed: [bool; 128],
    /// Non-ASCII quotation marks without a closing mark, one bit each.
    unclosed_wide: u32,
    /// The end of the message in a JSON member, whose text is masked like a line.
    message_end: usize,
    /// The start of the current word in the shape; words are separated by spaces.
    word_start: usize,
    /// The range of the previous word in the shape.
    word_before: Range<usize>,
    /// True if words of the line are spaced like cells of a row.
    has_gaps: bool,
    shape: &'a mut String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    /// May begin a non-ASCII punctuation mark or letter.
    Wide,
    Quote,
    Slash,
    Sign,
    At,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=b' ' | 0x7f => Class::Space,
            0xc2 | 0xe2 | 0xe3 | 0xef => Class::Wide,
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'"' | b'\'' | b'`' => Class::Quote,
            b'/' => Class::Slash,
            b'-' | b'+' => Class::Sign,
            b'@' => Class::At,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// Splits a text before its last word, which consists of letters only.
fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let letters = text.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    text.split_at(text.len() - letters)
}

fn is_alphanumeric(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit | Class::Wide)
}

/// Returns the length of the non-ASCII punctuation mark or space with which a text begins; 0 if there is none.
pub(crate) fn wide_punctuation(text: &[u8]) -> usize {
    match *text {
        [0xc2, 0xa0 | 0xab | 0xb7 | 0xbb, ..] => 2,
        // Dashes, quotation marks, the ellipsis, the narrow space, arrows.
        [0xe2, 0x80, 0x90..=0x9f | 0xa6 | 0xaf | 0xb9 | 0xba, ..] | [0xe2, 0x86, ..] => 3,
        // The ideographic space, comma and full stop, and brackets.
        [0xe3, 0x80, 0x80..=0x82 | 0x88..=0x91, ..] => 3,
        [0xef, 0xbc, 0x81 | 0x88 | 0x89 | 0x8c | 0x9a | 0x9b | 0x9f, ..] => 3,
        _ => 0,
    }
}

/// Returns the closing mark for an opening quotation mark. `»` is an opening mark in German.
fn closing_of(mark: &str) -> Option<&'static str> {
    Some(match mark {
        "«" => "»",
        "»" => "«",
        "‹" => "›",
        "“" => "”",
        "„" => "“",
        "‘" => "’",
        "‚" => "‘",
        "「" => "」",
        "『" => "』",
        _ => return None,
    })
}

impl Masker<'_> {
    fn run(&mut self) {
        let start = self.shape.len();
        while self.at < self.bytes.len() {
            if self.words >= SHAPE_WORDS_MAX || self.shape.len() - start >= SHAPE_BYTES_MAX {
                self.shape.push(Mask::Cut.char());
                return self.settle_gaps(start);
            }
            match class(self.bytes[self.at]) {
                Class::Letter | Class::Digit => self.alphanumeric(),
                Class::Space => self.space(start),
                Class::Quote => self.quoted(),
                Class::Slash => self.slash(),
                Class::Sign => self.sign(),
                Class::At => self.identity_hash(),
                Class::Wide => match wide_punctuation(&self.bytes[self.at..]) {
                    0 => self.alphanumeric(),
                    length => self.wide_punctuation(length),
                },
                Class::Other => self.punctuation(),
            }
        }
        self.shape.truncate(start + self.shape[start..].trim_end_matches([' ', GAP, TAB]).len());
        if self.shape.len() > self.word_start {
            self.end_word();
        }
        self.settle_gaps(start);
    }

    /// Keeps the gaps of a row, and replaces them with spaces in other lines.
    fn settle_gaps(&mut self, start: usize) {
        if self.has_gaps {
            settle_gaps(self.shape, start);
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b' ')
    }

    fn previous(&self) -> u8 {
        self.previous_of(self.at)
    }

    fn end_of(&self, mut at: usize, belongs: impl Fn(u8) -> bool) -> usize {
        while at < self.bytes.len() && belongs(self.bytes[at]) {
            at += 1;
        }
        at
    }

    fn copy_to(&mut self, end: usize) {
        self.shape.push_str(&self.line[self.at..end]);
        self.at = end;
    }

    /// Replaces the bytes up to `end` with a mask. A list of values of one kind counts as one value, regardless of its
    /// length.
    fn mask_to(&mut self, mask: Mask, end: usize) {
        self.at = end;
        if mask == Mask::Size && self.byte(end) == b')' && self.shape.ends_with("\u{6} (") {
            // `1056 bytes (1.03 KB)`: the same size in another unit.
            self.shorten_to(self.shape.len() - 2);
            self.at += 1;
            return;
        }
        match self.list_end(mask) {
            Some(length) => self.shorten_to(length),
            None => {
                self.words += 1;
                self.shape.push(mask.char());
            }
        }
    }

    /// Shortens the shape. Words that extend beyond its new end are invalidated: their ranges would refer to other text
    /// when the shape grows again.
    fn shorten_to(&mut self, length: usize) {
        self.shape.truncate(length);
        if self.word_before.end > length {
            self.word_before = length..length;
        }
        if self.word_start > length {
            self.word_start = usize::MAX;
        }
    }

    /// Returns the end of the shape's last value, if it is of this kind and followed only by a separator.
    fn list_end(&self, mask: Mask) -> Option<usize> {
        let shape = self.shape.as_bytes();
        let spaces = shape.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let mut end = shape.len() - spaces;
        let separator = *shape[..end].last()?;
        end -= usize::from(matches!(separator, b',' | b';') || separator == b':' && mask == Mask::Path);
        let alone = end < 2 || !(is_alphanumeric(shape[end - 2]) || matches!(shape[end - 2], b'_' | b'.' | b'$'));
        (end < shape.len() && end > 0 && shape[end - 1] == mask as u8 + 1 && alone).then_some(end)
    }

    fn space(&mut self, start: usize) {
        let from = self.at;
        self.at = self.end_of(from + 1, |byte| class(byte) == Class::Space);
        if self.shape.len() <= start {
            return;
        }
        self.end_word();
        let is_wide = self.at - from > 1 || self.bytes[from] != b' ';
        let between = if is_wide { self.gap(from) } else { ' ' };
        self.shape.push(between);
    }

    /// Returns the separator of two words for the white space from `from` to the current position.
    fn gap(&mut self, from: usize) -> char {
        let is_tab = self.bytes[from..self.at].contains(&b'\t');
        // After punctuation, white space of any width is part of a sentence.
        let is_of_row = self.at - from > 1 && !matches!(self.previous_of(from), b':' | b'=' | b'.' | b',');
        self.has_gaps |= is_tab || is_of_row;
        match is_tab {
            true => TAB,
            false if is_of_row => GAP,
            false => ' ',
        }
    }

    /// Returns the length of the text up to a closing quotation mark.
    fn length_before(&mut self, closing: &str, start: usize) -> Option<usize> {
        // The last bytes of these marks differ in their last bits.
        let bit = 1 << (closing.as_bytes()[closing.len() - 1] & 31);
        let length = if self.unclosed_wide & bit == 0 { self.line[start..].find(closing) } else { None };
        self.unclosed_wide |= if length.is_none() { bit } else { 0 };
        length
    }

    fn previous_of(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(b' ', |at| self.bytes[at])
    }

    /// Processes a non-ASCII punctuation mark, which may begin a quotation.
    fn wide_punctuation(&mut self, length: usize) {
        let end = self.at + length;
        let mark = &self.line[self.at..end];
        if matches!(mark, "\u{a0}" | "\u{202f}" | "\u{3000}") {
            if !self.shape.is_empty() && !self.shape.ends_with([' ', GAP, TAB]) {
                self.end_word();
                self.shape.push(' ');
            }
            self.at = end;
            return;
        }
        let quotation = closing_of(mark).and_then(|closing| Some((closing, self.length_before(closing, end)?)));
        let Some((closing, text_length)) = quotation else { return self.copy_to(end) };
        self.copy_to(end);
        self.words += 1;
        self.shape.push(Mask::Text.char());
        self.shape.push_str(closing);
        self.at = end + text_length + closing.len();
    }

    /// Removes the word that ends here from the shape if it equals the previous word and contains a value: the length
    /// of a list such as `node1 node2 node3` or `blk_1, blk_2` is a value as well.
    fn end_word(&mut self) {
        let end = self.shape.len();
        if self.word_start >= end {
            // The word became part of a list.
            self.word_before = end..end;
            self.word_start = end + 1;
            self.words_before = self.words;
            return;
        }
        let (before, word) = (self.word_before.clone(), self.word_start..end);
        let text_of = |range: &Range<usize>| self.shape[range.clone()].trim_end_matches([',', ';']);
        let text = text_of(&word);
        let repeated = !text.is_empty() && text == text_of(&before) && text.bytes().any(|byte| byte < b' ');
        if repeated {
            let separator = self.shape[word.start + text.len()..].chars().next();
            let length = before.start + text.len();
            self.words = self.words_before;
            self.shape.truncate(length);
            self.shape.extend(separator);
            self.word_before.end = self.shape.len();
        } else {
            self.word_before = word;
        }
        self.word_start = self.shape.len() + 1;
        self.words_before = self.words;
    }

    fn punctuation(&mut self) {
        let byte = self.bytes[self.at];
        let end = self.end_of(self.at, |next| next == byte);
        if matches!(byte, b'<' | b'>' | b'~') && end == self.at + 1 && self.byte(end).is_ascii_digit() {
            let (mask, number_end) = self.number(end);
            if matches!(mask, Mask::Duration | Mask::Size) {
                // `<1 sec`: a bound is a value.
                return self.mask_to(mask, number_end);
            }
        }
        if byte == b'*' && self.is_unknown_number(end) {
            return self.mask_to(Mask::Number, end);
        }
        if matches!(byte, b'#' | b'=')
            && let Some(bar_end) = self.bar_end(end)
        {
            self.shape.extend([byte as char; REPEATS_MAX]);
            self.at = bar_end;
            return;
        }
        self.copy_to(end.min(self.at + REPEATS_MAX));
        self.at = end;
    }

    /// True if the asterisks up to `end` are an element of a list of numbers: `( 3552 **** 3515 )`.
    fn is_unknown_number(&self, end: usize) -> bool {
        let rest = &self.bytes[end..];
        let next = rest.iter().copied().take(UNKNOWN_AHEAD_MAX).find(|byte| !is_blank(*byte));
        let first = rest.iter().copied().take(UNKNOWN_AHEAD_MAX).find(|byte| !is_blank(*byte) && *byte != b'*');
        let goes_on = matches!(next, None | Some(b'0'..=b'9' | b'*' | b')' | b']'));
        let follows_number = self.shape.ends_with("\u{1} ");
        let begins = self.shape.ends_with(['(', '[', ' ']) && self.shape.trim_end_matches(' ').ends_with(['(', '[']);
        end >= self.at + UNKNOWN_BYTES_MIN
            && rest.first().is_none_or(|byte| is_blank(*byte))
            && (follows_number && goes_on || begins && first.is_some_and(|byte| byte.is_ascii_digit()))
    }

    /// Returns the end of a progress bar that starts here and whose filled part ends at `full_end`: `####....`,
    /// `===>---`.
    fn bar_end(&self, full_end: usize) -> Option<usize> {
        let tip_end = full_end + usize::from(self.byte(full_end) == b'>');
        let rest = self.byte(tip_end);
        let end = if matches!(rest, b'.' | b'-' | b'_') { self.end_of(tip_end, |byte| byte == rest) } else { tip_end };
        (end - self.at >= BAR_BYTES_MIN).then_some(end)
    }

    /// Processes a quotation mark. An apostrophe within a word neither opens nor closes a quotation.
    fn quoted(&mut self) {
        let quote = self.bytes[self.at];
        if self.at == self.message_end {
            return self.copy_to(self.at + 1);
        }
        if is_alphanumeric(self.previous()) || self.unclosed[quote as usize] {
            return self.punctuation();
        }
        let closes = |at: &usize| self.bytes[*at] == quote && !is_alphanumeric(self.byte(at + 1));
        let Some(end) = (self.at + 1..self.bytes.len()).find(closes) else {
            self.unclosed[quote as usize] = true;
            return self.punctuation();
        };
        if quote == b'"' && self.is_value_of(&[b"msg", b"message"]) {
            // The message of a log entry is not a value, but contains values.
            self.message_end = end;
            return self.copy_to(self.at + 1);
        }
        if let Some(kept) = self.kept_of_quoted(end) {
            self.words += 1;
            self.copy_to(kept);
            if kept <= end {
                self.shape.extend([' ', Mask::Text.char(), quote as char]);
                self.at = end + 1;
            }
            return;
        }
        self.words += 1;
        self.at = end + 1;
        let quoted = [quote as char, Mask::Text.char(), quote as char];
        let before = self.shape.trim_end_matches(' ');
        match before.strip_suffix(',') {
            // A quoted text before a colon is the key of a dictionary.
            Some(before) if before.chars().rev().take(3).eq(quoted) && self.byte(self.at) != b':' => {
                let length = before.len();
                self.shorten_to(length);
            }
            _ => self.shape.extend(quoted),
        }
    }

    /// Returns the end of the part of a quoted text, ending at `end`, that is not a value: the whole text for names of
    /// JSON members and for members that identify the kind of a record; the method of an HTTP request.
    fn kept_of_quoted(&self, end: usize) -> Option<usize> {
        const KINDS: [&[u8]; 8] =
            [b"type", b"kind", b"event", b"action", b"operation", b"op", b"eventType", b"event_type"];
        const METHODS: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"PATCH ", b"OPTIONS "];
        let text = &self.bytes[self.at + 1..end];
        if let Some(method) = METHODS.iter().find(|method| text.starts_with(method)) {
            return Some(self.at + method.len());
        }
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len())
            && !text[0].is_ascii_digit()
            && text.iter().all(|byte| is_alphanumeric(*byte) || b"_-.@$".contains(byte))
            && text.iter().filter(|byte| byte.is_ascii_digit()).count() <= 2;
        if self.bytes[self.at] != b'"' || !is_name {
            return None;
        }
        let colon = |at: usize| self.byte(at) == b':' || self.byte(at) == b' ' && self.byte(at + 1) == b':';
        let opens = |byte: u8| matches!(byte, b'{' | b',');
        let before = self.bytes[..self.at].trim_ascii_end();
        if before.last().is_some_and(|byte| opens(*byte)) && colon(end + 1) {
            return Some(end + 1);
        }
        self.is_value_of(&KINDS).then_some(end + 1)
    }

    /// True if the quoted text that starts here is the value of a JSON member with one of these names.
    fn is_value_of(&self, names: &[&[u8]]) -> bool {
        let before = self.bytes[..self.at].trim_ascii_end().strip_suffix(b":");
        let name = before.and_then(|before| before.trim_ascii_end().strip_suffix(b"\""));
        name.is_some_and(|text| {
            names.iter().any(|name| text.strip_suffix(*name).is_some_and(|before| before.last() == Some(&b'"')))
        })
    }

    fn slash(&mut self) {
        let opens = matches!(
            self.previous(),
            b' ' | b'\t' | b'=' | b':' | b'(' | b'[' | b'{' | b',' | b';' | b'|' | b'>' | b'"' | b'\'' | b'`'
        );
        if opens && (is_alphanumeric(self.byte(self.at + 1)) || matches!(self.byte(self.at + 1), b'.' | b'_')) {
            return self.mask_to(Mask::Path, self.path_end(self.at));
        }
        self.punctuation();
    }

    /// Returns the end of a path or URL that starts at `at`; a full stop after it belongs to the sentence.
    fn path_end(&self, at: usize) -> usize {
        let belongs = |byte: u8| is_alphanumeric(byte) || b"/\\._-%+=@~*$#&?".contains(&byte);
        let mut end = self.end_of(at, belongs);
        // A port is part of the address.
        while self.byte(end) == b':' && self.byte(end + 1).is_ascii_digit() {
            end = self.end_of(end + 1, belongs);
        }
        while end > at + 1 && matches!(self.bytes[end - 1], b'.' | b'?') {
            end -= 1;
        }
        end
    }

    fn sign(&mut self) {
        let after_value = is_alphanumeric(self.previous()) || matches!(self.previous(), b')' | b']' | b'.' | b'-');
        if !after_value && self.byte(self.at + 1).is_ascii_digit() {
            self.at += 1;
            return self.alphanumeric();
        }
        self.punctuation();
    }

    /// `SomeClass@451001e5`: Java's default text of an object.
    fn identity_hash(&mut self) {
        let end = self.end_of(self.at + 1, |byte| byte.is_ascii_hexdigit());
        let digits = &self.bytes[self.at + 1..end];
        self.punctuation();
        let hash = (4..=16).contains(&digits.len()) && digits.iter().any(u8::is_ascii_digit);
        if hash && self.at + digits.len() == end && !is_alphanumeric(self.byte(end)) {
            self.mask_to(Mask::Hex, end);
        }
    }

    fn alphanumeric(&mut self) {
        let run = self.measure();
        if run.end - self.at > WORD_BYTES_MAX {
            return self.mask_to(Mask::Id, run.end);
        }
        if let Some(end) = self.uuid_end(&run) {
            return self.mask_to(Mask::Uuid, end);
        }
        if let Some(end) = self.address_of_web_end(&run) {
            return self.mask_to(Mask::Path, end);
        }
        if let Some((mask, end)) = self.colon_groups(&run) {
            return self.mask_to(mask, end);
        }
        if let Some(end) = self.encoded_end(&run) {
            return self.mask_to(Mask::Id, end);
        }
        if run.digits == 0 {
            self.word(&run);
        } else if run.end - self.at <= CODE_BYTES_MAX && self.is_code(&run) {
            self.words += 1;
            self.copy_to(run.end);
        } else {
            self.with_digits(&run);
        }
    }

    /// Returns the end of a Base64 value: it is padded, or contains characters that do not occur in words.
    fn encoded_end(&self, run: &Run) -> Option<usize> {
        if !matches!(self.byte(run.end), b'+' | b'/' | b'=') {
            return None;
        }
        let text_end = self.end_of(run.end, |byte| is_alphanumeric(byte) || matches!(byte, b'+' | b'/'));
        let end = self.end_of(text_end, |byte| byte == b'=');
        let text = &self.bytes[self.at..text_end];
        let has_digits = text.iter().any(u8::is_ascii_digit);
        // `orderTable=` is more likely a name without a value.
        let is_padded = match end - text_end {
            1 => has_digits,
            2 => true,
            _ => false,
        } && (end - self.at).is_multiple_of(4);
        let is_encoded = text.len() >= ENCODED_BYTES_MIN
            && (is_padded || end == text_end && has_digits && text.contains(&b'+'))
            && text.iter().any(u8::is_ascii_uppercase)
            && text.iter().any(u8::is_ascii_lowercase);
        (is_encoded && !is_alphanumeric(self.byte(end))).then_some(end)
    }

    /// True for the code of an error, which distinguishes causes and is not a value. `ORA-00942`, `SQLSTATE 42P01`,
    /// `HTTP 503`, `exit code 4`, `ERROR 1045 (28000)`, `SQL0204N`.
    fn is_code(&self, run: &Run) -> bool {
        let text = &self.bytes[self.at..run.end];
        if matches!(self.byte(run.end), b'.' | b',' | b':') && self.byte(run.end + 1).is_ascii_digit() {
            return false;
        }
        let is_number = run.digits == text.len();
        if !is_number {
            let of_db2 =
                text.len() >= 8 && text.starts_with(b"SQL") && text[3..text.len() - 1].iter().all(u8::is_ascii_digit);
            if of_db2 && matches!(text[text.len() - 1], b'N' | b'C' | b'W') {
                return true;
            }
        }
        let before = &self.bytes[..self.at];
        let is_between = |byte: &u8| b" -=:([#'\"".contains(byte);
        let between = before.iter().rev().take(3).take_while(|byte| is_between(byte)).count();
        if between == 0 {
            return false;
        }
        let (before, between) = before.split_at(self.at - between);
        let (before, word) = last_word(before);
        let is_of = |words: &[&str]| words.iter().any(|it| word.eq_ignore_ascii_case(it.as_bytes()));
        let is_after = |words: &[&str]| {
            let (_, earlier) = last_word(before.trim_ascii_end());
            words.iter().any(|it| earlier.eq_ignore_ascii_case(it.as_bytes()))
        };
        let is_http = is_number && text.len() == 3 && matches!(text[0], b'1'..=b'5');
        if is_of(&["sqlstate"]) {
            return text.len() == 5;
        }
        if !is_number {
            return false;
        }
        const OF_ORACLE: [&str; 10] = ["ora", "tns", "pls", "rman", "dpy", "dpi", "kup", "lrm", "nze", "imp"];
        (between == b"-" && is_of(&OF_ORACLE))
            || is_of(&["sqlcode", "errno"])
            || is_of(&["code"]) && is_after(&["exit", "error", "status", "return", "vendor", "response", "with"])
            || is_of(&["value"]) && is_after(&["exit"])
            || is_of(&["status"]) && is_after(&["exit"])
            || is_http && is_of(&["http"])
            || is_of(&["error"])
                && between == b" "
                && (3..=5).contains(&text.len())
                && (self.byte(run.end) == b':' || self.bytes[run.end..].starts_with(b" ("))
    }

    /// Returns the run of letters and digits that starts here.
    fn measure(&self) -> Run {
        let letters_end = self.end_of(self.at, |byte| class(byte) == Class::Letter);
        if !is_alphanumeric(self.byte(letters_end)) {
            // Most runs are words.
            let hex = self.bytes[self.at..letters_end].iter().all(u8::is_ascii_hexdigit);
            return Run { end: letters_end, digits: 0, switches: 0, hex };
        }
        let mut run = Run { end: self.at, digits: 0, switches: 0, hex: true };
        let mut digit_before = self.bytes[self.at].is_ascii_digit();
        while run.end < self.bytes.len() {
            let byte = self.bytes[run.end];
            let digit = match class(byte) {
                Class::Digit => true,
                Class::Letter => false,
                Class::Wide if wide_punctuation(&self.bytes[run.end..]) == 0 => false,
                _ => break,
            };
            run.digits += usize::from(digit);
            run.switches += usize::from(digit != digit_before);
            run.hex &= digit || byte.is_ascii_hexdigit();
            digit_before = digit;
            run.end += 1;
        }
        run
    }

    fn word(&mut self, run: &Run) {
        // Most words that look like a prefix are followed by another word.
        let apart = run.end + usize::from(self.byte(run.end) == b',');
        let may_be_date = self.byte(apart) == b' '
            && self.bytes[self.at].is_ascii_uppercase()
            && matches!(self.byte(apart + 1), b'0'..=b'9' | b'A'..=b'Z' | b' ');
        if may_be_date && let Some(end) = self.spelled_date_end(self.at) {
            return self.mask_to(Mask::Time, end);
        }
        if self.byte(run.end) == b'/' && is_alphanumeric(self.byte(run.end + 1)) {
            let end = self.path_end(self.at);
            if self.bytes[self.at..end].iter().filter(|byte| **byte == b'/').count() >= 2 {
                return self.mask_to(Mask::Path, end);
            }
        }
        if run.hex && run.end - self.at >= HEX_LETTERS_MIN {
            return self.mask_to(Mask::Hex, run.end);
        }
        self.words += 1;
        self.copy_to(run.end);
    }

    fn with_digits(&mut self, run: &Run) {
        let text = &self.bytes[self.at..run.end];
        let length = text.len();
        let starts_a_value = !matches!(self.previous(), b'_' | b'$' | b'.');
        if text[0].is_ascii_digit() && starts_a_value {
            let spelled = || if length <= 2 { self.spelled_date_end(self.at) } else { None };
            if let Some(end) = self.time_end(self.at).or_else(spelled).or_else(|| self.minutes_end(self.at)) {
                return self.mask_to(Mask::Time, end);
            }
            if text.len() > 2 && text.starts_with(b"0x") && text[2..].iter().all(u8::is_ascii_hexdigit) {
                return self.mask_to(Mask::Hex, run.end);
            }
        }
        if text[0].is_ascii_digit() {
            let (mask, end) = self.number(self.at);
            if end >= run.end {
                return self.mask_to(mask, end);
            }
        }
        if run.hex && length >= 7 && run.digits < length {
            return self.mask_to(Mask::Hex, run.end);
        }
        // `PSUDNEVH8Y` is a key; in other words in capitals, digits occur only at the end.
        let key =
            run.switches == 2 && text[length - 1].is_ascii_uppercase() && !text.iter().any(u8::is_ascii_lowercase);
        if length >= 8 && (run.switches >= 3 || key) && text.is_ascii() {
            return self.mask_to(Mask::Id, run.end);
        }
        self.digits_within(run.end);
    }

    /// `piece0`, `94L`: the digits are a number, the letters stay. A digit between letters is part of the word: `log4j`.
    fn digits_within(&mut self, run_end: usize) {
        self.words += 1;
        while self.at < run_end {
            let digits_end = self.end_of(self.at, |byte| byte.is_ascii_digit());
            let letter_follows = digits_end < run_end && self.bytes[digits_end].is_ascii_alphabetic();
            let within = digits_end == self.at + 1 && self.previous().is_ascii_alphabetic() && letter_follows;
            if digits_end > self.at && !within {
                self.shape.push(Mask::Number.char());
                self.at = digits_end;
                // `v4.3.0` is one number, like `4.3.0`.
                while self.at >= run_end && self.byte(self.at) == b'.' && self.byte(self.at + 1).is_ascii_digit() {
                    self.at = self.end_of(self.at + 1, |byte| byte.is_ascii_digit());
                }
            }
            if self.at < run_end {
                let letters = self.bytes[self.at..run_end].iter().take_while(|byte| !byte.is_ascii_digit()).count();
                self.copy_to(digits_end.max(self.at + letters));
            }
        }
    }

    /// Returns the mask and the end of the number at `at` with its unit.
    fn number(&self, at: usize) -> (Mask, usize) {
        let mut end = self.end_of(at, |byte| byte.is_ascii_digit());
        let mut dots = 0;
        let is_thousands = |end: usize| self.matches(end, "'ddd") && !is_alphanumeric(self.byte(end + 4));
        while matches!(self.byte(end), b'.' | b',') && self.byte(end + 1).is_ascii_digit() || is_thousands(end) {
            dots += usize::from(self.byte(end) == b'.');
            end = self.end_of(end + 1, |byte| byte.is_ascii_digit());
        }
        if dots == 3 && end - at <= 15 && !is_alphanumeric(self.byte(end)) {
            return (Mask::Address, self.port_end(end));
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let digits = end + 1 + usize::from(matches!(self.byte(end + 1), b'-' | b'+'));
            let exponent_end = self.end_of(digits, |byte| byte.is_ascii_digit());
            if exponent_end > digits && !is_alphanumeric(self.byte(exponent_end)) {
                return (Mask::Number, exponent_end);
            }
        }
        self.unit(end).unwrap_or((Mask::Number, end))
    }

    fn port_end(&self, end: usize) -> usize {
        if self.byte(end) == b':' { self.end_of(end + 1, |byte| byte.is_ascii_digit()).max(end) } else { end }
    }

    /// Returns the unit after a number that ends at `end`, with or without a space between them.
    fn unit(&self, end: usize) -> Option<(Mask, usize)> {
        let apart = self.byte(end) == b' ';
        let start = end + usize::from(apart);
        // The first bytes of units.
        if !b"BGKMTACDEJNPSUhdbkmnsu%\xc2".contains(&self.byte(start)) {
            return None;
        }
        if self.byte(start) == b'%' {
            let end = start + 1;
            return (!is_alphanumeric(self.byte(end)) && self.byte(end) != b'%').then_some((Mask::Number, end));
        }
        let unit_end = self.end_of(start, |byte| matches!(class(byte), Class::Letter | Class::Wide));
        let unit = &self.bytes[start..unit_end];
        let mask = match unit {
            b"ns" | b"us" | b"\xc2\xb5s" | b"ms" | b"s" | b"sec" | b"secs" | b"second" | b"seconds" | b"min"
            | b"mins" | b"minute" | b"minutes" | b"hour" | b"hours" | b"day" | b"days" | b"millis"
            | b"milliseconds" | b"msec" | b"usec" | b"m" | b"h" | b"d" => Mask::Duration,
            b"B" | b"KB" | b"kB" | b"MB" | b"GB" | b"TB" | b"KiB" | b"MiB" | b"GiB" | b"TiB" | b"byte" | b"bytes" => {
                Mask::Size
            }
            b"k" | b"K" | b"M" | b"G" => Mask::Size,
            b"b" if !apart => Mask::Size,
            b"EUR" | b"USD" | b"GBP" | b"CHF" | b"JPY" | b"CNY" | b"SEK" | b"NOK" | b"DKK" | b"PLN" | b"CZK"
            | b"CAD" | b"AUD" => Mask::Number,
            _ => return None,
        };
        if self.byte(unit_end).is_ascii_digit() {
            // `1h30m`: each part must be a duration.
            if mask != Mask::Duration || apart {
                return None;
            }
            let digits_end = self.end_of(unit_end, |byte| byte.is_ascii_digit());
            return self.unit(digits_end).filter(|(mask, _)| *mask == Mask::Duration);
        }
        (self.byte(unit_end) != b'_').then_some((mask, unit_end))
    }

    fn uuid_end(&self, run: &Run) -> Option<usize> {
        if !run.hex || run.end - self.at != 8 || self.byte(run.end) != b'-' {
            return None;
        }
        let text = self.bytes.get(self.at..self.at + 36)?;
        let fits = |(place, byte): (usize, &u8)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        text.iter().enumerate().all(fits).then_some(self.at + 36)
    }

    /// `scheme://…`, `file:/…`, `C:\…`. A single slash must be preceded by a known scheme: `Reading:/data` is an
    /// ordinary word and a path.
    fn address_of_web_end(&self, run: &Run) -> Option<usize> {
        if self.byte(run.end) != b':' || !self.bytes[self.at].is_ascii_alphabetic() {
            return None;
        }
        const OF_FILES: [&[u8]; 6] = [b"file", b"jar", b"hdfs", b"dbfs", b"maprfs", b"classpath"];
        let rest = &self.bytes[run.end + 1..];
        let drive = run.end - self.at == 1 && rest.first() == Some(&b'\\');
        let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
        let names_something =
            rest.get(slashes).is_some_and(|byte| is_alphanumeric(*byte) || matches!(byte, b'.' | b'_'));
        let scheme = slashes > 1 || slashes == 1 && OF_FILES.contains(&&self.bytes[self.at..run.end]);
        (drive || scheme && names_something).then(|| self.path_end(run.end + 1))
    }

    /// An IPv6 or hardware address: groups of hex digits with colons between.
    fn colon_groups(&self, run: &Run) -> Option<(Mask, usize)> {
        if !run.hex || run.end - self.at > 4 || self.byte(run.end) != b':' {
            return None;
        }
        let end = self.end_of(self.at, |byte| byte.is_ascii_hexdigit() || byte == b':');
        let text = &self.line[self.at..end];
        let colons = text.bytes().filter(|byte| *byte == b':').count();
        let groups = || text.split(':');
        let digits = text.bytes().any(|byte| byte.is_ascii_digit());
        let fits = digits && !is_alphanumeric(self.byte(end)) && groups().all(|group| group.len() <= 4);
        let shortened = text.contains("::") && (2..=7).contains(&colons);
        if fits && (colons == 7 || shortened) {
            return Some((Mask::Address, end));
        }
        (fits && colons >= 5 && groups().all(|group| group.len() == 2)).then_some((Mask::Hex, end))
    }

    /// Returns the end of the date, time of day, or both, at `at`.
    fn time_end(&self, at: usize) -> Option<usize> {
        let with_zone = |end| self.zone_after(end).unwrap_or(end);
        let Some(date_end) = self.date_end(at) else { return self.time_of_day_end(at).map(with_zone) };
        let apart = matches!(self.byte(date_end), b' ' | b'T' | b'_');
        let time_end = apart.then(|| self.time_of_day_end(date_end + 1)).flatten();
        Some(time_end.map_or(date_end, with_zone))
    }

    fn matches(&self, at: usize, form: &str) -> bool {
        self.bytes.get(at..at + form.len()).is_some_and(|text| {
            text.iter().zip(form.bytes()).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                b'-' => matches!(byte, b'-' | b'/' | b'.'),
                b'a' => byte.is_ascii_alphabetic(),
                _ => *byte == form,
            })
        })
    }

    fn date_end(&self, at: usize) -> Option<usize> {
        // Each form, and where its separators are.
        const FORMS: [(&str, usize, usize); 4] =
            [("dddd-dd-dd", 4, 7), ("dd-dd-dddd", 2, 5), ("dd-aaa-dddd", 2, 6), ("dd-dd-dd", 2, 5)];
        let fits = |(form, first, second): &&(&str, usize, usize)| {
            let separator = self.byte(at + first);
            // Pairs of digits separated by full stops are more likely a version than a date.
            let version = form.len() == 8 && separator != b'/';
            matches!(separator, b'-' | b'/' | b'.')
                && separator == self.byte(at + second)
                && !version
                && self.matches(at, form)
                && !self.byte(at + form.len()).is_ascii_digit()
        };
        FORMS.iter().find(fits).map(|(form, ..)| at + form.len()).or_else(|| self.short_date_end(at))
    }

    /// `1/9/2026`, `9.1.2026`.
    fn short_date_end(&self, at: usize) -> Option<usize> {
        let few_digits = |at: usize| {
            let end = self.end_of(at, |byte| byte.is_ascii_digit());
            (1..=2).contains(&(end - at)).then_some(end)
        };
        let first = few_digits(at)?;
        let separator = self.byte(first);
        let second = few_digits(first + 1).filter(|end| self.byte(*end) == separator)?;
        let end = second + 5;
        let is_year = self.matches(second + 1, "19dd") || self.matches(second + 1, "20dd");
        (matches!(separator, b'/' | b'.') && is_year && !is_alphanumeric(self.byte(end))).then_some(end)
    }

    /// `11:54:41`, `7:01:45.123`, with the zone.
    fn time_of_day_end(&self, at: usize) -> Option<usize> {
        let form = ["dd:dd:dd", "d:dd:dd"].into_iter().find(|form| self.matches(at, form))?;
        let mut end = at + form.len();
        if matches!(self.byte(end), b'.' | b',') && self.byte(end + 1).is_ascii_digit() {
            end = self.end_of(end + 1, |byte| byte.is_ascii_digit());
        }
        let zone = ["+dd:dd", "+dddd"]
            .into_iter()
            .find(|form| matches!(self.byte(end), b'+' | b'-') && self.matches(end + 1, &form[1..]));
        end += if self.byte(end) == b'Z' { 1 } else { zone.map_or(0, str::len) };
        (!is_alphanumeric(self.byte(end)) && self.byte(end) != b':').then_some(end)
    }

    /// `11:54`, a time of day or a length of time.
    fn minutes_end(&self, at: usize) -> Option<usize> {
        let end = at + 5;
        let alone = !is_alphanumeric(self.byte(end)) && !matches!(self.byte(end), b':' | b'_');
        let is_time = alone && self.previous() != b':' && self.matches(at, "dd:dd");
        is_time.then(|| self.zone_after(end).unwrap_or(end))
    }

    /// Returns the end of a date with the name of a month, including its time of day: `Mon Nov 23 19:38:00 UTC 2026`,
    /// as formatted by `java.util.Date`; `Nov 23, 2026 7:38:00 PM`; `Mon, 23 Nov 2026 19:38:00 GMT`; `Nov  3 19:38:00`.
    /// Without a year or a time of day, the text is not a date: `Nov 23 rows`.
    fn spelled_date_end(&self, at: usize) -> Option<usize> {
        let at = self.name_end(at, &DAYS).and_then(|end| self.apart(end)).unwrap_or(at);
        if let Some(month) = self.name_end(at, &MONTHS) {
            let day = self.digits_end(self.spaces_end(month)?, 1..=2)?;
            let rest = self.apart(day)?;
            return match self.digits_end(rest, 4..=4) {
                Some(year) => Some(self.time_of_day_after(year).unwrap_or(year)),
                None => {
                    let time = self.time_of_day_end(rest)?;
                    Some(self.year_after(time).or_else(|| self.zone_after(time)).unwrap_or(time))
                }
            };
        }
        let month = self.name_end(self.spaces_end(self.digits_end(at, 1..=2)?)?, &MONTHS)?;
        let year = self.digits_end(self.spaces_end(month)?, 4..=4)?;
        Some(self.time_of_day_after(year).unwrap_or(year))
    }

    /// Returns the end of one of these names, either in full or abbreviated to three letters.
    fn name_end(&self, at: usize, names: &[&str]) -> Option<usize> {
        let start = self.bytes.get(at..at + 3)?;
        let name = names.iter().find(|name| name.as_bytes()[..3] == *start)?;
        let is_full = self.bytes[at..].starts_with(name.as_bytes());
        let end = at + if is_full { name.len() } else { 3 };
        (!is_alphanumeric(self.byte(end))).then_some(end)
    }

    fn digits_end(&self, at: usize, count: std::ops::RangeInclusive<usize>) -> Option<usize> {
        let end = self.end_of(at, |byte| byte.is_ascii_digit());
        (count.contains(&(end - at)) && !is_alphanumeric(self.byte(end))).then_some(end)
    }

    /// Skips a space, or two before a padded day of one digit.
    fn spaces_end(&self, at: usize) -> Option<usize> {
        let end = self.end_of(at, |byte| byte == b' ');
        (1..=2).contains(&(end - at)).then_some(end)
    }

    /// Skips a space, which may follow a comma.
    fn apart(&self, at: usize) -> Option<usize> {
        self.spaces_end(at + usize::from(self.byte(at) == b','))
    }

    /// Returns the end of the time of day after a date, including its zone.
    fn time_of_day_after(&self, date_end: usize) -> Option<usize> {
        let time = self.time_of_day_end(self.apart(date_end)?)?;
        Some(self.zone_after(time).unwrap_or(time))
    }

    /// `PM`, `UTC`, `+0200`.
    fn zone_after(&self, time_end: usize) -> Option<usize> {
        const ZONES: [&[u8]; 6] = [b"AM", b"PM", b"UTC", b"GMT", b"CET", b"CEST"];
        let start = self.spaces_end(time_end)?;
        let end = self.end_of(start, |byte| byte.is_ascii_alphabetic());
        if ZONES.contains(&&self.bytes[start..end]) {
            return (!is_alphanumeric(self.byte(end))).then_some(end);
        }
        matches!(self.byte(start), b'+' | b'-').then(|| self.digits_end(start + 1, 4..=4)).flatten()
    }

    /// ` 2026`, ` UTC 2026`, with any zone.
    fn year_after(&self, time_end: usize) -> Option<usize> {
        let start = self.spaces_end(time_end)?;
        let zone_end = self.end_of(start, |byte| byte.is_ascii_alphabetic());
        self.digits_end(if zone_end > start { self.spaces_end(zone_end)? } else { start }, 4..=4)
    }
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A run of letters and digits.
struct Run {
    end: usize,
    digits: usize,
    /// Number of changes between letters and digits.
    switches: usize,
    /// Hexadecimal digits only.
    hex: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let mut shape = String::new();
        mask_line(line, &mut shape);
        assert_eq!(text_of(&shape), expected);
        assert_eq!(shape_of_text(expected), shape);
    }

    #[test]
    fn numbers_are_masked_also_within_words() {
        check("read 42 of 1,536 rows, -1 left, 3.14 1.5E-7", "read <number> of <number> rows, <number> left, <number>");
        check("Block broadcast_45_piece0 v4.3.0 94L", "Block broadcast_<number>_piece<number> v<number> <number>L");
        check("range 0-28378 (1/2) a-1", "range <number>-<number> (<number>/<number>) a-<number>");
        check("log4j uses i18n", "log4j uses i<number>n");
        check("50% of 7 % and 100%d", "<number> of <number> and <number>%d");
        check("1'234.50 CHF, 5 EUR of 7 EUROS, '5'", "<number> of <number> EUROS, '<text>'");
    }

    #[test]
    fn codes_of_errors_stay() {
        check("ORA-00942: table 7, TNS-12541, PLS-00306", "ORA-00942: table <number>, TNS-12541, PLS-00306");
        check(
            "SQLSTATE 42P01, SQLSTATE=23505, SQLState: HY000, SQL0204N",
            "SQLSTATE 42P01, SQLSTATE=23505, SQLState: HY000, SQL0204N",
        );
        check("HTTP 503 after 503 rows, status code: 403", "HTTP 503 after <number> rows, status code: 403");
        check("exited with code 4, exit status 1, exit value: 2", "exited with code 4, exit status 1, exit value: 2");
        check("ERROR 1045 (28000): denied, errno 13", "ERROR 1045 (<number>): denied, errno 13");
        check(
            "order-00942 http 1234567890123 code 7, error 7 rows",
            "order-<number> http <number> code <number>, error <number> rows",
        );
        check("HTTP 200.5 and SQLSTATE 1:2", "HTTP <number> and SQLSTATE <number>:<number>");
    }

    #[test]
    fn lists_of_values_are_one_value() {
        check("[99, 117,115; 2]", "[<number>]");
        check("[99]", "[<number>]");
        check("from 'a', 'b' and \"c\"", "from '<text>' and \"<text>\"");
        check("/usr/lib:/lib:/opt/lib", "<path>");
        check("TaskSet 62.0: 15", "TaskSet <number>: <number>");
        check("5 ms, 7", "<duration>, <number>");
        check("{'a': 'x', 'b': 'y', 'z'}", "{'<text>': '<text>', '<text>': '<text>'}");
    }

    #[test]
    fn lists_of_words_with_values_are_one_word() {
        check("to node1 node2, node3 now", "to node<number> now");
        check("to node1, node2 now", "to node<number> now");
        check("deleted blk_-12 blk_7, x", "deleted blk_<number>, x");
        check("again again a1 b2 a1", "again again a<number> b<number> a<number>");
        check(&format!("to {}end", "node1 ".repeat(200)), "to node<number> end");
        check(&format!("to {} end", "7, ".repeat(200)), "to <number>, end");
        check(&format!("to {}end", "blk_-1 ".repeat(200)), "to blk_<number> end");
    }

    #[test]
    fn names_and_kinds_of_json_stay() {
        check(
            r#"{"id": 7, "name" : "Ann B", "type":"order_paid"}"#,
            r#"{"id": <number>, "name" : "<text>", "type":"order_paid"}"#,
        );
        check(r#"{"type":"a b","x":9}"#, r#"{"type":"<text>","x":<number>}"#);
        check(r#"said "hello": 7"#, r#"said "<text>": <number>"#);
    }

    #[test]
    fn messages_in_json_are_masked_like_lines() {
        check(
            r#"{"level":"info","msg":"read 7 of 'a'.","pipe":"x"}"#,
            r#"{"level":"<text>","msg":"read <number> of '<text>'.","pipe":"<text>"}"#,
        );
        check(r#"{"message" : "", "n": 7}"#, r#"{"message" : "", "n": <number>}"#);
        check(r#"{"message": "read 7"#, r#"{"message": "read <number>"#);
    }

    #[test]
    fn the_method_of_a_request_stays() {
        check(r#""GET /v2/x HTTP/1.1" status: 200"#, r#""GET <text>" status: <number>"#);
    }

    #[test]
    fn quotation_marks_of_other_languages_enclose_values() {
        check("Datum »31.02.2026« fehlt, „leer“ auch", "Datum »<text>« fehlt, „<text>“ auch");
        check("valeur «\u{a0}a b\u{a0}» pour le champ", "valeur «<text>» pour le champ");
        check("処理「受注データ連携」を開始します", "処理「<text>」を開始します");
        check("it’s “done”", "it’s “<text>”");
        check("home » data » in", "home » data » in");
        check("a\u{a0}b\u{3000}c", "a b c");
    }

    #[test]
    fn numbers_within_japanese_are_masked() {
        check("24469行目: 処理時間: 33分26秒", "<number>行目: 処理時間: <number>分<number>秒");
        check("令和8年", "令和<number>年");
    }

    #[test]
    fn cells_of_rows_stay_apart_by_their_gaps() {
        check("17\tAnn van Dam\tKöln\t9.50", "<number>  Ann van Dam  Köln  <number>");
        check("  000017  Ann         Oslo            12", "<number>  Ann  Oslo  <number>");
        // Sentences have no cells, regardless of padding.
        for line in ["rows:     12   of 99", "Stage-1 map = 0%,  reduce = 0%  done", "loaded   12 rows", "a\tb\tc"] {
            assert!(!masked(line).contains("  "), "{line}");
        }
        check("USER=a\tOPERATION=AM Allocated\tRESULT=OK", "USER=a OPERATION=<*> RESULT=OK");
    }

    #[test]
    fn colours_of_terminals_leave_no_trace() {
        for coloured in [
            "\u{1b}[31mload of 7 rows failed\u{1b}[0m",
            "\u{1b}[1;31mload\u{1b}[0m of \u{1b}[38;5;12m7\u{1b}[m rows failed\u{1b}[0m",
            "load of 7\u{1b}[0m rows failed",
        ] {
            assert_eq!(masked(coloured), masked("load of 7 rows failed"), "{coloured:?}");
        }
        // Other sequences are part of the line, whose control characters become spaces.
        assert_eq!(masked("a\u{1b}[31"), "a [<number>");
        assert_eq!(without_colours("\u{1b}[31;"), "\u{1b}[31;");
        assert_eq!(without_colours("\u{1b}[2J\u{1b}[1mx"), "\u{1b}[2Jx");
        assert_eq!(without_colours("é\u{1b}[0mé"), "éé");
    }

    #[test]
    fn hashes_and_ids_are_masked() {
        check("Map@451001e5 @Override @add", "Map@<hex> @Override @add");
        check("0x1F 761d116 d41d8cd98f00b204e9800998ecf8427e", "<hex>");
        check("fdffbbcd facaded", "<hex> facaded");
        check("part-00001-0b1a51f8-ce26-4590-89c6-c5bf0720bd6c-c000.csv", "part-<number>-<uuid>-c<number>.csv");
        check("token x7Kd93Qa, facade", "token <id>, facade");
        check("key PSUDNEVH8Y, DKHCY1NUSZ of ORDERS2026", "key <id> of ORDERS<number>");
        check(&"x".repeat(WORD_BYTES_MAX + 1), "<id>");
    }

    #[test]
    fn asterisks_in_a_list_of_numbers_are_a_number_that_is_not_known() {
        check("Fan speeds ( 3552 **** 3515 )", "Fan speeds ( <number> )");
        check("Fan speeds ( **** **** 3515 **** )", "Fan speeds ( <number> )");
        check("Fan speeds ( **** **** )", "Fan speeds ( *** *** )");
        check("**** 12 rows ****", "*** <number> rows ***");
        check("read 12 *** Failure 7", "read <number> *** Failure <number>");
    }

    #[test]
    fn times_are_masked() {
        for time in [
            "2026-11-23",
            "2026-11-23 11:54:41,282",
            "2026-11-23T11:54:41.282Z",
            "2026-11-23T11:54:41+02:00",
            "23/11/2026 11:54:41",
            "26/11/23 11:54:41",
            "23-Nov-2026 7:54:41",
            "11:54:41",
            "Mon Nov 23 19:38:00 UTC 2026",
            "Mon Nov 23 19:38:00 PST 2026",
            "Sun Dec 04 04:47:44 2005",
            "Mon, 23 Nov 2026 19:38:00 GMT",
            "Mon, 23 Nov 2026 19:38:00 +0100",
            "Nov 23, 2026 7:38:00 PM",
            "Nov 23, 2026",
            "Nov 23 2026",
            "November 23, 2026",
            "3 Nov 2026",
            "Nov  3 19:38:00",
            "Monday, May 4, 2026",
            "11:54:41 PM",
            "11:54 AM",
            "1/9/2026 4:13:22 AM",
            "9.1.2026",
            "2026-11-23 11:54:41 UTC",
        ] {
            check(&format!("at {time} it began"), "at <time> it began");
        }
        check("Mon 12", "Mon <number>");
        check("Mar 5 rows, May 2026", "Mar <number> rows, May <number>");
        check("Jun 21 16:47:48 ERROR 7", "<time> ERROR <number>");
        check("Monitor Nov 3 2026, Marching 3 rows", "Monitor <time>, Marching <number> rows");
        check("version 26.11.23, 8.0.3400", "version <number>");
        check("at 11:54:41 PMO", "at <time> PMO");
    }

    #[test]
    fn durations_and_sizes_take_their_unit_along() {
        check("took 12 ms", "took <duration>");
        check("took 1h30m and 5s", "took <duration> and <duration>");
        check("free 368.8 MiB of 104 bytes, 8388608b", "free <size> of <size>");
        check("12 minimal 3 mistakes", "<number> minimal <number> mistakes");
        check("1h30x", "<number>h<number>x");
        check("took 3 h, 5 d and 12 msec", "took <duration> and <duration>");
        check("read 7 k of 12M, L2 cache: 256K", "read <size> of <size>, L<number> cache: <size>");
        check("lifetime <1 sec, 00:02, 1:2", "lifetime <duration>, <time>, <number>:<number>");
        check("sent 1056 bytes (1.03 KB), a (7 KB)", "sent <size>, a (<size>)");
    }

    #[test]
    fn paths_and_addresses_are_masked() {
        check("in /opt/data/x.csv.", "in <path>.");
        check("file:/opt/x hdfs://host:8020/x?a=b,", "<path>,");
        check("Reading:/data/in.csv", "Reading:<path>");
        check("jdbc:mysql://db.example:3306/shop", "jdbc:<path>");
        check(r"C:\data\in", "<path>");
        check("org/apache/x and/or </name> / by zero", "<path> and/or </name> / by zero");
        check("on 10.0.0.12:34083 (localhost/127.0.0.1)", "on <address> (localhost/<address>)");
        check("at 0:0:0:0:0:0:0:1%lo, fe80::1, 00:1b:44:11:3a:b7", "at <address>%lo, <address>, <hex>");
        check("chip FF:F2:9F:16:EB:0D:60:E4:AA:01:BC:0E", "chip <hex>");
        check("Foo::bar 1:2:3", "Foo::bar <number>:<number>:<number>");
    }

    #[test]
    fn quotes_within_words_are_apostrophes() {
        check("can't read the job's 'id'", "can't read the job's '<text>'");
        check("Resolving 'country to country#185", "Resolving 'country to country#<number>");
        check("''", "'<text>'");
    }

    #[test]
    fn encoded_values_are_masked() {
        check("token hfLFShbTJm2EugMEoCDX0g== issued", "token <id> issued");
        check("token=hfLFShbTJm2Eug+Eo/DX0g==, b", "token=<id>, b");
        check("customerOrdersTable= user=", "customerOrdersTable= user=");
        check("token hfLFShbTJm2Eug+EoCDX0g issued", "token <id> issued");
        check("a1+b2 or loadOrders2Table/items=5", "a<number>+b<number> or loadOrders2Table/items=<number>");
    }

    #[test]
    fn spaces_and_rulers_of_any_length_are_alike() {
        check("  a \t\u{1} b  ", "a b");
        check("==========", "===");
        check("########........ 45%, [===>------]", "### <number>, [===]");
        check("a == b, a => c", "a == b, a => c");
    }

    #[test]
    fn long_lines_are_cut_by_what_they_say_not_by_their_values() {
        let line = |value: &str| format!("{} end", format!("word {value} ").repeat(100));
        let shape_of = |line: &str| {
            let mut shape = String::new();
            mask_line(line, &mut shape);
            text_of(&shape)
        };
        assert_eq!(shape_of(&line("7")), shape_of(&line("1234567")));
        assert!(shape_of(&line("7")).ends_with("<...>"));
        let punctuation = "-+".repeat(LINE_BYTES_MAX);
        assert!(shape_of(&punctuation).len() < 2 * SHAPE_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_line_has_a_bounded_shape_that_its_text_gives_back(line in "([ -~]{0,30}|\\PC{0,10}|[0-9a-f:./'\", -]{0,20}){0,8}") {
            let mut shape = String::new();
            mask_line(&line, &mut shape);
            proptest::prop_assert!(shape.len() < 2 * SHAPE_BYTES_MAX);
            let text = text_of(&shape);
            proptest::prop_assert_eq!(text_of(&shape_of_text(&text)), text);
        }
    }
}
