//! Parses the lines of a message into a stack trace.
//!
//! ```text
//! Exception in component tDBOutput_1          a message may say something first
//! java.lang.RuntimeException: load failed     the outermost exception
//!     at demo.Orders.run(Orders.java:12)
//!     Suppressed: java.io.IOException: close
//!         at demo.Orders.close(Orders.java:40)
//! Caused by: java.sql.SQLException: no table
//!     at com.mysql.cj.Jdbc.execute(Jdbc.java:7)
//!     ... 1 more                              `... 1 common frames omitted` in Logback
//! ```
//!
//! An exception's message may have several lines. Logback can write the root first, then `Wrapped by:`.

use super::frame::Frame;
use super::trace::{StackTrace, Thrown};

/// Maximum number of lines of a message that are considered.
const LINES_MAX: usize = 5_000;

/// Maximum numbers of frames and exceptions that are kept: a stack overflow has 1,024 frames.
const FRAMES_MAX: usize = 2_048;
const EXCEPTIONS_MAX: usize = 64;

/// The endings of names of exceptions.
const ENDINGS: [&str; 6] = ["Exception", "Error", "Throwable", "Failure", "Fault", "Abort"];

impl<'a> StackTrace<'a> {
    /// Returns the first stack trace in a message; none if it has no frames or no exception above them.
    pub fn parse(message: &'a str) -> Option<Self> {
        parse(message)
    }
}

fn parse(message: &str) -> Option<StackTrace<'_>> {
    // Most messages have one line, which is never a stack trace.
    memchr::memchr(b'\n', message.as_bytes())?;
    let lines = || message.lines().take(LINES_MAX);
    let first_frame = lines().position(|line| Frame::parse(line).is_some())?;
    let above = || lines().take(first_frame).enumerate();
    // A line that begins with an exception is more reliable than a sentence that mentions one.
    let at_start = || above().find_map(|(place, line)| Some((place, exception_at_start(line)?)));
    let within = || above().find_map(|(place, line)| Some((place, exception_within(line)?)));
    let (place, outermost) = at_start().or_else(within)?;
    let mut reader = Reader::new(outermost);
    for line in lines().skip(place + 1) {
        if !reader.read(line) {
            break;
        }
    }
    Some(reader.trace)
}

/// The exception to which the next frames belong.
#[derive(Clone, Copy)]
enum Place {
    Chain(usize),
    Suppressed(usize),
}

struct Reader<'a> {
    trace: StackTrace<'a>,
    place: Place,
    /// The indentation of the line `Suppressed:`, while its exception is parsed.
    suppressed_indent: Option<usize>,
    frames: usize,
}

impl<'a> Reader<'a> {
    fn new(outermost: Thrown<'a>) -> Self {
        let trace = StackTrace { thrown: vec![outermost], suppressed: Vec::new() };
        Self { trace, place: Place::Chain(0), suppressed_indent: None, frames: 0 }
    }

    /// Parses the next line; returns false if it begins another stack trace.
    fn read(&mut self, line: &'a str) -> bool {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(frame) = Frame::parse(text) {
            self.frames += 1;
            if self.frames <= FRAMES_MAX {
                self.current().frames.push(frame);
            }
        } else if let Some(omitted) = frames_omitted(text) {
            self.current().frames_omitted = omitted;
        } else if text.starts_with("Caused by: [CIRCULAR REFERENCE") {
            // The chain ends here: the named exception is an earlier one.
        } else if let Some(thrown) = text.strip_prefix("Caused by: ").map(thrown_of) {
            self.caused_by(thrown, indent);
        } else if let Some(thrown) = text.strip_prefix("Wrapped by: ").map(thrown_of) {
            self.wrapped_by(thrown);
        } else if let Some(thrown) = text.strip_prefix("Suppressed: ").map(thrown_of) {
            self.suppressed_indent = Some(indent);
            self.suppressed(thrown);
        } else if self.frames > 0 && indent == 0 && exception_at_start(text).is_some() {
            return false;
        }
        true
    }

    fn current(&mut self) -> &mut Thrown<'a> {
        match self.place {
            Place::Chain(at) => &mut self.trace.thrown[at],
            Place::Suppressed(at) => &mut self.trace.suppressed[at],
        }
    }

    fn caused_by(&mut self, thrown: Thrown<'a>, indent: usize) {
        if self.suppressed_indent.is_some_and(|suppressed| suppressed > 0 && indent >= suppressed) {
            return self.suppressed(thrown);
        }
        self.suppressed_indent = None;
        if self.trace.thrown.len() < EXCEPTIONS_MAX {
            self.trace.thrown.push(thrown);
        }
        self.place = Place::Chain(self.trace.thrown.len() - 1);
    }

    fn wrapped_by(&mut self, thrown: Thrown<'a>) {
        self.suppressed_indent = None;
        if self.trace.thrown.len() < EXCEPTIONS_MAX {
            self.trace.thrown.insert(0, thrown);
        }
        self.place = Place::Chain(0);
    }

    fn suppressed(&mut self, thrown: Thrown<'a>) {
        if self.trace.suppressed.len() < EXCEPTIONS_MAX {
            self.trace.suppressed.push(thrown);
        }
        self.place = Place::Suppressed(self.trace.suppressed.len() - 1);
    }
}

/// `... 12 more`, `... 12 common frames omitted`.
fn frames_omitted(text: &str) -> Option<u32> {
    let (count, rest) = text.strip_prefix("... ")?.split_once(' ')?;
    let rest = rest.trim_end();
    (rest == "more" || rest.ends_with("frames omitted")).then(|| count.parse().ok()).flatten()
}

/// Parses the text after `Caused by: `: any text is an exception.
fn thrown_of(text: &str) -> Thrown<'_> {
    // Oracle's driver writes the text of its exception without the class.
    if text.starts_with("Error : ")
        && let Some((_, message)) = text.split_once("Error Msg = ")
    {
        return thrown("oracle.jdbc.OracleDatabaseException", message);
    }
    let class_end = text.find([':', ' ']).unwrap_or(text.len());
    let (class, rest) = text.split_at(class_end);
    thrown(class, rest)
}

fn thrown<'a>(class: &'a str, rest: &'a str) -> Thrown<'a> {
    Thrown { class, message: rest.strip_prefix(':').unwrap_or(rest).trim(), frames: Vec::new(), frames_omitted: 0 }
}

/// `java.io.IOException: text`, also after `Exception in thread "main" `.
fn exception_at_start(line: &str) -> Option<Thrown<'_>> {
    let line = line.trim_start();
    let in_thread = line.strip_prefix("Exception in thread \"").and_then(|rest| rest.split_once("\" "));
    let text = in_thread.map_or(line, |(_, rest)| rest);
    let class_end = text.find([':', ' ']).unwrap_or(text.len());
    let (class, rest) = text.split_at(class_end);
    let ends_well = rest.trim_end().is_empty() || rest.starts_with(':');
    (ends_well && is_exception(class)).then(|| thrown(class, rest))
}

/// `Lost task 0.0: java.io.IOException: text`: the first word that is an exception with its package.
fn exception_within(line: &str) -> Option<Thrown<'_>> {
    let words = line.split(' ').map(|word| (word, word.as_ptr() as usize - line.as_ptr() as usize));
    words
        .map(|(word, start)| (word.strip_suffix(':').unwrap_or(word), start))
        .find(|(word, _)| word.contains('.') && is_exception(word))
        .map(|(word, start)| thrown(word, &line[start + word.len()..]))
}

fn is_exception(class: &str) -> bool {
    let simple = class.rsplit(['.', '$']).next().unwrap_or(class);
    let identifiers = class.split('.').all(|name| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80)
    });
    identifiers && simple.starts_with(char::is_uppercase) && ENDINGS.iter().any(|ending| simple.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALEND: &str = "\
Exception in component tDBOutput_1 (load_orders)
java.lang.RuntimeException: load failed
\tat demo.load_orders_0_1.load_orders.tDBOutput_1Process(load_orders.java:1203)
\tat demo.load_orders_0_1.load_orders.runJobInTOS(load_orders.java:2011)
\tSuppressed: java.io.IOException: cannot close
\t\tat demo.load_orders_0_1.load_orders.close(load_orders.java:77)
\tCaused by: java.net.SocketException: reset
\t\t... 3 more
Caused by: java.sql.SQLSyntaxErrorException: Table 'shop.orders' doesn't exist
and a second line of the message
\tat com.mysql.cj.jdbc.exceptions.SQLError.createSQLException(SQLError.java:120)
\tat demo.load_orders_0_1.load_orders.tDBOutput_1Process(load_orders.java:1100)
\t... 1 more
";

    fn classes<'a>(thrown: &[Thrown<'a>]) -> Vec<&'a str> {
        thrown.iter().map(|thrown| thrown.class).collect()
    }

    #[test]
    fn causes_and_suppressed_exceptions_are_distinguished() {
        let trace = parse(TALEND).unwrap();
        assert_eq!(classes(&trace.thrown), ["java.lang.RuntimeException", "java.sql.SQLSyntaxErrorException"]);
        assert_eq!(classes(&trace.suppressed), ["java.io.IOException", "java.net.SocketException"]);
        let root = &trace.thrown[1];
        assert_eq!((root.message, root.frames.len(), root.frames_omitted), ("Table 'shop.orders' doesn't exist", 2, 1));
        assert_eq!(trace.thrown[0].frames.len(), 2);
        assert_eq!(trace.suppressed[1].frames_omitted, 3);
    }

    #[test]
    fn a_cause_in_a_log_without_indentation_belongs_to_the_chain() {
        let flat: String = TALEND.lines().map(|line| format!("{}\n", line.trim_start())).collect();
        let trace = parse(&flat).unwrap();
        assert_eq!(trace.thrown.last().unwrap().class, "java.sql.SQLSyntaxErrorException");
    }

    #[test]
    fn logback_may_write_the_root_first() {
        let text = "java.io.IOException: disk\n\tat a.B.c(B.java:1)\nWrapped by: java.lang.RuntimeException: load\n\tat a.B.d(B.java:2)\n\t... 2 common frames omitted";
        let trace = parse(text).unwrap();
        assert_eq!(classes(&trace.thrown), ["java.lang.RuntimeException", "java.io.IOException"]);
        assert_eq!(trace.thrown[0].frames_omitted, 2);
    }

    #[test]
    fn an_exception_is_found_behind_a_thread_or_within_a_sentence() {
        let in_thread = "Exception in thread \"main\" java.lang.StackOverflowError\n\tat a.B.c(B.java:1)";
        assert_eq!(parse(in_thread).unwrap().thrown[0].class, "java.lang.StackOverflowError");
        let within = "Lost task 0.0 (TID 1): a.b.DateException: bad: worse\n\tat a.B.c(B.java:1)";
        let trace = parse(within).unwrap();
        assert_eq!((trace.thrown[0].class, trace.thrown[0].message), ("a.b.DateException", "bad: worse"));
    }

    #[test]
    fn a_circular_reference_is_no_cause() {
        let text = "a.OneException: x\n\tat a.B.c(B.java:1)\nCaused by: a.TwoException: y\n\tat a.B.d(B.java:2)\nCaused by: [CIRCULAR REFERENCE: a.OneException: x]";
        assert_eq!(classes(&parse(text).unwrap().thrown), ["a.OneException", "a.TwoException"]);
    }

    #[test]
    fn the_cause_of_the_oracle_driver_has_its_text() {
        let text = "java.sql.SQLException: failed\n\tat a.B.c(B.java:1)\nCaused by: Error : 942, Position : 14, Sql = select x, OriginalSql = select x, Error Msg = ORA-00942: table or view does not exist\n\tat oracle.jdbc.A.b(A.java:2)";
        let root = &parse(text).unwrap().thrown[1];
        assert_eq!(root.class, "oracle.jdbc.OracleDatabaseException");
        assert_eq!(root.message, "ORA-00942: table or view does not exist");
    }

    #[test]
    fn a_second_stack_trace_is_left_alone() {
        let text = "a.OneException: x\n\tat a.B.c(B.java:1)\na.TwoException: y\n\tat a.B.d(B.java:1)";
        let trace = parse(text).unwrap();
        assert_eq!((classes(&trace.thrown), trace.thrown[0].frames.len()), (vec!["a.OneException"], 1));
    }

    #[test]
    fn what_has_no_frames_or_no_exception_is_no_stack_trace() {
        for text in ["", "java.io.IOException: alone", "a thread\n\tat a.B.c(B.java:1)", "look\nat five (or six)\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
