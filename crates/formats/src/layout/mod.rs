//! Layouts of loggers, given as a conversion pattern of log4j or logback: `%d{HH:mm:ss} [%t] %-5p %c{1} - %m%n`.
//!
//! Source: "Pattern Layout" of log4j 2, `PatternLayout` of log4j 1, "PatternLayout" of logback. A pattern becomes a regular
//! expression, which takes time in proportion to the length of a line.

mod date;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;
use runlog_model::LogZone;

use self::date::DatePattern;
pub(crate) use self::date::Moment;

/// The layout of the records of a logger.
#[derive(Clone)]
pub struct Layout(Arc<Compiled>);

struct Compiled {
    pattern: String,
    /// The first line of a record.
    line: Regex,
    /// The meaning of the groups of the expression.
    fields: Vec<Field>,
    date: DatePattern,
    zone: Option<LogZone>,
}

/// The meaning of a group of the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Date,
    Level,
    Logger,
    Message,
    /// A further field of the record.
    Further(String),
}

/// An error in a pattern, with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {at}: {what}")]
pub struct LayoutError {
    /// The number of the character, from 1.
    pub at: usize,
    /// What is wrong there, and what to do about it.
    pub what: String,
}

/// The parts of the first line of a record.
#[derive(Debug)]
pub(crate) struct LayoutMatch<'a> {
    pub(crate) moment: Moment,
    pub(crate) severity: Option<&'a str>,
    pub(crate) component: Option<&'a str>,
    pub(crate) further: Vec<(&'a str, &'a str)>,
    pub(crate) message: &'a str,
    /// True if the message begins in the next line.
    pub(crate) is_head: bool,
}

/// The kinds of conversions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conversion {
    Date,
    Level,
    Logger,
    Message,
    LineBreak,
    /// The stack trace, which follows the message.
    Exception,
    /// A further field: its name, and the expression of its values.
    Further(&'static str, &'static str),
    /// A further field with the name in braces.
    Named(&'static str),
    /// A colour of logback around the text in parentheses.
    Group,
    /// A colour of log4j around the text in the first braces.
    Braces,
    /// What is in braces, or nothing.
    Optional,
    Unsupported,
}

const ANY: &str = ".*?";
const NUMBER: &str = "[0-9]+";

/// The conversions by their names; a longer name takes precedence over a shorter one with which it begins.
const CONVERSIONS: &[(&[&str], Conversion)] = &[
    (&["d", "date"], Conversion::Date),
    (&["p", "le", "level"], Conversion::Level),
    (&["c", "lo", "logger"], Conversion::Logger),
    (&["m", "msg", "message"], Conversion::Message),
    (&["n"], Conversion::LineBreak),
    (
        &[
            "ex",
            "exception",
            "throwable",
            "xEx",
            "xException",
            "xThrowable",
            "rEx",
            "rException",
            "rThrowable",
            "wEx",
            "wex",
            "xwEx",
            "nopex",
            "nopexception",
        ],
        Conversion::Exception,
    ),
    (&["t", "tn", "thread", "threadName"], Conversion::Further("thread", ANY)),
    (&["C", "class"], Conversion::Further("class", ANY)),
    (&["M", "method"], Conversion::Further("method", "[^ ]*?")),
    (&["F", "file"], Conversion::Further("file", ANY)),
    (&["L", "line"], Conversion::Further("line", "(?:[0-9]+|\\?)")),
    (&["l", "location"], Conversion::Further("location", ANY)),
    (&["r", "relative"], Conversion::Further("uptime_ms", NUMBER)),
    (&["x", "NDC"], Conversion::Further("ndc", ANY)),
    (&["T", "tid", "threadId"], Conversion::Further("thread_id", NUMBER)),
    (&["tp", "threadPriority"], Conversion::Further("thread_priority", NUMBER)),
    (&["pid", "processId"], Conversion::Further("pid", "[^ ]*?")),
    (&["sn", "sequenceNumber"], Conversion::Further("sequence", NUMBER)),
    (&["u", "uuid"], Conversion::Further("uuid", "[0-9a-fA-F-]+")),
    (&["marker", "markerSimpleName"], Conversion::Further("marker", ANY)),
    (&["kvp"], Conversion::Further("kvp", ANY)),
    (&["contextName", "cn"], Conversion::Further("context_name", ANY)),
    (&["X", "mdc", "MDC"], Conversion::Named("context")),
    (&["property"], Conversion::Named("property")),
    (
        &[
            "black",
            "red",
            "green",
            "yellow",
            "blue",
            "magenta",
            "cyan",
            "white",
            "gray",
            "boldRed",
            "boldGreen",
            "boldYellow",
            "boldBlue",
            "boldMagenta",
            "boldCyan",
            "boldWhite",
            "clr",
        ],
        Conversion::Group,
    ),
    (&["highlight", "style"], Conversion::Braces),
    (&["notEmpty", "varsNotEmpty", "variablesNotEmpty"], Conversion::Optional),
    (
        &[
            "enc",
            "encode",
            "replace",
            "equals",
            "equalsIgnoreCase",
            "maxLen",
            "maxLength",
            "caller",
            "K",
            "map",
            "MAP",
            "N",
            "nano",
            "O",
            "fqcn",
            "endOfBatch",
            "pi",
            "scf",
        ],
        Conversion::Unsupported,
    ),
];

impl Layout {
    /// True if its times have no date: then that of the first line must be known.
    pub fn is_without_date(&self) -> bool {
        self.0.date.is_time_of_day()
    }

    /// The zone of its times, where it names one.
    pub fn zone(&self) -> Option<&LogZone> {
        self.0.zone.as_ref()
    }

    /// The parts of a line, without its line break; none if it does not begin a record.
    pub(crate) fn read<'a>(&'a self, line: &'a str) -> Option<LayoutMatch<'a>> {
        let groups = self.0.line.captures(line)?;
        let (mut moment, mut message) = (None, None);
        let (mut severity, mut component, mut further) = (None, None, Vec::new());
        for (index, field) in self.0.fields.iter().enumerate() {
            let Some(text) = groups.get(index + 1).map(|group| group.as_str()) else { continue };
            let given = Some(text).filter(|text| !text.is_empty());
            match field {
                Field::Date => moment = Some(self.0.date.read(text)?),
                Field::Level => severity = given,
                Field::Logger => component = given,
                Field::Message => message = Some(text),
                Field::Further(name) => further.extend(given.map(|text| (name.as_str(), text))),
            }
        }
        let (moment, is_head) = (moment?, message.is_none());
        Some(LayoutMatch { moment, severity, component, further, message: message.unwrap_or_default(), is_head })
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layout").field(&self.0.pattern).finish()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pattern)
    }
}

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(pattern: &str) -> Result<Self, LayoutError> {
        let letters: Vec<char> = pattern.chars().collect();
        let mut compiler =
            Compiler { letters: &letters, at: 0, line: String::new(), fields: Vec::new(), date: None, breaks: None };
        compiler.read_until(None)?;
        let whole = |what: &str| LayoutError { at: letters.len().max(1), what: what.to_owned() };
        let Some((date, zone)) = compiler.date else {
            return Err(whole("a pattern needs %d, which marks the start of a record"));
        };
        if !compiler.fields.contains(&Field::Message) {
            // It is in the lines that follow.
            if compiler.breaks.is_none() {
                return Err(whole("the pattern has no message (%m)"));
            }
        }
        let line = format!("^(?s:{})$", compiler.line);
        let line = Regex::new(&line).map_err(|_| whole("the pattern is too long"))?;
        Ok(Self(Arc::new(Compiled { pattern: pattern.to_owned(), line, fields: compiler.fields, date, zone })))
    }
}

/// Turns a pattern into an expression.
struct Compiler<'p> {
    letters: &'p [char],
    /// How many letters were read.
    at: usize,
    line: String,
    fields: Vec<Field>,
    date: Option<(DatePattern, Option<LogZone>)>,
    /// Where the first line break is, if there was one.
    breaks: Option<usize>,
}

/// `-5.30` behind a percent sign.
#[derive(Debug, Default)]
struct Width {
    is_left: bool,
    has_least: bool,
}

impl Compiler<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.get(self.at).copied()?;
        self.at += 1;
        Some(letter)
    }

    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    /// The error at a letter, counted from 0.
    fn wrong(at: usize, what: impl Into<String>) -> LayoutError {
        LayoutError { at: at + 1, what: what.into() }
    }

    /// Reads up to a closing letter, or to the end.
    fn read_until(&mut self, closing: Option<char>) -> Result<(), LayoutError> {
        loop {
            let begin = self.at;
            match self.next() {
                None if closing.is_none() => return Ok(()),
                None => return Err(Self::wrong(begin, format!("{} is missing", closing.unwrap_or(')')))),
                letter if letter == closing => return Ok(()),
                Some('%') if self.peek() == Some('%') => {
                    self.at += 1;
                    self.literal('%', begin)?;
                }
                Some('%') => self.conversion(begin)?,
                Some('\\') => match self.next() {
                    Some('n') => _ = self.breaks.get_or_insert(begin),
                    Some('t') => self.literal('\t', begin)?,
                    Some('r') => {}
                    Some(letter) => self.literal(letter, begin)?,
                    None => return Err(Self::wrong(begin, "nothing follows the backslash")),
                },
                Some('$') if self.peek() == Some('{') => {
                    return Err(Self::wrong(begin, "a lookup (${…}) is not supported; replace it with its value"));
                }
                Some('\n') => _ = self.breaks.get_or_insert(begin),
                Some(letter) => self.literal(letter, begin)?,
            }
        }
    }

    fn literal(&mut self, letter: char, at: usize) -> Result<(), LayoutError> {
        if self.breaks.is_some() {
            // Blanks at the end.
            if letter.is_whitespace() {
                return Ok(());
            }
            return Err(Self::wrong(at, "after a line break (%n), only the message (%m) and the exception may follow"));
        }
        self.line.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
        Ok(())
    }

    /// Reads what follows a percent sign, which was the letter at `begin`.
    fn conversion(&mut self, begin: usize) -> Result<(), LayoutError> {
        let width = self.width();
        if self.peek() == Some('(') {
            self.at += 1;
            return self.group(&width, ')');
        }
        let run: String = self.letters[self.at..].iter().take_while(|it| it.is_ascii_alphabetic()).collect();
        let known =
            CONVERSIONS.iter().flat_map(|(names, conversion)| names.iter().map(move |name| (*name, *conversion)));
        let found = known.filter(|(name, _)| run.starts_with(name)).max_by_key(|(name, _)| name.len());
        let Some((name, conversion)) = found else {
            let what =
                if run.is_empty() { "a percent sign is written %%".to_owned() } else { format!("%{run} is not known") };
            return Err(Self::wrong(begin, what));
        };
        self.at += name.len();
        if self.breaks.is_some()
            && !matches!(conversion, Conversion::Message | Conversion::LineBreak | Conversion::Exception)
        {
            let what = format!("%{name} follows a line break (%n), after which only the message (%m) may follow");
            return Err(Self::wrong(begin, what));
        }
        match conversion {
            Conversion::Group => match self.next() {
                Some('(') => {
                    self.group(&width, ')')?;
                    self.options().map(drop)
                }
                _ => Err(Self::wrong(begin, format!("%{name} needs parentheses"))),
            },
            Conversion::Braces | Conversion::Optional => match self.next() {
                Some('{') if conversion == Conversion::Braces => {
                    self.group(&width, '}')?;
                    self.options().map(drop)
                }
                Some('{') => {
                    self.line.push_str("(?:");
                    self.read_until(Some('}'))?;
                    self.line.push_str(")?");
                    Ok(())
                }
                // A colour of logback has the same name.
                Some('(') if name == "highlight" => self.group(&width, ')'),
                _ => Err(Self::wrong(begin, format!("%{name} needs braces"))),
            },
            Conversion::Unsupported => Err(Self::wrong(begin, format!("%{name} is not supported"))),
            Conversion::LineBreak => {
                self.breaks.get_or_insert(begin);
                Ok(())
            }
            Conversion::Exception => {
                self.options()?;
                // A stack trace is in the following lines.
                let end = self.line.trim_end_matches(' ').len();
                self.line.truncate(end);
                Ok(())
            }
            Conversion::Message if self.breaks.is_some() => self.options().map(drop),
            Conversion::Message => self.unique(Field::Message, ANY, &width, begin, name),
            Conversion::Level => self.unique(Field::Level, "[^ ]+?", &width, begin, name),
            Conversion::Logger => self.unique(Field::Logger, ANY, &width, begin, name),
            Conversion::Further(field, values) => {
                self.unique(Field::Further(field.to_owned()), values, &width, begin, name)
            }
            Conversion::Named(all) => {
                let options = self.options()?;
                let key = options.first().map_or(all, |key| key.split(":-").next().unwrap_or(key).trim());
                self.field(Field::Further(key.to_owned()), ANY, &width, begin, name)
            }
            Conversion::Date => self.date(&width, begin, name),
        }
    }

    fn date(&mut self, width: &Width, begin: usize, name: &str) -> Result<(), LayoutError> {
        let options = self.options()?;
        let text = options.first().map_or("", |text| text.trim().trim_matches('"'));
        // In logback, the zone stands behind a comma, in log4j, in braces of its own.
        let (text, zone) = match (text.rsplit_once(','), options.get(1)) {
            (_, Some(zone)) => (text, Some(zone.as_str())),
            (Some((date, zone)), None) if zone.trim().len() > 2 && zone_of(zone).is_some() => {
                (date.trim().trim_matches('"'), Some(zone))
            }
            _ => (text, None),
        };
        let zone = zone.map(|zone| {
            zone_of(zone).ok_or_else(|| Self::wrong(begin, format!("{:?} is not a known time zone", zone.trim())))
        });
        let zone = zone.transpose()?;
        let date = DatePattern::new(text).map_err(|what| Self::wrong(begin, format!("%{name}: {what}")))?;
        let expression = date.expression();
        self.field(Field::Date, &expression, width, begin, name)?;
        self.date = Some((date, zone));
        Ok(())
    }

    /// A field whose options only say how much of it is shown.
    fn unique(
        &mut self,
        field: Field,
        values: &str,
        width: &Width,
        begin: usize,
        name: &str,
    ) -> Result<(), LayoutError> {
        self.options()?;
        self.field(field, values, width, begin, name)
    }

    fn field(
        &mut self,
        field: Field,
        values: &str,
        width: &Width,
        begin: usize,
        name: &str,
    ) -> Result<(), LayoutError> {
        if self.fields.contains(&field) {
            return Err(Self::wrong(begin, format!("%{name} is in the pattern twice")));
        }
        self.fields.push(field);
        let padding = if width.has_least { " *" } else { "" };
        let group = match width.is_left {
            true => format!("({values}){padding}"),
            false => format!("{padding}({values})"),
        };
        self.line.push_str(&group);
        Ok(())
    }

    /// Reads the content of parentheses or braces, with colours around it.
    fn group(&mut self, width: &Width, closing: char) -> Result<(), LayoutError> {
        const COLOURS: &str = "(?:\\x1b\\[[0-9;]*m)*";
        let padding = if width.has_least { " *" } else { "" };
        self.line.push_str(if width.is_left { "" } else { padding });
        self.line.push_str(COLOURS);
        self.read_until(Some(closing))?;
        self.line.push_str(COLOURS);
        self.line.push_str(if width.is_left { padding } else { "" });
        Ok(())
    }

    fn width(&mut self) -> Width {
        let mut width = Width::default();
        if self.peek() == Some('-') {
            self.at += 1;
            width.is_left = true;
        }
        width.has_least = self.number();
        if self.peek() == Some('.') {
            self.at += 1;
            if self.peek() == Some('-') {
                self.at += 1;
            }
            self.number();
        }
        width
    }

    fn number(&mut self) -> bool {
        let begin = self.at;
        while self.peek().is_some_and(|it| it.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > begin
    }

    /// The texts in braces, each in its own.
    fn options(&mut self) -> Result<Vec<String>, LayoutError> {
        let mut options = Vec::new();
        while self.peek() == Some('{') {
            let begin = self.at;
            self.at += 1;
            let (mut depth, mut text) = (1, String::new());
            loop {
                match self.next() {
                    None => return Err(Self::wrong(begin, "} is missing")),
                    Some('{') => depth += 1,
                    Some('}') => depth -= 1,
                    Some(_) => {}
                }
                if depth == 0 {
                    break;
                }
                text.push(self.letters[self.at - 1]);
            }
            options.push(text);
        }
        Ok(options)
    }
}

/// A zone as Java names it: `UTC`, `Europe/Berlin`, `GMT+1`, `GMT-03:30`.
fn zone_of(text: &str) -> Option<LogZone> {
    let text = text.trim();
    if let Some(zone) = (text == "GMT").then_some("UTC").or(Some(text)).and_then(|text| text.parse().ok()) {
        return Some(zone);
    }
    let offset = text.strip_prefix("GMT").or_else(|| text.strip_prefix("UTC"))?;
    let (sign, digits) = offset.split_at_checked(1)?;
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "00"));
    format!("{sign}{hours:0>2}:{minutes}").parse().ok()
}
