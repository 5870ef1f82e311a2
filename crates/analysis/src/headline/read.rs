//! Extracts the headline of a message.
//!
//! A message is parsed into the steps of a chain, from the outermost to the root: sentences, exceptions, and their
//! causes. The root is the headline, unless it is less specific than the step around it.

use super::exception::{Named, at_start, within};
use super::weight::{LineWeight, Weight, is_cover, is_only_status, weigh};
use crate::stack_trace::Frame;

/// Maximum number of lines of a message that are considered.
const LINES_MAX: usize = 5_000;

/// Maximum number of steps of a chain.
const STEPS_MAX: usize = 64;

/// Maximum number of lines that are considered of the message of an exception, and of the text before an exception.
const TEXT_LINES_MAX: usize = 12;

/// Maximum number of continuation lines of a line.
const LEADS_MAX: usize = 4;

/// Minimum number of words of a sentence.
const SENTENCE_WORDS_MIN: usize = 4;

/// Maximum length of a headline. Unit: characters.
const CHARS_MAX: usize = 400;

/// Maximum number of bytes of a line that are considered.
const LINE_BYTES_MAX: usize = 4_096;

/// Exceptions that are specific even without a message.
const CLEAR_ALONE: [&str; 10] = [
    "NullPointerException",
    "NullReferenceException",
    "StackOverflowError",
    "OutOfMemoryError",
    "OutOfMemoryException",
    "ClassCastException",
    "ConcurrentModificationException",
    "EmptyStackException",
    "NoSuchElementException",
    "UnsupportedOperationException",
];

/// The text of a message that states what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// One line, at most 400 characters.
    pub(crate) text: String,
    /// How specific the text is.
    pub(crate) weight: Weight,
    /// True if such a text hardly ever occurs without a failure: an exception, or the code of a driver.
    pub(crate) is_strong: bool,
    /// True if the message states that a component, thread or program ended.
    pub(crate) is_fatal: bool,
}

/// Returns the headline of a message.
pub(crate) fn read(message: &str) -> Headline {
    let is_fatal = message.lines().take(3).any(is_end_message);
    let chosen = match message.contains("Traceback (most recent call last)") {
        true => of_python(message).unwrap_or_else(|| chain_of(message).root()),
        false => chain_of(message).root(),
    };
    let is_survived = message.lines().next().is_some_and(|line| {
        weigh(line).weight == Weight::Aftermath || line.trim_start().to_ascii_lowercase().starts_with("retry ")
    });
    let weight = if is_survived { chosen.weight.min(Weight::Aftermath) } else { chosen.weight };
    Headline { text: chosen.text, weight, is_strong: chosen.is_strong, is_fatal }
}

fn is_end_message(line: &str) -> bool {
    ["Exception in component ", "Exception in thread ", "Unhandled exception", "User class threw exception"]
        .iter()
        .any(|words| line.contains(words))
}

/// A step of a chain in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    text: String,
    weight: Weight,
    is_strong: bool,
    /// True if the step states only its kind: an exception without a message, or the status of a response.
    is_bare: bool,
    /// True if the text of the step states what went wrong.
    says_why: bool,
}

impl Step {
    fn of(text: &str, weighed: LineWeight) -> Self {
        let is_bare = is_only_status(text);
        let says_why = weighed.weight == Weight::Telling && !is_bare;
        Self { text: one_line(text), weight: weighed.weight, is_strong: weighed.is_strong, is_bare, says_why }
    }

    fn empty() -> Self {
        Self { text: String::new(), weight: Weight::Empty, is_strong: false, is_bare: true, says_why: false }
    }

    /// Returns this step, or the step around it if this one states only its kind and the other states why.
    fn or_around(self, around: &Self) -> Self {
        if self.is_bare && around.says_why { around.clone() } else { self }
    }
}

/// The steps of a message, outermost first.
#[derive(Debug, Default)]
struct Chain<'a> {
    steps: Vec<Part<'a>>,
    /// The text around the chain: sentences before the first exception.
    before: Vec<&'a str>,
}

/// An exception, or a text in the place of an exception.
#[derive(Debug)]
struct Part<'a> {
    named: Option<Named<'a>>,
    /// The lines of its message; the first is that of `named`.
    lines: Vec<&'a str>,
}

impl<'a> Part<'a> {
    /// Parses the text after `Caused by: `.
    fn cause(text: &'a str) -> Self {
        // Oracle's driver writes the text of its exception without the class.
        if text.starts_with("Error : ")
            && let Some((_, message)) = text.split_once("Error Msg = ")
        {
            return Self { named: None, lines: vec![message] };
        }
        match at_start(text) {
            Some(named) => Self { named: Some(named), lines: vec![named.message] },
            None => Self { named: None, lines: vec![text] },
        }
    }

    fn step(&self) -> Step {
        match self.named {
            Some(named) => step_of_exception(named, &self.lines[1..]),
            None => best_line(&self.lines),
        }
    }
}

/// Parses a message without Python tracebacks: traces of Java and .NET, or sentences.
fn chain_of(message: &str) -> Chain<'_> {
    let mut chain = Chain::default();
    let mut suppressed_indent = None;
    let (mut has_frames, mut is_in_frames, mut is_in_list) = (false, false, false);
    for line in message.lines().take(LINES_MAX) {
        let line = without_prefix_of_logger(&line[..line.floor_char_boundary(LINE_BYTES_MAX)]);
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let is_cause = text.starts_with("Caused by: ") || text.starts_with("---> ");
        if suppressed_indent.is_some_and(|suppressed| indent < suppressed || (suppressed == 0 && is_cause)) {
            suppressed_indent = None;
        }
        is_in_list &= indent > 0 || text.is_empty();
        if suppressed_indent.is_some() || text.starts_with("Caused by: [CIRCULAR REFERENCE") {
            continue;
        }
        if text.starts_with("Suppressed: ") {
            suppressed_indent = Some(indent);
        } else if Frame::parse(text).is_some() || is_other_frame(text) || text.starts_with("... ") {
            (has_frames, is_in_frames) = (true, true);
        } else if text.trim_end() == "Caused by:" {
            (is_in_list, is_in_frames) = (true, false);
        } else if is_in_list && indent > 0 && !text.is_empty() {
            chain.push(Part::cause(without_number(text)));
        } else if let Some(cause) = text.strip_prefix("Caused by: ").or_else(|| text.strip_prefix("[cause]: ")) {
            is_in_frames = false;
            chain.push(Part::cause(cause));
        } else if let Some(around) = text.strip_prefix("Wrapped by: ") {
            is_in_frames = true;
            chain.steps.insert(0, Part::cause(around));
        } else {
            // .NET writes inner exceptions into the line, or below it.
            for (place, piece) in text.split("---> ").enumerate() {
                let piece = piece.trim();
                let found = at_start(piece).or_else(|| within(piece).filter(|_| chain.steps.is_empty()));
                match found {
                    _ if piece.is_empty() => {}
                    Some(_) if has_frames && place == 0 && indent == 0 => return chain,
                    Some(named) if !has_frames || place > 0 => {
                        is_in_frames = false;
                        if chain.steps.is_empty() && at_start(piece).is_none() {
                            chain.before.push(piece);
                        }
                        chain.push(Part { named: Some(named), lines: vec![named.message] });
                    }
                    None if place > 0 => chain.push(Part::cause(piece)),
                    _ if is_in_frames => {}
                    _ => chain.add_line(piece),
                }
            }
        }
    }
    chain
}

/// Removes the number of `0: …`, `12: …`: a cause in a list, as written by Rust's `anyhow`.
fn without_number(text: &str) -> &str {
    let (number, rest) = text.split_once(": ").unwrap_or(("", text));
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) { rest.trim_start() } else { text }
}

impl<'a> Chain<'a> {
    /// Adds a step. If there are too many, the last one remains the root.
    fn push(&mut self, part: Part<'a>) {
        if self.steps.len() >= STEPS_MAX {
            self.steps.pop();
        }
        self.steps.push(part);
    }

    fn add_line(&mut self, line: &'a str) {
        let lines = self.steps.last_mut().map_or(&mut self.before, |part| &mut part.lines);
        if lines.len() < TEXT_LINES_MAX {
            lines.push(line);
        }
    }

    /// Returns the innermost specific step, or else the most specific one.
    fn root(&self) -> Step {
        let steps: Vec<Step> = self.steps.iter().map(Part::step).collect();
        let around = steps.iter().rev().find(|step| step.says_why);
        let innermost = || {
            let root = steps.iter().rev().find(|step| step.weight >= Weight::Bare)?;
            Some(around.filter(|_| root.is_bare).unwrap_or(root))
        };
        let best = || {
            steps.iter().rev().fold(None, |best: Option<&Step>, step| match best {
                Some(best) if best.weight >= step.weight => Some(best),
                _ => Some(step),
            })
        };
        let root = innermost().or_else(best).cloned();
        match root {
            Some(root) if (root.weight == Weight::Telling && !root.is_bare) || self.before.is_empty() => root,
            Some(root) => {
                let before = best_line(&self.before);
                if before.weight > root.weight { before } else { root.or_around(&before) }
            }
            None => best_line(&self.before),
        }
    }
}

fn step_of_exception(named: Named<'_>, more: &[&str]) -> Step {
    // Spring includes the cause in the message.
    if let Some((message, inner)) = named.message.split_once("nested exception is ")
        && let Some(inner) = at_start(inner)
    {
        let around = step_of_exception(Named { message: message.trim_end_matches([';', ' ']), ..named }, &[]);
        let inner = step_of_exception(inner, more).or_around(&around);
        return if inner.weight >= Weight::Bare || inner.weight > around.weight { inner } else { around };
    }
    let message = without_wrappers(named.message);
    // An exception's message may be the text of another.
    let inner = at_start(message).filter(|inner| inner.class.contains('.'));
    let inner = inner.or_else(|| within(message).filter(|_| weigh(message).weight == Weight::Wrapper));
    if let Some(inner) = inner {
        return step_of_exception(inner, more);
    }
    let simple = named.class.rsplit(['.', '$']).next().unwrap_or(named.class);
    let is_clear = CLEAR_ALONE.contains(&simple);
    let mut lines = vec![message];
    lines.extend(more);
    let said = if weigh(message).weight < Weight::Plain || is_lead(message) {
        best_line(&lines)
    } else {
        Step::of(message, weigh(message))
    };
    let weight = match said.weight {
        Weight::Empty if is_clear => Weight::Bare,
        Weight::Empty => Weight::Plain,
        // `Cannot invoke … because … is null` is no more specific than the class.
        Weight::Plain | Weight::Telling if simple.starts_with("Null") => Weight::Bare,
        Weight::Plain | Weight::Bare => Weight::Telling,
        other => other,
    };
    let text = match (said.weight, message.is_empty() && more.is_empty()) {
        (Weight::Empty, _) | (_, true) => named.class.to_owned(),
        _ => format!("{}{}: {}", named.class, named.detail, said.text),
    };
    let (is_bare, says_why) = (said.is_bare, said.says_why && weight == Weight::Telling);
    Step { text: one_line(&text), weight, is_strong: weight >= Weight::Bare, is_bare, says_why }
}

/// Returns the most specific line; the first one among equals.
fn best_line(lines: &[&str]) -> Step {
    let mut best = Step::empty();
    for (place, whole) in lines.iter().enumerate() {
        let line = without_wrappers(whole);
        let mut step = match within(line).or_else(|| at_start(line)) {
            Some(named) => step_of_exception(named, &[]),
            None => Step::of(line, weigh(line)),
        };
        if step.weight > Weight::Wrapper && is_lead(line) {
            let joined = with_what_follows(line, &lines[place + 1..]);
            step = Step::of(&joined, weigh(&joined));
        }
        // This text was written by the author of the job.
        if step.weight == Weight::Plain && message_of_row(whole).is_some() {
            (step.weight, step.is_strong) = (Weight::Telling, true);
        }
        if step.weight > best.weight {
            best = step;
        }
    }
    best
}

/// Joins a line that is incomplete by itself with the lines that continue it.
fn with_what_follows(line: &str, next: &[&str]) -> String {
    let mut joined = line.trim().to_owned();
    for next in next.iter().filter(|next| weigh(next).weight > Weight::Empty).take(LEADS_MAX) {
        let goes_on = is_place(next);
        // The next line begins a statement of its own, which is complete without this line.
        if is_lead(next) && !goes_on && !is_open(line) {
            break;
        }
        joined.push(' ');
        joined.push_str(next.trim());
        if !goes_on {
            break;
        }
    }
    joined
}

/// `… error line 12 at position 4`
fn is_place(line: &str) -> bool {
    line.rsplit_once(" at position ").is_some_and(|(_, at)| at.trim_end().bytes().all(|byte| byte.is_ascii_digit()))
}

/// True for a line that is incomplete without the next one.
pub(super) fn is_lead(line: &str) -> bool {
    let line = line.trim();
    // `Compilation Error`
    let is_title = line.ends_with(" Error") && line.split(' ').count() <= 3;
    line.ends_with([':', '['])
        || (line.starts_with("Msg ") && line.contains(", Level "))
        || line.contains(" Error in model ")
        || is_title
        || is_place(line)
        || is_open(line)
}

/// `[ApiFault  exceptionCode='INVALID_LOGIN'`: the message is a field in the next line.
fn is_open(line: &str) -> bool {
    let count = |bracket: u8| line.bytes().filter(|byte| *byte == bracket).count();
    line.starts_with('[') && line.contains('=') && count(b'[') > count(b']')
}

/// Removes the prefixes of the essential part of a line: times, levels, components, and texts that state only that
/// something failed.
fn without_wrappers(line: &str) -> &str {
    let line = line.trim().trim_start_matches(['│', '╷', ' ']);
    let mut line = without_component(without_prefix_of_logger(line));
    line = innermost_property(line).or_else(|| message_of_row(line)).unwrap_or(line);
    if line.starts_with("Batch entry ")
        && let Some((_, rest)) = line.split_once(" was aborted: ")
    {
        line = rest.trim_start();
    }
    while let Some((before, rest)) = line.split_once(": ") {
        let is_wrapper = before.contains(' ') && weigh(before).weight == Weight::Wrapper && at_start(line).is_none();
        let is_label = rest.trim_start().to_ascii_lowercase().starts_with("reason") || before.ends_with(" code");
        let says_something = match weigh(rest).weight {
            Weight::Empty | Weight::Wrapper => false,
            // An unknown text may be a part of the wrapper, unless it is a sentence after a wrapper that only covers a
            // cause.
            Weight::Plain => is_cover(before) && rest.split_whitespace().count() >= SENTENCE_WORDS_MIN,
            Weight::Aftermath | Weight::Bare | Weight::Telling => true,
        };
        if !is_wrapper || is_label || !says_something {
            break;
        }
        line = rest.trim_start();
    }
    line
}

/// Returns the last specific message of `'Type=…,Message=…,Source=…,''Type=…,Message=…,Source=…`, the form in which
/// Azure writes a chain.
fn innermost_property(line: &str) -> Option<&str> {
    let starts = line.rmatch_indices(",Message=").map(|(start, label)| start + label.len());
    let mut messages = starts.filter_map(|start| line[start..].split_once(",Source=").map(|(message, _)| message));
    messages.find(|message| weigh(message).weight == Weight::Telling)
}

/// Returns the message of `…|5|tDie|tDie_1|no orders|4`: a row of tLogCatcher, which ends with the exit code.
fn message_of_row(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("|tDie|tDie_")?;
    let (message, code) = rest.split_once('|')?.1.rsplit_once('|')?;
    let is_row = !message.trim().is_empty() && code.trim().bytes().all(|byte| byte.is_ascii_digit());
    is_row.then_some(message)
}

/// Removes the component of `tDBInput_1 - …`.
fn without_component(line: &str) -> &str {
    let end = line.find([' ', ':']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let number = name.rsplit_once('_').map_or("", |(_, number)| number);
    let is_component = name.starts_with('t')
        && name[1..].starts_with(|c: char| c.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    let rest = rest.trim_start_matches([' ', '-', ':']);
    if is_component && !rest.is_empty() { rest } else { line }
}

/// Removes the prefix of a logger, as in `2026-11-28 02:14:07,118 [main] ERROR acme.Job - …`: a time, a level, and
/// texts in brackets, in any order.
pub(super) fn without_prefix_of_logger(line: &str) -> &str {
    const STREAMS: [&str; 6] = ["[stderr] ", "[stdout] ", "stderr: ", "[err] ", "[STDERR] ", "stderr | "];
    const LEVELS: [&str; 10] =
        ["ERROR", "FATAL", "WARN", "WARNING", "SEVERE", "CRITICAL", "INFO", "DEBUG", "TRACE", "NOTICE"];
    let line = STREAMS.iter().find_map(|stream| line.strip_prefix(stream)).unwrap_or(line);
    // Prefixes begin with a digit, a bracket or a level; most lines have none.
    if !line.starts_with(|c: char| c.is_ascii_digit() || c == '[' || c.is_ascii_uppercase()) {
        return line;
    }
    let (mut rest, mut has_level, mut has_time) = (line, false, false);
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let inner = word.trim_matches(['[', ']', '(', ')', ':', ',', '{', '}']);
        let is_time =
            inner.starts_with(|c: char| c.is_ascii_digit()) && inner.contains([':', '-', '/']) && inner.len() >= 8;
        let is_time = is_time && !inner.contains('\t');
        let is_level = LEVELS.contains(&inner.to_ascii_uppercase().as_str());
        let is_bracketed = word.starts_with(['[', '(', '{']) && word.ends_with([']', ')', '}', ':']);
        let is_logger = has_level
            && inner.contains('.')
            && !inner.contains(['/', '('])
            && at_start(rest).is_none()
            && (after.starts_with("- ") || word.ends_with(':'));
        let is_separator = matches!(word, "-" | ":" | "|" | "--" | "---");
        match (is_time, is_level) {
            (true, _) => has_time = true,
            (_, true) => has_level = true,
            _ if is_bracketed || is_logger || (is_separator && has_level) => {}
            _ => break,
        }
        rest = after;
        // The text begins after the separator, with its indentation.
        if is_separator && !after.starts_with('[') {
            break;
        }
    }
    if has_time && has_level { rest } else { line }
}

/// True for a stack frame of .NET or JavaScript.
fn is_other_frame(text: &str) -> bool {
    let of_script = |call: &str| {
        let place = call.trim_end_matches([' ', '{', ')']);
        place.rsplit(':').take(2).all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.starts_with("--- End of ")
        || text.strip_prefix("at ").is_some_and(|call| call.contains(":line ") || of_script(call))
}

/// Returns the first exception of Python tracebacks, which caused the later ones.
fn of_python(message: &str) -> Option<Step> {
    let (mut is_in_traceback, mut steps) = (false, Vec::new());
    let prefix = message.lines().take(LINES_MAX).map(prefix_of_traceback).find(|it| !it.is_empty()).unwrap_or_default();
    let without_prefix = |line| str::strip_prefix(line, prefix).unwrap_or(line);
    let mut lines = message.lines().take(LINES_MAX).map(without_prefix).peekable();
    while let Some(line) = lines.next() {
        if line.trim_end().ends_with("Traceback (most recent call last):") {
            is_in_traceback = true;
        } else if is_in_traceback && !line.trim().is_empty() && !line.starts_with([' ', '\t']) {
            is_in_traceback = false;
            // A call of Java: the Java trace follows.
            if line.contains("Py4JJavaError") {
                let start = line.as_ptr() as usize - message.as_ptr() as usize;
                return Some(chain_of(&message[start..]).root());
            }
            steps.push(step_of_python(line, lines.peek().copied()));
        }
    }
    let first = steps.iter().position(|step| step.weight >= Weight::Bare);
    first.map(|place| steps.swap_remove(place)).or_else(|| steps.into_iter().next_back())
}

/// Returns the prefix of each line of a traceback, as in `[base] Traceback (most recent call last):`; usually empty.
pub(super) fn prefix_of_traceback(line: &str) -> &str {
    let Some(start) = line.find("Traceback (most recent call last):") else { return "" };
    let prefix = &line[..start];
    let is_bracketed = prefix.starts_with('[') && prefix.ends_with("] ");
    let is_named = prefix.ends_with(" | ") || prefix.ends_with(": ");
    let name = prefix.trim_end().trim_end_matches(['|', ':']).trim_end();
    if (is_bracketed || is_named) && !name.is_empty() && !name.contains(' ') { prefix } else { "" }
}

fn step_of_python(line: &str, next: Option<&str>) -> Step {
    let (class, said) = line.split_once(':').unwrap_or((line, ""));
    let weight = match weigh(said).weight {
        Weight::Empty => Weight::Bare,
        Weight::Plain => Weight::Telling,
        _ if class == "SystemExit" => Weight::Wrapper,
        other => other,
    };
    let next = next.filter(|next| is_lead(line) && next.starts_with([' ', '\t']));
    let text = next.map_or_else(|| one_line(line), |next| one_line(&format!("{line} {}", next.trim())));
    let is_bare = weight == Weight::Bare;
    Step { text, weight, is_strong: true, is_bare, says_why: weight == Weight::Telling }
}

/// Replaces white space with single spaces, and truncates the text.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(CHARS_MAX));
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let mut ends = line.char_indices().map(|(end, _)| end).skip(CHARS_MAX - 1);
    match (ends.next(), ends.next()) {
        (Some(end), Some(_)) => format!("{}…", line[..end].trim_end()),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, text: &str, weight: Weight) {
        let headline = read(message);
        assert_eq!((headline.text.as_str(), headline.weight), (text, weight), "{message}");
    }

    #[test]
    fn a_headline_has_at_most_four_hundred_characters() {
        assert_eq!(one_line(&"é".repeat(400)), "é".repeat(400));
        assert_eq!(one_line(&"é".repeat(401)), format!("{}…", "é".repeat(399)));
    }

    #[test]
    fn the_root_of_a_chain_is_the_headline() {
        check(
            "Exception in component tMap_1 (job)\njava.lang.RuntimeException: no\n\tat a.B.c(B.java:1)\n\
             Caused by: java.io.IOException: disk 7 is read-only\n\tat a.B.d(B.java:2)\n\t... 1 more",
            "java.io.IOException: disk 7 is read-only",
            Weight::Telling,
        );
    }

    #[test]
    fn a_root_that_says_less_than_what_is_around_it_is_none() {
        check(
            "a.LoadException: row 7 has no key\n\tat a.B.c(B.java:1)\nCaused by: java.io.EOFException\n\tat a.B.d(B.java:2)",
            "a.LoadException: row 7 has no key",
            Weight::Telling,
        );
        check(
            "java.sql.SQLException: ORA-01400: cannot insert NULL\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException: Stream closed",
            "java.sql.SQLException: ORA-01400: cannot insert NULL",
            Weight::Telling,
        );
    }

    #[test]
    fn the_root_of_a_very_long_chain_is_the_headline() {
        let chain: String = (0..3 * STEPS_MAX)
            .map(|level| format!("Caused by: a.StepException: level {level}\n\tat a.B.c(B.java:1)\n"))
            .collect();
        let message =
            format!("a.JobException: job\n\tat a.B.c(B.java:1)\n{chain}Caused by: a.DiskException: disk 7 is full");
        check(&message, "a.DiskException: disk 7 is full", Weight::Telling);
    }

    #[test]
    fn what_was_suppressed_is_no_cause() {
        check(
            "java.io.IOException: disk 7\n\tat a.B.c(B.java:1)\n\tSuppressed: java.io.IOException: x\n\t\tat a.B.d(B.java:2)\n\tCaused by: java.io.IOException: y\n\t\tat a.B.d(B.java:2)",
            "java.io.IOException: disk 7",
            Weight::Telling,
        );
    }

    #[test]
    fn inner_exceptions_of_dotnet_may_be_in_one_line() {
        check("A.BException: out ---> C.DException (0x80): in", "C.DException (0x80): in", Weight::Telling);
    }

    #[test]
    fn the_first_traceback_of_python_is_the_cause_of_the_others() {
        check(
            "Traceback (most recent call last):\n  File \"a.py\", line 1\n    x\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2\nRuntimeError: load",
            "KeyError: 'x'",
            Weight::Telling,
        );
    }

    #[test]
    fn a_traceback_may_have_a_prefix_on_each_line() {
        for prefix in ["[base] ", "worker-1 | ", "main: "] {
            let lines = ["Traceback (most recent call last):", "  File \"a.py\", line 1", "    x", "KeyError: 'x'"];
            check(&lines.map(|line| format!("{prefix}{line}")).join("\n"), "KeyError: 'x'", Weight::Telling);
        }
    }

    #[test]
    fn causes_may_be_a_list() {
        check(
            "Error: loading prices\n\nCaused by:\n    0: reading row 1841\n    1: invalid digit found",
            "invalid digit found",
            Weight::Telling,
        );
        check("Error: loading prices\n\nCaused by:\n    invalid digit found", "invalid digit found", Weight::Telling);
    }

    #[test]
    fn a_canceled_operation_is_no_root() {
        check(
            "A.CanceledException: the Timeout of 100 seconds elapsed\n ---> A.IOException: Unable to read it: Operation canceled.",
            "A.CanceledException: the Timeout of 100 seconds elapsed",
            Weight::Telling,
        );
    }

    #[test]
    fn the_fields_of_a_fault_may_be_lines_of_their_own() {
        check(
            "[ApiFault  exceptionCode='INVALID_SESSION_ID'\n exceptionMessage='Session not found'\n details='0'\n]",
            "[ApiFault exceptionCode='INVALID_SESSION_ID' exceptionMessage='Session not found'",
            Weight::Telling,
        );
    }

    #[test]
    fn a_sentence_behind_what_only_covers_it_is_the_headline() {
        check(
            "a.SparkException: Job aborted due to stage failure: Total size of results is bigger than 1 GB",
            "a.SparkException: Total size of results is bigger than 1 GB",
            Weight::Telling,
        );
    }

    #[test]
    fn a_row_of_tdie_is_its_message() {
        check(
            "2026-11-28 02:00:09|x1|x1|x1|ACME|close|Default|5|tDie|tDie_1|period 2026-10 is still open|4",
            "period 2026-10 is still open",
            Weight::Telling,
        );
    }

    #[test]
    fn the_innermost_message_of_properties_is_the_headline() {
        check(
            "{\"message\":\"ErrorCode=A,'Type=B,Message=Cannot connect,Source=C,''Type=D,Message=Login failed for user 'x'.,Source=E,'\"}",
            "Login failed for user 'x'.",
            Weight::Telling,
        );
    }

    #[test]
    fn the_line_that_says_most_is_the_headline_of_several() {
        check(
            "ORA-00604: error occurred at recursive SQL level 1\nORA-01653: unable to extend table A.B",
            "ORA-01653: unable to extend table A.B",
            Weight::Telling,
        );
        check(
            "tDBRow_1 - SQL compilation error:\nObject 'X' is not there",
            "SQL compilation error: Object 'X' is not there",
            Weight::Telling,
        );
        check(
            "tDBRow_1 - attempt 1 failed: connection refused; retrying",
            "connection refused; retrying",
            Weight::Aftermath,
        );
    }

    #[test]
    fn a_headline_is_one_line_and_not_too_long() {
        let text = read(&format!("a\tb  {}", "é".repeat(500))).text;
        assert!(text.starts_with("a b é") && text.ends_with('…') && text.chars().count() == CHARS_MAX);
    }

    #[test]
    fn any_text_is_read() {
        for message in
            ["", "\n\n", ": ", "---> ", "Caused by: ", "t_1", "t", "2026-", "é - é: ", "Exception in thread \"x\" "]
        {
            read(message);
        }
    }
}
