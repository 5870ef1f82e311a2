//! Splits a shape into tokens, and determines which of its words are values, based on the line alone.

use std::ops::Range;

use super::brackets::empty_lists_of;
use crate::mask::{Mask, wide_punctuation};

/// A word or value of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Its bytes in the shape.
    pub(super) place: Range<usize>,
    pub(super) kind: Kind,
}

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word of a sentence.
    Word,
    /// A word in capitals, which is often a state.
    State,
    /// A word for an action or its outcome: `starting`, `FAILED`, `java.io.IOException`.
    Act,
    /// `on`, `off`, `yes`, `no`.
    Switch,
    /// The code of an error or an exit: digits without a mask.
    Code,
    /// A word that is more likely a name than a part of a sentence: `com.example.Orders`, `orders_eu`, `orderLine`.
    Name,
    /// A value, according to its form or position.
    Value,
    /// A word that differs among otherwise equal shapes.
    Varied,
}

impl Token {
    pub(super) fn is_value(&self) -> bool {
        matches!(self.kind, Kind::Value | Kind::Varied)
    }
}

/// Words that are values at any position.
const LITERALS: [&str; 9] = ["true", "false", "True", "False", "TRUE", "FALSE", "null", "NULL", "None"];

/// Pairs of words that alternate at one position. `Powered On` is more likely a separate event.
const SWITCHES: [&str; 10] = ["on", "off", "ON", "OFF", "yes", "no", "Yes", "No", "YES", "NO"];

/// Words that are followed by the name of a user.
const BEFORE_USERS: [&str; 3] = ["user", "User", "username"];

/// Prefixes of words for an action or its outcome.
const ACTS: [&str; 44] = [
    "abort",
    "added",
    "adding",
    "allocat",
    "assign",
    "cancel",
    "clos",
    "complete",
    "connect",
    "creat",
    "delet",
    "denied",
    "disabl",
    "disconnect",
    "dropp",
    "enabl",
    "error",
    "execut",
    "exit",
    "fail",
    "finish",
    "insert",
    "kill",
    "launch",
    "lost",
    "opened",
    "opening",
    "paus",
    "refused",
    "reject",
    "releas",
    "remov",
    "resum",
    "retr",
    "skip",
    "start",
    "stop",
    "submit",
    "succe",
    "suspend",
    "terminat",
    "timeout",
    "unavailable",
    "updat",
];

/// The same in other languages, at any position of a word.
const ACTS_OF_OTHERS: [&str; 44] = [
    "abgebrochen",
    "abgelehnt",
    "abgemeldet",
    "aktualisiert",
    "angelegt",
    "angemeldet",
    "beendet",
    "eingefügt",
    "fehlgeschlagen",
    "gelöscht",
    "geschlossen",
    "gesendet",
    "gespeichert",
    "gestartet",
    "geändert",
    "geöffnet",
    "getrennt",
    "hergestellt",
    "übersprungen",
    "ajouté",
    "annulé",
    "connecté",
    "créé",
    "démarr",
    "inséré",
    "refusé",
    "rejeté",
    "supprimé",
    "terminé",
    "échou",
    "cancelado",
    "eliminado",
    "iniciado",
    "insertado",
    "rechazado",
    "terminado",
    "失敗",
    "失败",
    "完了",
    "完成",
    "成功",
    "終了",
    "开始",
    "結束",
];

/// Words that are followed by the name of a host.
const BEFORE_HOSTS: [&str; 5] = ["host", "Host", "hostname", "server", "node"];

/// Words that are followed by an address: `to db:5432`.
const BEFORE_ADDRESSES: [&str; 5] = ["to", "from", "at", "on", "via"];

/// Prefixes of nodes of a tree, such as columns of a schema.
const TREE: [&str; 4] = ["|-- ", "├── ", "└── ", "+- "];

/// Minimum number of other tokens in a line in which `LOCAL(0)` is one value, and not a call with a value.
const CALL_TOKENS_MIN: usize = 3;

/// Returns the tokens of a shape, in order.
///
/// Besides masks, the following are values: words that contain a mask (`node<number>`), words after `=` (`user=root`),
/// literals (`true`), and hosts with a port. Values that only a space, comma or colon separates are one value, so that
/// lists of any length are alike. If no word would remain, words that contain a mask stay words, or else the masks
/// themselves: a line that consists of a path differs from one that consists of a number.
pub(super) fn tokens_of(shape: &str) -> Vec<Token> {
    // The class of an exception never varies.
    let line = &shape[..shape.find(Mask::Exception.char()).unwrap_or(shape.len())];
    let mut tokens = words_of(line);
    take_quotes_along(line, &mut tokens);
    join_objects(line, &mut tokens);
    classify(line, &mut tokens);
    if tokens.iter().all(Token::is_value) {
        let has_letters =
            |token: &Token| line[token.place.clone()].bytes().any(|byte| byte.is_ascii_alphabetic() || byte >= 0x80);
        let any_has_letters = tokens.iter().any(has_letters);
        for token in tokens.iter_mut().filter(|token| token.kind == Kind::Value) {
            if has_letters(token) || !any_has_letters {
                token.kind = Kind::State;
            }
        }
    }
    add_empty_lists(line, &mut tokens);
    join_calls(line, &mut tokens);
    join_adjacent(line, &mut tokens);
    tokens
}

/// Returns the words and values of a shape, without joining adjacent values.
pub(super) fn single_values_of(line: &str) -> Vec<Token> {
    let mut tokens = words_of(line);
    take_quotes_along(line, &mut tokens);
    tokens.iter_mut().for_each(|token| token.kind = Kind::Value);
    tokens
}

/// Joins values that only a space, a comma, a semicolon or a colon separates.
pub(super) fn join_adjacent(line: &str, tokens: &mut Vec<Token>) {
    tokens.dedup_by(|token, before| {
        let between = &line[before.place.end..token.place.start];
        let together = token.is_value() && before.is_value() && separates_values(between);
        if together {
            before.place.end = token.place.end;
            if token.kind == Kind::Varied {
                before.kind = Kind::Varied;
            }
        }
        together
    });
}

/// True for the separators of values of a list, which are one value.
pub(super) fn separates_values(between: &str) -> bool {
    matches!(between, " " | "," | ", " | ";" | "; " | ":" | " & ")
}

fn words_of(line: &str) -> Vec<Token> {
    let bytes = line.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !belongs_to_word(bytes[at]) {
            at += 1;
            continue;
        }
        let punctuation = wide_punctuation(&bytes[at..]);
        if punctuation > 0 {
            at += punctuation;
            continue;
        }
        let (start, script) = (at, Script::of(line, at));
        while at < bytes.len()
            && (belongs_to_word(bytes[at]) || is_apostrophe(bytes, at))
            && wide_punctuation(&bytes[at..]) == 0
            && Script::of(line, at) == script
        {
            at = line.ceil_char_boundary(at + 1);
        }
        // Punctuation at the end of a word belongs to the sentence, and so does a hyphen at its beginning.
        let trim = |byte: u8| matches!(byte, b'.' | b'-' | b'*' | b'+' | b'&');
        let mut place = start..at;
        while place.end > place.start && trim(bytes[place.end - 1]) {
            place.end -= 1;
        }
        while place.start < place.end && trim(bytes[place.start]) && bytes[place.start] != b'.' {
            place.start += 1;
        }
        if bytes[place.clone()].iter().any(|byte| byte.is_ascii_alphanumeric() || is_mask(*byte) || *byte >= 0x80) {
            tokens.push(Token { place, kind: Kind::Word });
        }
    }
    tokens
}

/// The script of a word. In a script without spaces between words, values and words of other scripts end a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Spaced,
    Unspaced,
}

impl Script {
    fn of(line: &str, at: usize) -> Self {
        if line[at..].starts_with(is_unspaced) { Self::Unspaced } else { Self::Spaced }
    }
}

/// True for Japanese and Chinese characters.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{3005}' | '\u{3007}')
}

/// True for the apostrophe in `O'Brien`.
fn is_apostrophe(bytes: &[u8], at: usize) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    bytes[at] == b'\'' && at > 0 && is_letter(bytes.get(at - 1)) && is_letter(bytes.get(at + 1))
}

fn is_mask(byte: u8) -> bool {
    byte < b' '
}

fn belongs_to_word(byte: u8) -> bool {
    let is_gap = byte == Mask::Gap.char() as u8;
    byte.is_ascii_alphanumeric() || !(b' '..0x80).contains(&byte) && !is_gap || b"_$.-#/@%+~*&\\".contains(&byte)
}

/// Adds a value without text between the brackets of each empty list, because the content of a list is one value.
fn add_empty_lists(line: &str, tokens: &mut Vec<Token>) {
    for at in empty_lists_of(line) {
        let place = tokens.partition_point(|token| token.place.start < at);
        if place == 0 || tokens[place - 1].place.end < at {
            // The brackets of an assigned list are part of the value.
            let is_assigned = line[..at].ends_with("=[");
            let around = if is_assigned { at - 1..at + 1 } else { at..at };
            tokens.insert(place, Token { place: around, kind: Kind::Value });
        }
    }
}

/// Extends quoted values to include their quotes: another record may have a number at this position.
fn take_quotes_along(line: &str, tokens: &mut [Token]) {
    let bytes = line.as_bytes();
    for token in tokens.iter_mut().filter(|token| token.place.start > 0 && token.place.len() == 1) {
        let (before, after) = (bytes[token.place.start - 1], bytes.get(token.place.end));
        let is_text = line[token.place.clone()].starts_with(Mask::Text.char());
        if is_text && matches!(before, b'"' | b'\'' | b'`') && after == Some(&before) {
            token.place = token.place.start - 1..token.place.end + 1;
        }
    }
}

fn classify(line: &str, tokens: &mut [Token]) {
    for at in 0..tokens.len() {
        let place = tokens[at].place.clone();
        let text = &line[place.clone()];
        let before = line[..place.start].trim_end_matches(['"', '\'']);
        let after = &line[place.end..];
        let is_key = after.starts_with('=') || after.starts_with(" =");
        let assigned = before.trim_end_matches(' ').ends_with('=') && !is_key;
        let follows =
            |words: &[&str]| at > 0 && words.contains(&&line[tokens[at - 1].place.clone()]) && before.ends_with(' ');
        let dotted = text.trim_matches('.').contains('.') && !is_exception(text);
        let ends = after.is_empty() || after.starts_with([',', ';', ' ']) && !after.starts_with(" =");
        let member = dotted
            && (before.ends_with(':') && !before.ends_with("::")
                || before.ends_with(": ") && (after.is_empty() || after.starts_with([',', ';'])))
            && ends
            && at > 0
            && is_lowercase_or_camel(&line[tokens[at - 1].place.clone()]);
        let is_member_of_list = at > 0
            && (before.ends_with('[') && after.starts_with(']')
                || before.ends_with(", ") && after.starts_with(')') && tokens[at - 1].is_value());
        let is_node_of_tree = TREE.iter().any(|branch| before.ends_with(branch));
        let port = after.strip_prefix(':').is_some_and(|rest| rest.starts_with(Mask::Number.char()));
        tokens[at].kind = if text.starts_with('[') {
            Kind::Value
        } else if text.len() == 1 && text.starts_with(Mask::Word.char()) {
            Kind::Varied
        } else if text.bytes().any(is_mask)
            || assigned
            || LITERALS.contains(&text)
            || port && (dotted || follows(&BEFORE_HOSTS) || follows(&BEFORE_ADDRESSES))
            || is_node_of_tree
            || member && !is_key
        {
            Kind::Value
        } else if is_key {
            Kind::State
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Kind::Code
        } else if SWITCHES.contains(&text) {
            Kind::Switch
        } else if is_action_word(text) {
            Kind::Act
        } else if is_name(text) || follows(&BEFORE_USERS) || is_member_of_list {
            Kind::Name
        } else if text.len() > 1 && !text.bytes().any(|byte| byte.is_ascii_lowercase() || byte >= 0x80) {
            Kind::State
        } else {
            Kind::Word
        };
    }
}

/// `com.example.Orders`, `orders_eu`, `./load.sh`, `a@b`, `orderLine`; not `ORDER_LINE`, which may be a state.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    if !bytes.iter().any(u8::is_ascii_lowercase) || is_exception(text) {
        return false;
    }
    let inner = |byte: &u8| matches!(byte, b'.' | b'_' | b'/' | b'@' | b'$' | b'#' | b'\\' | b'~' | b'%');
    let camel = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    bytes.iter().any(inner) || bytes.windows(2).any(camel) || bytes.iter().filter(|byte| **byte == b'-').count() >= 2
}

/// `starting`, `FAILED`, `UP_FOR_RETRY`, `java.io.IOException`, `abgebrochen`, `挿入しました`.
fn is_action_word(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
    let starts =
        |word: &str| ACTS.iter().any(|act| word.get(..act.len()).is_some_and(|start| start.eq_ignore_ascii_case(act)));
    let is_foreign = || ACTS_OF_OTHERS.iter().any(|act| text.contains(act)) || has_verb(text);
    is_exception(text) || text.bytes().all(is_word) && (text.split('_').any(starts) || is_foreign())
}

/// True for Japanese text with a verb ending or a particle, which is more likely a part of a sentence than a name.
fn has_verb(text: &str) -> bool {
    text.chars().filter(|c| ('\u{3041}'..='\u{3096}').contains(c)).count() >= 2
}

fn is_exception(text: &str) -> bool {
    text.ends_with("Exception") || text.ends_with("Error")
}

fn is_lowercase_or_camel(text: &str) -> bool {
    text.as_bytes()[0].is_ascii_alphabetic() && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Joins the tokens of an object after `=`, in the form written by Java: `ws=WorkSource{10113}`, `frame=Rect(0, 0 - 9,
/// 9)`, `host=[local]`.
fn join_objects(line: &str, tokens: &mut Vec<Token>) {
    let mut at = 0;
    while at < tokens.len() {
        let place = tokens[at].place.clone();
        if line[..place.start].ends_with("=[")
            && let Some(end) = closing_end(line, place.start - 1)
        {
            tokens[at] = Token { place: place.start - 1..place.end, kind: Kind::Value };
            extend_to(tokens, at, end);
        }
        let place = tokens[at].place.clone();
        let assigned = line[..place.start].trim_end_matches(' ').ends_with('=');
        let opens = line[place.end..].starts_with(['{', '(', '[']);
        if assigned
            && opens
            && let Some(end) = closing_end(line, place.end)
        {
            extend_to(tokens, at, end);
        }
        // `intent=Intent { act=run }`
        if assigned
            && line[place.end..].starts_with(" {")
            && line[place.start..].starts_with(|c: char| c.is_ascii_uppercase())
            && let Some(end) = closing_end(line, place.end + 1)
        {
            extend_to(tokens, at, end);
        }
        // `key=0|com.acme.mail|40|null`
        while let Some(next) = tokens.get(at + 1).map(|next| next.place.clone()) {
            let end = tokens[at].place.end;
            let is_part = line[end..].starts_with('|') && next.start == end + 1 && !line[next.end..].starts_with('=');
            if !assigned || !is_part {
                break;
            }
            extend_to(tokens, at, next.end);
        }
        at += 1;
    }
}

/// Extends a token to `end`, merging the tokens up to there.
fn extend_to(tokens: &mut Vec<Token>, at: usize, end: usize) {
    tokens[at].place.end = end;
    let inside = tokens[at + 1..].iter().take_while(|token| token.place.end <= end).count();
    tokens.drain(at + 1..at + 1 + inside);
}

/// Returns the position at which the bracket that opens at `at` is closed.
fn closing_end(line: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, byte) in line.bytes().enumerate().skip(at) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' if depth == 1 => return Some(place + 1),
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Joins calls such as `LOCAL(0)` to one value in lines with enough other tokens.
fn join_calls(line: &str, tokens: &mut Vec<Token>) {
    let mut at = 1;
    while at + 1 < tokens.len() {
        let (name, value) = (&tokens[at], &tokens[at + 1]);
        let between = &line[name.place.end..value.place.start];
        let closes = line[value.place.end..].starts_with(')');
        if between == "(" && closes && value.is_value() && tokens.len() >= 2 + CALL_TOKENS_MIN {
            tokens[at].place.end = tokens[at + 1].place.end + 1;
            tokens[at].kind = Kind::Value;
            tokens.remove(at + 1);
        }
        at += 1;
    }
}
