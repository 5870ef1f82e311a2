//! The functions of templates: those of Loki, which are mostly those of the Go library Sprig, and those of Go itself.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

use crate::labels::Entry;
use crate::template::numbers::{DecimalOp, decimal};
use crate::template::printf::printf;
use crate::template::times::{Time, zone};
use crate::template::value::{Kind, Value};
use crate::units::{parse_bytes, parse_duration_ns};

/// The reason why a template cannot be rendered for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The text exceeds the limit of a record.
    TooLarge,
    /// A function was called with a value that it does not accept.
    Wrong(String),
}

type Made<'v> = Result<Value<'v>, Failure>;

/// A call of a function.
pub(super) struct Call<'c, 'v> {
    pub(super) args: Vec<Value<'v>>,
    pub(super) entry: &'v Entry<'v>,
    /// Now, in nanoseconds since the epoch.
    pub(super) now_ns: i64,
    /// Most bytes of the result.
    pub(super) bytes_max: usize,
    /// What the values in a list or map take that the call makes. Unit: bytes.
    pub(super) values_bytes: Cell<usize>,
    /// The first argument as an expression, if it is one.
    pub(super) regex: Option<&'c Regex>,
}

/// A function, its parameters, and what it does.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [Kind],
    pub(super) more: More,
    pub(super) call: for<'c, 'v> fn(&Call<'c, 'v>) -> Made<'v>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Which arguments may follow those that a function needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    None,
    One(Kind),
    Any(Kind),
}

impl Function {
    /// The function with a name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// The kind of an argument; none when there are too many.
    pub(super) fn parameter(&self, index: usize) -> Option<Kind> {
        let beyond = index.checked_sub(self.parameters.len());
        match (beyond, self.more) {
            (None, _) => Some(self.parameters[index]),
            (Some(0), More::One(kind)) | (Some(_), More::Any(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Returns true if its first argument is a regular expression, which must be a literal.
    pub(super) fn takes_regex(&self) -> bool {
        matches!(self.name, "regexReplaceAll" | "regexReplaceAllLiteral" | "count")
    }
}

impl<'v> Call<'_, 'v> {
    fn value(&self, index: usize) -> Value<'v> {
        self.args.get(index).cloned().unwrap_or(Value::Nil)
    }

    fn text(&self, index: usize) -> &str {
        match self.args.get(index) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    fn int(&self, index: usize) -> i64 {
        self.args.get(index).map_or(0, Value::to_whole)
    }

    fn float(&self, index: usize) -> f64 {
        self.args.get(index).map_or(0.0, Value::to_float)
    }

    fn time(&self, index: usize) -> Time {
        match self.args.get(index) {
            Some(Value::Time(time)) => time.clone(),
            _ => Time::zero(),
        }
    }

    /// A whole number of all arguments.
    fn wholes(&self, fold: impl Fn(i64, i64) -> i64) -> Made<'v> {
        Ok(Value::Int64(self.args.iter().map(Value::to_whole).reduce(fold).unwrap_or(0)))
    }

    fn floats(&self, fold: impl Fn(f64, f64) -> f64) -> Made<'v> {
        Ok(Value::Float(self.args.iter().map(Value::to_float).reduce(fold).unwrap_or(0.0)))
    }

    fn decimals(&self, op: DecimalOp) -> Made<'v> {
        let mut numbers = self.args.iter().map(Value::to_float);
        let first = numbers.next().unwrap_or(0.0);
        let result = numbers.try_fold(first, |sum, number| decimal(op, sum, number));
        result.map(Value::Float).ok_or_else(|| wrong("division by 0"))
    }

    fn fits(&self, bytes: usize) -> Result<(), Failure> {
        if bytes > self.bytes_max { Err(Failure::TooLarge) } else { Ok(()) }
    }

    /// A list or map that the call makes, with what its values take. Unit: bytes.
    fn made(&self, value: Value<'v>, bytes: usize) -> Made<'v> {
        self.fits(bytes)?;
        self.values_bytes.set(bytes);
        Ok(value)
    }

    /// Each byte of a text as another text.
    fn each_byte(&self, text: &str, write: impl Fn(u8, &mut String)) -> Made<'v> {
        let mut output = String::with_capacity(text.len());
        for byte in text.bytes() {
            write(byte, &mut output);
            self.fits(output.len())?;
        }
        Ok(Value::text(output))
    }

    /// Each character of a text as another text.
    fn each_char(&self, text: &str, write: impl Fn(char, &mut String)) -> Made<'v> {
        let mut output = String::with_capacity(text.len());
        for letter in text.chars() {
            write(letter, &mut output);
            self.fits(output.len())?;
        }
        Ok(Value::text(output))
    }

    fn replaced(&self, text: &str, old: &str, new: &str, count: i64) -> Made<'v> {
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        let places = match old.is_empty() {
            true => text.chars().count() + 1,
            false => text.matches(old).count(),
        };
        let places = places.min(most);
        self.fits(text.len().saturating_sub(places * old.len()).saturating_add(places.saturating_mul(new.len())))?;
        Ok(Value::text(text.replacen(old, new, places)))
    }

    fn indented(&self, spaces: i64, text: &str, before: &str) -> Made<'v> {
        let spaces = usize::try_from(spaces).map_err(|_| wrong("indent takes a number of spaces"))?;
        let lines = text.matches('\n').count() + 1;
        self.fits(before.len().saturating_add(text.len()).saturating_add(spaces.saturating_mul(lines)))?;
        let padding = " ".repeat(spaces);
        Ok(Value::text(format!("{before}{padding}{}", text.replace('\n', &format!("\n{padding}")))))
    }

    /// A text cut or padded to so many characters.
    fn aligned(&self, is_left: bool) -> Made<'v> {
        let (text, count) = (self.text(1), self.text(1).chars().count());
        let Ok(width) = usize::try_from(self.int(0)) else { return Ok(self.value(1)) };
        if count >= width {
            let skipped = if is_left { 0 } else { count - width };
            return Ok(Value::text(text.chars().skip(skipped).take(width).collect::<String>()));
        }
        self.fits(text.len().saturating_add(width - count))?;
        let padding = " ".repeat(width - count);
        Ok(Value::text(if is_left { format!("{text}{padding}") } else { format!("{padding}{text}") }))
    }

    /// The text of the second argument with what fits the expression replaced by the third.
    fn regex_replaced(&self, is_literal: bool) -> Made<'v> {
        let Some(regex) = self.regex else { return Err(wrong("an expression must be written in the template")) };
        let (text, new) = (self.text(1), self.text(2));
        let (mut output, mut copied) = (String::new(), 0);
        let references = if is_literal { 0 } else { new.matches('$').count() };
        let mut read = 0_usize;
        for captures in regex.captures_iter(text) {
            let Some(found) = captures.get(0) else { continue };
            output.push_str(&text[copied..found.start()]);
            // The replacement is read for each match, even if its references stand for nothing.
            read = read.saturating_add(new.len());
            self.fits(read)?;
            // At most what each reference stands for.
            let expanded = new.len().saturating_add(found.len().saturating_mul(references));
            self.fits(output.len().saturating_add(expanded))?;
            match is_literal {
                true => output.push_str(new),
                false => captures.expand(new, &mut output),
            }
            copied = found.end();
        }
        output.push_str(&text[copied..]);
        self.fits(output.len())?;
        Ok(Value::text(output))
    }

    /// All arguments as Go prints them, with spaces between those that are no texts, or between all.
    fn printed(&self, first: usize, is_line: bool) -> Result<String, Failure> {
        let mut output = String::new();
        let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
        for (index, value) in self.args.iter().enumerate().skip(first) {
            if index > first && (is_line || (!is_text(value) && !is_text(&self.args[index - 1]))) {
                output.push(' ');
            }
            if !value.print(&mut output, self.bytes_max) {
                return Err(Failure::TooLarge);
            }
        }
        if is_line {
            output.push('\n');
        }
        Ok(output)
    }

    /// The first arguments as a time: one, or seconds since the epoch; now for anything else.
    fn any_time(&self, index: usize) -> Time {
        match self.args.get(index) {
            Some(Value::Time(time)) => time.clone(),
            Some(Value::Int(second) | Value::Int64(second)) => Time::of_seconds(*second),
            _ => Time::of_nanoseconds(self.now_ns),
        }
    }

    fn compared(&self, fits: impl Fn(Ordering) -> bool) -> Made<'v> {
        let order = match (&self.args[0], &self.args[1]) {
            (Value::Int(left) | Value::Int64(left), Value::Int(right) | Value::Int64(right)) => Some(left.cmp(right)),
            (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
            (Value::Text(left), Value::Text(right)) => Some((**left).cmp(&**right)),
            (left, right) => return Err(incomparable(left, right)),
        };
        Ok(Value::Bool(order.is_some_and(fits)))
    }

    fn is_equal(&self, index: usize) -> Result<bool, Failure> {
        match (&self.args[0], &self.args[index]) {
            (Value::Nil, Value::Nil) => Ok(true),
            (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
            (Value::Int(left) | Value::Int64(left), Value::Int(right) | Value::Int64(right)) => Ok(left == right),
            (Value::Float(left), Value::Float(right)) => Ok(left == right),
            (Value::Text(left), Value::Text(right)) => Ok(**left == **right),
            (left, right) => Err(incomparable(left, right)),
        }
    }

    /// The value at the keys and positions of the other arguments.
    fn indexed(&self) -> Made<'v> {
        let mut value = self.value(0);
        for key in &self.args[1..] {
            value = match (&value, key) {
                (Value::Labels(labels), Value::Text(name)) => Value::borrowed(labels.get(name)),
                (Value::Map(map), Value::Text(name)) => map.get(&**name).cloned().unwrap_or(Value::Nil),
                (Value::List(list), Value::Int(at) | Value::Int64(at)) => {
                    let found = usize::try_from(*at).ok().and_then(|at| list.get(at));
                    found.cloned().ok_or_else(|| wrong(format!("index out of range: {at}")))?
                }
                (Value::Text(text), Value::Int(at) | Value::Int64(at)) => {
                    let found = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
                    Value::Int(i64::from(*found.ok_or_else(|| wrong(format!("index out of range: {at}")))?))
                }
                (value, key) => {
                    return Err(wrong(format!("cannot index {} by {}", value.type_name(), key.type_name())));
                }
            };
        }
        Ok(value)
    }

    fn sliced(&self) -> Made<'v> {
        let Some(length) = self.args[0].len() else {
            return Err(wrong(format!("cannot slice a value of type {}", self.args[0].type_name())));
        };
        let bound = |index: usize, default: usize| match self.args.get(index) {
            None => Ok(default),
            Some(Value::Int(at) | Value::Int64(at)) => {
                let at = usize::try_from(*at).ok().filter(|at| *at <= length);
                at.ok_or_else(|| wrong("index out of range"))
            }
            Some(other) => Err(wrong(format!("cannot slice by {}", other.type_name()))),
        };
        let (start, end) = (bound(1, 0)?, bound(2, length)?);
        if start > end {
            return Err(wrong(format!("invalid slice index: {start} > {end}")));
        }
        match &self.args[0] {
            Value::Text(text) => {
                let sliced = text.get(start..end).ok_or_else(|| wrong("a slice ends within a character"))?;
                Ok(Value::text(sliced))
            }
            Value::List(list) => {
                let bytes = (end - start).saturating_mul(size_of::<Value<'_>>());
                self.made(Value::List(list[start..end].to_vec().into()), bytes)
            }
            other => Err(wrong(format!("cannot slice a value of type {}", other.type_name()))),
        }
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::Wrong(message.into())
}

fn incomparable(left: &Value<'_>, right: &Value<'_>) -> Failure {
    wrong(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
}

/// Whether a letter is one of those in a text.
fn is_in(letters: &str) -> impl Fn(char) -> bool {
    let letters: HashSet<char> = letters.chars().collect();
    move |letter| letters.contains(&letter)
}

/// The first letter of each word in upper case.
fn titled(text: &str) -> String {
    let mut is_start = true;
    let mut titled = String::new();
    for letter in text.chars() {
        match is_start {
            true => titled.push_str(&upper(letter.encode_utf8(&mut [0; 4]))),
            false => titled.push(letter),
        }
        let is_word = letter.is_alphanumeric() || letter == '_';
        is_start = if letter.is_ascii() { !is_word } else { !letter.is_alphabetic() && letter.is_whitespace() };
    }
    titled
}

/// Characters from one position up to another. A negative start is the first position, a negative end is after the last.
fn substring(start: i64, end: i64, text: &str) -> String {
    let start = usize::try_from(start).unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    text.chars().skip(start).take(end.saturating_sub(start)).collect()
}

/// The first characters of a text, or the last ones for a negative number.
fn truncated(count: i64, text: &str) -> String {
    let length = text.chars().count();
    match usize::try_from(count) {
        Ok(count) => text.chars().take(count).collect(),
        Err(_) => {
            let kept = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            text.chars().skip(length.saturating_sub(kept)).collect()
        }
    }
}

fn rounded(number: f64, places: i64, round_from: f64) -> f64 {
    let scale = 10_f64.powi(az::saturating_cast::<i64, i32>(places));
    let scaled = scale * number;
    let up = scaled.fract() >= round_from;
    (if up { scaled.ceil() } else { scaled.floor() }) / scale
}

/// Returns the time of an epoch in days, seconds, milliseconds, microseconds or nanoseconds; the unit is derived from
/// the number of digits.
fn time_of_epoch(epoch: &str) -> Made<'static> {
    let number = epoch.parse::<i64>().ok();
    let time = match (number, epoch.len()) {
        (Some(days), 5) => Time::of_seconds(days.saturating_mul(86_400)),
        (Some(seconds), 10) => Time::of_seconds(seconds),
        (Some(ms), 13) => Time::of_nanoseconds(ms.saturating_mul(1_000_000)),
        (Some(us), 16) => Time::of_nanoseconds(us.saturating_mul(1_000)),
        (Some(ns), 19) => Time::of_nanoseconds(ns),
        _ => return Err(wrong("unable to parse time")),
    };
    Ok(Value::Time(time))
}

fn seconds_of(text: &str) -> Made<'static> {
    let ns = parse_duration_ns(text).ok_or_else(|| wrong(format!("invalid duration {:?}", shown(text))))?;
    #[expect(clippy::cast_precision_loss, reason = "a duration in seconds")]
    Ok(Value::Float(ns as f64 / 1e9))
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn of_base64(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&plain) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // As Loki does: the message is the result.
        Err(_) => "illegal base64 data".to_owned(),
    }
}

fn url_encoded(byte: u8, output: &mut String) {
    match byte {
        b' ' => output.push('+'),
        b'-' | b'_' | b'.' | b'~' => output.push(char::from(byte)),
        byte if byte.is_ascii_alphanumeric() => output.push(char::from(byte)),
        byte => output.push_str(&format!("%{byte:02X}")),
    }
}

fn url_decoded(text: &str) -> Made<'static> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'x'), rest.next().unwrap_or(b'x')];
                let code = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'));
                let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(code.ok_or_else(|| wrong("invalid URL escape"))?);
            }
            byte => bytes.push(byte),
        }
    }
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}

fn html_escaped(letter: char, output: &mut String) {
    match letter {
        '"' => output.push_str("&#34;"),
        '\'' => output.push_str("&#39;"),
        '&' => output.push_str("&amp;"),
        '<' => output.push_str("&lt;"),
        '>' => output.push_str("&gt;"),
        letter => output.push(letter),
    }
}

fn js_escaped(letter: char, output: &mut String) {
    match letter {
        '\\' => output.push_str("\\\\"),
        '\'' => output.push_str("\\'"),
        '"' => output.push_str("\\\""),
        '<' | '>' | '&' | '=' => output.push_str(&format!("\\u{:04X}", u32::from(letter))),
        letter if letter.is_ascii_control() => output.push_str(&format!("\\u{:04X}", u32::from(letter))),
        letter => output.push(letter),
    }
}

/// In upper case, letter by letter: a letter whose capital has two letters stays as it is, as in Go.
fn upper(text: &str) -> String {
    let capital = |letter: char| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => letter,
        }
    };
    text.chars().map(capital).collect()
}

const NONE: More = More::None;
const TEXT: Kind = Kind::Text;
const ANY: Kind = Kind::Any;
const INT: Kind = Kind::Int;

/// A row of the list of functions.
const fn row(
    name: &'static str,
    parameters: &'static [Kind],
    more: More,
    call: for<'c, 'v> fn(&Call<'c, 'v>) -> Made<'v>,
) -> Function {
    Function { name, parameters, more, call }
}

/// All functions. Names with a capital are the older ones, most of which take the text as the first argument.
static FUNCTIONS: [Function; 85] = [
    row("__line__", &[], NONE, |call| Ok(Value::borrowed(&call.entry.line))),
    row("__timestamp__", &[], NONE, |call| Ok(Value::Time(Time::of_nanoseconds(call.entry.time_ns)))),
    row("now", &[], NONE, |call| Ok(Value::Time(Time::of_nanoseconds(call.now_ns)))),
    // Texts.
    row("lower", &[TEXT], NONE, |call| Ok(Value::text(call.text(0).to_lowercase()))),
    row("ToLower", &[TEXT], NONE, |call| Ok(Value::text(call.text(0).to_lowercase()))),
    row("upper", &[TEXT], NONE, |call| Ok(Value::text(upper(call.text(0))))),
    row("ToUpper", &[TEXT], NONE, |call| Ok(Value::text(upper(call.text(0))))),
    row("title", &[TEXT], NONE, |call| Ok(Value::text(titled(call.text(0))))),
    row("trim", &[TEXT], NONE, |call| Ok(Value::text(call.text(0).trim()))),
    row("TrimSpace", &[TEXT], NONE, |call| Ok(Value::text(call.text(0).trim()))),
    row("trimAll", &[TEXT, TEXT], NONE, |call| Ok(Value::text(call.text(1).trim_matches(is_in(call.text(0)))))),
    row("Trim", &[TEXT, TEXT], NONE, |call| Ok(Value::text(call.text(0).trim_matches(is_in(call.text(1)))))),
    row("TrimLeft", &[TEXT, TEXT], NONE, |call| Ok(Value::text(call.text(0).trim_start_matches(is_in(call.text(1)))))),
    row("TrimRight", &[TEXT, TEXT], NONE, |call| Ok(Value::text(call.text(0).trim_end_matches(is_in(call.text(1)))))),
    row("trimPrefix", &[TEXT, TEXT], NONE, |call| {
        Ok(Value::text(call.text(1).strip_prefix(call.text(0)).unwrap_or(call.text(1))))
    }),
    row("trimSuffix", &[TEXT, TEXT], NONE, |call| {
        Ok(Value::text(call.text(1).strip_suffix(call.text(0)).unwrap_or(call.text(1))))
    }),
    row("TrimPrefix", &[TEXT, TEXT], NONE, |call| {
        Ok(Value::text(call.text(0).strip_prefix(call.text(1)).unwrap_or(call.text(0))))
    }),
    row("TrimSuffix", &[TEXT, TEXT], NONE, |call| {
        Ok(Value::text(call.text(0).strip_suffix(call.text(1)).unwrap_or(call.text(0))))
    }),
    row("replace", &[TEXT, TEXT, TEXT], NONE, |call| call.replaced(call.text(2), call.text(0), call.text(1), -1)),
    row("Replace", &[TEXT, TEXT, TEXT, INT], NONE, |call| {
        call.replaced(call.text(0), call.text(1), call.text(2), call.int(3))
    }),
    row("contains", &[TEXT, TEXT], NONE, |call| Ok(Value::Bool(call.text(1).contains(call.text(0))))),
    row("hasPrefix", &[TEXT, TEXT], NONE, |call| Ok(Value::Bool(call.text(1).starts_with(call.text(0))))),
    row("hasSuffix", &[TEXT, TEXT], NONE, |call| Ok(Value::Bool(call.text(1).ends_with(call.text(0))))),
    row("trunc", &[INT, TEXT], NONE, |call| Ok(Value::text(truncated(call.int(0), call.text(1))))),
    row("substr", &[INT, INT, TEXT], NONE, |call| Ok(Value::text(substring(call.int(0), call.int(1), call.text(2))))),
    row("repeat", &[INT, TEXT], NONE, |call| {
        let count = usize::try_from(call.int(0)).map_err(|_| wrong("repeat takes a number that is not negative"))?;
        call.fits(count.saturating_mul(call.text(1).len()))?;
        Ok(Value::text(call.text(1).repeat(count)))
    }),
    row("indent", &[INT, TEXT], NONE, |call| call.indented(call.int(0), call.text(1), "")),
    row("nindent", &[INT, TEXT], NONE, |call| call.indented(call.int(0), call.text(1), "\n")),
    row("alignLeft", &[INT, TEXT], NONE, |call| call.aligned(true)),
    row("alignRight", &[INT, TEXT], NONE, |call| call.aligned(false)),
    row("default", &[ANY], More::Any(ANY), |call| {
        Ok(match call.args.get(1) {
            Some(given) if given.is_true() => given.clone(),
            _ => call.value(0),
        })
    }),
    row("regexReplaceAll", &[TEXT, TEXT, TEXT], NONE, |call| call.regex_replaced(false)),
    row("regexReplaceAllLiteral", &[TEXT, TEXT, TEXT], NONE, |call| call.regex_replaced(true)),
    row("count", &[TEXT, TEXT], NONE, |call| {
        let places = call.regex.map_or(0, |regex| regex.find_iter(call.text(1)).count());
        Ok(Value::Int(i64::try_from(places).unwrap_or(i64::MAX)))
    }),
    row("b64enc", &[TEXT], NONE, |call| {
        call.fits(call.text(0).len().saturating_add(2) / 3 * 4)?;
        Ok(Value::text(STANDARD.encode(call.text(0))))
    }),
    row("b64dec", &[TEXT], NONE, |call| Ok(Value::text(of_base64(call.text(0))))),
    row("urlencode", &[TEXT], NONE, |call| call.each_byte(call.text(0), url_encoded)),
    row("urldecode", &[TEXT], NONE, |call| url_decoded(call.text(0))),
    row("fromJson", &[TEXT], NONE, |call| {
        let Ok(json) = serde_json::from_str(call.text(0)) else { return Ok(Value::Nil) };
        let mut left = call.bytes_max;
        let value = Value::of_json(json, &mut left).ok_or(Failure::TooLarge)?;
        call.made(value, call.bytes_max - left)
    }),
    row("bytes", &[TEXT], NONE, |call| {
        let bytes =
            parse_bytes(call.text(0)).ok_or_else(|| wrong(format!("invalid size {:?}", shown(call.text(0)))))?;
        Ok(Value::Float(bytes.trunc()))
    }),
    row("duration", &[TEXT], NONE, |call| seconds_of(call.text(0))),
    row("duration_seconds", &[TEXT], NONE, |call| seconds_of(call.text(0))),
    // Numbers.
    row("int", &[ANY], NONE, |call| Ok(Value::Int(call.int(0)))),
    row("float64", &[ANY], NONE, |call| Ok(Value::Float(call.float(0)))),
    row("add", &[], More::Any(ANY), |call| call.wholes(i64::wrapping_add)),
    row("sub", &[ANY, ANY], NONE, |call| call.wholes(i64::wrapping_sub)),
    row("mul", &[ANY], More::Any(ANY), |call| call.wholes(i64::wrapping_mul)),
    row("div", &[ANY, ANY], NONE, |call| match call.int(1) {
        0 => Err(wrong("integer divide by zero")),
        _ => call.wholes(i64::wrapping_div),
    }),
    row("mod", &[ANY, ANY], NONE, |call| match call.int(1) {
        0 => Err(wrong("integer divide by zero")),
        _ => call.wholes(i64::wrapping_rem),
    }),
    row("max", &[ANY], More::Any(ANY), |call| call.wholes(i64::max)),
    row("min", &[ANY], More::Any(ANY), |call| call.wholes(i64::min)),
    row("addf", &[], More::Any(ANY), |call| call.decimals(DecimalOp::Add)),
    row("subf", &[ANY], More::Any(ANY), |call| call.decimals(DecimalOp::Subtract)),
    row("mulf", &[ANY], More::Any(ANY), |call| call.decimals(DecimalOp::Multiply)),
    row("divf", &[ANY], More::Any(ANY), |call| call.decimals(DecimalOp::Divide)),
    row("maxf", &[ANY], More::Any(ANY), |call| call.floats(f64::max)),
    row("minf", &[ANY], More::Any(ANY), |call| call.floats(f64::min)),
    row("ceil", &[ANY], NONE, |call| Ok(Value::Float(call.float(0).ceil()))),
    row("floor", &[ANY], NONE, |call| Ok(Value::Float(call.float(0).floor()))),
    row("round", &[ANY, INT], More::One(Kind::Float), |call| {
        let round_from = if call.args.len() > 2 { call.float(2) } else { 0.5 };
        Ok(Value::Float(rounded(call.float(0), call.int(1), round_from)))
    }),
    // Times.
    row("date", &[TEXT, ANY], NONE, |call| Ok(Value::text(call.any_time(1).in_utc().format(call.text(0))))),
    row("toDate", &[TEXT, TEXT], NONE, |call| Ok(Value::Time(Time::parse(call.text(0), call.text(1), None)))),
    row("toDateInZone", &[TEXT, TEXT, TEXT], NONE, |call| {
        Ok(Value::Time(Time::parse(call.text(0), call.text(2), zone(call.text(1)).as_ref())))
    }),
    row("unixEpoch", &[Kind::Time], NONE, |call| Ok(Value::text(call.time(0).second().to_string()))),
    row("unixEpochMillis", &[Kind::Time], NONE, |call| Ok(Value::text(call.time(0).parts(1_000).to_string()))),
    row("unixEpochNanos", &[Kind::Time], NONE, |call| Ok(Value::text(call.time(0).parts(1_000_000_000).to_string()))),
    row("unixToTime", &[TEXT], NONE, |call| time_of_epoch(call.text(0))),
    // Of Go itself. The arguments of `and` and `or` are evaluated one after the other before they come here.
    row("and", &[ANY], More::Any(ANY), |call| Ok(call.args.last().cloned().unwrap_or(Value::Nil))),
    row("or", &[ANY], More::Any(ANY), |call| Ok(call.args.last().cloned().unwrap_or(Value::Nil))),
    row("not", &[ANY], NONE, |call| Ok(Value::Bool(!call.value(0).is_true()))),
    row("eq", &[ANY, ANY], More::Any(ANY), |call| {
        for index in 1..call.args.len() {
            if call.is_equal(index)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    row("ne", &[ANY, ANY], NONE, |call| call.is_equal(1).map(|is_equal| Value::Bool(!is_equal))),
    row("lt", &[ANY, ANY], NONE, |call| call.compared(Ordering::is_lt)),
    row("le", &[ANY, ANY], NONE, |call| call.compared(Ordering::is_le)),
    row("gt", &[ANY, ANY], NONE, |call| call.compared(Ordering::is_gt)),
    row("ge", &[ANY, ANY], NONE, |call| call.compared(Ordering::is_ge)),
    row("len", &[ANY], NONE, |call| {
        let length = call.args[0].len().and_then(|length| i64::try_from(length).ok());
        length.map(Value::Int).ok_or_else(|| wrong(format!("len of type {}", call.args[0].type_name())))
    }),
    row("index", &[ANY], More::Any(ANY), |call| call.indexed()),
    row("slice", &[ANY], More::Any(ANY), |call| call.sliced()),
    row("print", &[], More::Any(ANY), |call| call.printed(0, false).map(Value::text)),
    row("println", &[], More::Any(ANY), |call| call.printed(0, true).map(Value::text)),
    row("printf", &[TEXT], More::Any(ANY), |call| {
        printf(call.text(0), &call.args[1..], call.bytes_max).map(Value::text).ok_or(Failure::TooLarge)
    }),
    row("html", &[], More::Any(ANY), |call| call.each_char(&call.printed(0, false)?, html_escaped)),
    row("js", &[], More::Any(ANY), |call| call.each_char(&call.printed(0, false)?, js_escaped)),
    row("urlquery", &[], More::Any(ANY), |call| call.each_byte(&call.printed(0, false)?, url_encoded)),
];
