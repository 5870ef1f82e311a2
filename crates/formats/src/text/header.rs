//! The part between the time and the message of a line: severity, thread, component.

use runlog_model::text;
use runlog_model::{Record, Severity, StructuredData};
use serde_json::{Map, Value};

use super::level::{bracketed, is_level, level_in};
use super::time::Stamped;

/// The longest name of a thread, component or host. Unit: bytes.
const NAME_BYTES_MAX: usize = 200;

/// The parts of a line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) severity: Option<&'a str>,
    pub(super) log_type: Option<&'a str>,
    pub(super) component: Option<&'a str>,
    pub(super) component_version: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    /// Further fields of the record.
    pub(super) further: Vec<(&'static str, &'a str)>,
    /// The elements of structured data, which are fields as well.
    pub(super) elements: Map<String, Value>,
    /// What is before the message, and a part of it.
    pub(super) before_message: String,
    pub(super) message: &'a str,
    /// True for the text form of Runlog itself.
    pub(super) is_exact: bool,
    /// True for a message that begins with the quotation mark of a cell.
    pub(super) is_quoted: bool,
}

impl<'a> Header<'a> {
    /// Reads the part of a line after its time. Unrecognised parts belong to the message.
    pub(super) fn read(stamped: &Stamped<'a>) -> Self {
        let rest = stamped.rest;
        if let Some(level) = stamped.level {
            let mut header = Header { severity: Some(level), ..Header::default() };
            read_after_level(&mut header, after_separator(rest));
            return header;
        }
        let mut header = None;
        if stamped.is_rfc5424 {
            header = rfc5424(rest);
        }
        let header = header.or_else(|| of_runlog(rest)).or_else(|| of_karaf(rest)).or_else(|| {
            let is_syslog = stamped.is_yearless || stamped.priority.is_some();
            syslog(rest, is_syslog)
        });
        let mut header = header.unwrap_or_else(|| of_logger(rest));
        if let Some(priority) = stamped.priority
            && header.severity.is_none()
        {
            header.severity = Some(severity_of_syslog(priority));
        }
        header
    }
}

fn severity_of_syslog(priority: u8) -> &'static str {
    Severity::of(Some(["0", "1", "2", "3", "4", "5", "6", "7"][usize::from(priority % 8)])).name()
}

/// The text form of Runlog itself: ` | INFO  | logType | bundleName | message`.
fn of_runlog(rest: &str) -> Option<Header<'_>> {
    let text::Columns { severity, log_type, bundle_name, message } = text::columns(rest)?;
    let given = |text: &str| !text.is_empty();
    // The log of Karaf has a bundle in the place of the message.
    if is_bundle(message.split(" | ").next().unwrap_or_default()) {
        return None;
    }
    Some(Header {
        severity: Some(severity).filter(|text| given(text)),
        log_type: Some(log_type).filter(|text| given(text)),
        component: Some(bundle_name).filter(|text| given(text)),
        message,
        is_exact: true,
        ..Header::default()
    })
}

/// The log of Karaf, and so of a Remote Engine: `| INFO  | thread | logger | 12 - bundle - 1.0.0 | message`.
fn of_karaf(rest: &str) -> Option<Header<'_>> {
    let mut parts = rest.trim_start().strip_prefix("| ")?.splitn(5, " | ");
    let (severity, thread, logger) = (parts.next()?.trim(), parts.next()?.trim(), parts.next()?.trim());
    let (bundle, message) = (parts.next()?.trim(), parts.next().unwrap_or_default());
    if !is_level(severity) || !is_bundle(bundle) {
        return None;
    }
    let mut bundle = bundle.splitn(3, " - ").skip(1);
    let (component, component_version) = (bundle.next().map(str::trim), bundle.next().map(str::trim));
    let given = |text: &&str| !text.is_empty();
    let further = [("thread", thread), ("logger", logger)];
    Some(Header {
        severity: Some(severity),
        component: component.filter(given),
        component_version: component_version.filter(given),
        further: further.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        message,
        ..Header::default()
    })
}

/// `12 - bundle - 1.0.0`.
fn is_bundle(text: &str) -> bool {
    let parts: Vec<&str> = text.trim().split(" - ").collect();
    parts.len() == 3 && !parts[0].is_empty() && parts[0].bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 5424, after the time: ` host app process message-id data message`.
fn rfc5424(rest: &str) -> Option<Header<'_>> {
    let mut parts = rest.strip_prefix(' ')?.splitn(5, ' ');
    let (host, app, process, id, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let given = |text: &&str| *text != "-";
    let further = [("pid", process), ("msgId", id)].into_iter().filter(|(_, text)| given(text)).collect();
    let StructuredData { elements, malformed, rest: message } = StructuredData::read_before_message(rest);
    Some(Header {
        host: Some(host).filter(given),
        component: Some(app).filter(given),
        further,
        elements,
        before_message: malformed,
        message,
        ..Header::default()
    })
}

/// ` host app[12]: message`; without a process only where the time is one of syslog.
fn syslog(rest: &str, is_certain: bool) -> Option<Header<'_>> {
    let (host, after) = rest.strip_prefix(' ')?.trim_start().split_once(' ')?;
    let (tag, message) = after.split_once(": ").or_else(|| Some((after.strip_suffix(':')?, "")))?;
    let (app, process) = match tag.split_once('[') {
        Some((app, process)) => (app, Some(process.strip_suffix(']')?)),
        None => (tag, None),
    };
    let is_name = |text: &str| {
        !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && !text.contains(|it: char| it.is_whitespace() || "[]|".contains(it))
    };
    let is_process =
        process.is_some_and(|process| !process.is_empty() && process.bytes().all(|it| it.is_ascii_digit()));
    let is_one = is_name(host) && is_name(app) && !is_level(host) && !is_level(app);
    (is_one && (is_process || (is_certain && process.is_none()))).then(|| Header {
        host: Some(host),
        component: Some(app),
        further: process.map(|process| ("pid", process)).into_iter().collect(),
        message,
        ..Header::default()
    })
}

/// The layouts of log4j, logback, Python and others, and rows of tables. Without a severity, all of it is the message.
fn of_logger(rest: &str) -> Header<'_> {
    let whole = after_separator(rest);
    of_row(rest).or_else(|| logger_parts(whole)).unwrap_or_else(|| {
        // The separator between the time and the message is part of neither.
        let message = whole.strip_prefix([',', ';', '|']).unwrap_or(whole);
        Header { message, is_quoted: message.len() < whole.len() && message.starts_with('"'), ..Header::default() }
    })
}

/// A row of a table without a header, after its time: `,ERROR,disk full`. Further cells are part of the message.
fn of_row(rest: &str) -> Option<Header<'_>> {
    let separator = rest.chars().next().filter(|it| matches!(it, ',' | ';' | '|' | '\t'))?;
    let (cell, message) = rest[1..].split_once(separator).unwrap_or((&rest[1..], ""));
    let cell = cell.trim();
    if (separator == '\t' || rest[1..].starts_with(' ')) && is_level(cell) {
        // The layout of a logger: threads and a component may follow.
        return None;
    }
    let level = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell).trim();
    let level = level_in(level).filter(|_| !level.contains(':'))?;
    let message = message.trim_start_matches(' ');
    Some(Header { severity: Some(level), message, is_quoted: message.starts_with('"'), ..Header::default() })
}

fn logger_parts(text: &str) -> Option<Header<'_>> {
    let mut header = Header::default();
    let mut rest = text;
    // Before the severity: threads in brackets, and a component.
    while header.severity.is_none() {
        if let Some((inner, after)) = bracketed(rest) {
            rest = after_separator(after);
            match level_in(inner) {
                Some(level) => header.severity = Some(level),
                None if header.further.len() < 2 => header.further.push(("thread", inner)),
                None => return None,
            }
            continue;
        }
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let level = word.trim_end_matches([':', '|', ',', '-']);
        if is_level(level) {
            header.severity = Some(level);
            // The separator behind it is taken once.
            rest = if level.len() == word.len() { after_separator(after) } else { after.trim_start_matches(' ') };
            continue;
        }
        let after = after.trim_start();
        if header.component.is_none() && is_name(word) && after.starts_with(['-', '|', ':']) {
            header.component = Some(word);
            rest = after_separator(after);
            continue;
        }
        return None;
    }
    read_after_level(&mut header, rest);
    Some(header)
}

/// Reads what follows the severity: a process, threads, the component, and the message.
fn read_after_level<'a>(header: &mut Header<'a>, mut rest: &'a str) {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if let Some(after) = after.strip_prefix("---")
        && !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_digit())
    {
        header.further.push(("pid", word));
        rest = after.trim_start();
    }
    while let Some((inner, after)) = bracketed(rest).filter(|_| header.further.len() < 3) {
        header.further.push(("thread", inner));
        rest = after_separator(after);
    }
    if header.component.is_none()
        && let Some((component, message)) = component_of(rest)
    {
        header.component = Some(component);
        rest = message;
    }
    header.message = rest;
    // The last of several is the thread; those before it are what the layout of an application adds.
    let threads = header.further.iter().filter(|(name, text)| *name == "thread" && !text.is_empty()).count();
    let mut seen = 0;
    header.further.retain_mut(|(name, text)| {
        if *name != "thread" || text.is_empty() {
            return !text.is_empty();
        }
        seen += 1;
        if seen < threads {
            *name = "context";
        }
        true
    });
}

/// A component and the message behind it: `c.e.Class - message`, `c.e.Class: message`.
fn component_of(rest: &str) -> Option<(&str, &str)> {
    let (word, after) = rest.split_once(char::is_whitespace)?;
    let after = after.trim_start();
    for separator in ["- ", ": ", "| "] {
        if let Some(message) = after.strip_prefix(separator)
            && is_name(word)
        {
            return Some((word, message));
        }
    }
    if matches!(after, "-" | ":" | "|") && is_name(word) {
        return Some((word, ""));
    }
    // The format of Talend Studio.
    if let Some(component) = word.strip_suffix('-').filter(|component| component.contains('.') && is_name(component)) {
        return Some((component, after));
    }
    // The name of an exception is followed by a colon as well, and belongs to the message.
    let component = word.strip_suffix(':')?;
    let last = component.rsplit('.').next()?;
    let is_exception = ["Exception", "Error", "Throwable"].iter().any(|end| last.ends_with(end));
    (component.contains('.') && is_name(component) && !is_exception).then_some((component, after))
}

/// Without blanks, and one separator between them.
fn after_separator(text: &str) -> &str {
    let text = text.trim_start_matches([' ', '\t']);
    let after = text.strip_prefix(['-', '|', ':', ',', ';']);
    match after.filter(|after| after.is_empty() || after.starts_with([' ', '\t'])) {
        Some(after) => after.trim_start_matches([' ', '\t']),
        None => text,
    }
}

/// The name of a component: one word.
fn is_name(word: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || "._$-/#:@<>{}~+".contains(it);
    word.len() <= NAME_BYTES_MAX
        && word.starts_with(|it: char| it.is_alphabetic() || it == '_' || it == '~')
        && word.chars().all(is_part)
}

/// The severity at the beginning of a line without a time: `ERROR: no orders`, `[WARNING] slow`.
pub(super) fn severity_of_plain(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some((inner, _)) = bracketed(line) {
        return level_in(inner);
    }
    let word = line.split(char::is_whitespace).next()?;
    let level = word.strip_suffix(':').unwrap_or(word);
    is_level(level).then_some(level)
}

/// Takes severity, component and method from the second line of a record, as `java.util.logging` writes it:
/// `c.e.Class run` and then `SEVERE: no orders`.
pub(super) fn read_second_line(record: &mut Record, message: &mut String) {
    if record.severity.is_some() || record.bundle_name.is_some() {
        return;
    }
    let Some((first, second)) = message.split_once('\n') else { return };
    let Some((level, text)) = second.split_once(": ").filter(|(level, _)| is_level(level)) else { return };
    let (class, method) = first.split_once(' ').unwrap_or((first, ""));
    if !is_name(class) || method.contains(' ') {
        return;
    }
    record.severity = Some(level.to_owned());
    record.bundle_name = Some(class.to_owned());
    if !method.is_empty() {
        record.extra.get_or_insert_default().insert("method".to_owned(), Value::from(method));
    }
    *message = text.to_owned();
}
