//! Finds names of exceptions in lines.

/// The endings of names of exceptions. A word that consists only of such an ending is not an exception.
const ENDINGS: [&str; 8] = ["Exception", "Error", "Throwable", "Failure", "Fault", "Abort", "Timeout", "Interrupt"];

/// Prefixes of an exception at the beginning of a line.
const PREFIXES: [&str; 6] =
    [": ", "Unhandled exception. ", "Unhandled Exception: ", "User class threw exception: ", "Exception: ", "ERROR: "];

/// An exception that is named in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// Its class, as in `java.sql.SQLException`.
    pub(crate) class: &'a str,
    /// The text between class and message, such as ` (0x80131904)`.
    pub(crate) detail: &'a str,
    /// Its message; empty if there is none.
    pub(crate) message: &'a str,
}

/// Returns the exception with which a line begins.
pub(crate) fn at_start(line: &str) -> Option<Named<'_>> {
    let mut line = line.trim();
    if let Some((_, rest)) = line.strip_prefix("Exception in thread \"").and_then(|rest| rest.split_once("\" ")) {
        line = rest;
    }
    for prefix in PREFIXES {
        line = line.strip_prefix(prefix).unwrap_or(line);
    }
    let end = line.find(|c: char| !is_of_class(c)).unwrap_or(line.len());
    let (class, rest) = line.split_at(end);
    if !is_exception(class) {
        return None;
    }
    let (detail, rest) = detail(rest);
    let message = match rest.chars().next() {
        None => rest,
        Some(':' | ';') => &rest[1..],
        Some(_) => return None,
    };
    Some(Named { class, detail, message: message.trim() })
}

/// Returns the first exception within a line that has a package and a message.
pub(super) fn within(line: &str) -> Option<Named<'_>> {
    let words = line.split(|c: char| !is_of_class(c)).filter(|word| word.len() > 5 && word.contains('.'));
    words.filter(|word| is_exception(word)).find_map(|class| {
        let start = class.as_ptr() as usize - line.as_ptr() as usize;
        at_start(&line[start..]).filter(|named| !named.message.is_empty())
    })
}

/// ` (0x80131904)`, ` (11001)`: the number of an error of .NET. `(java.io.IOException)`: the class of an error of another
/// process, as Hadoop writes it.
fn detail(rest: &str) -> (&str, &str) {
    let remote = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
    if let Some((class, after)) = remote
        && class.chars().all(is_of_class)
        && is_exception(class)
    {
        return rest.split_at(rest.len() - after.len());
    }
    let number = rest.strip_prefix(" (").and_then(|inner| inner.split_once(')')).filter(|(number, _)| {
        let number = number.strip_prefix("0x").unwrap_or(number);
        !number.is_empty() && number.len() <= 12 && number.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    });
    number.map_or(("", rest), |(_, after)| rest.split_at(rest.len() - after.len()))
}

fn is_of_class(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '$')
}

fn is_exception(class: &str) -> bool {
    let simple = class.rsplit(['.', '$']).next().unwrap_or(class);
    let has_names = class.split('.').all(|name| !name.is_empty());
    has_names
        && !ENDINGS.contains(&class)
        && simple.starts_with(char::is_uppercase)
        && (ENDINGS.iter().any(|ending| simple.ends_with(ending)) || is_numbered(simple))
}

/// `ORA00942Exception1`: some code generators append numbers to class names.
fn is_numbered(simple: &str) -> bool {
    simple.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("Exception")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Option<Named<'_>>, class: &str, message: &str) {
        assert_eq!(found.map(|named| (named.class, named.message)), Some((class, message)));
    }

    #[test]
    fn an_exception_is_found_at_the_start() {
        check(at_start("java.io.IOException: disk"), "java.io.IOException", "disk");
        check(
            at_start("Exception in thread \"main\" java.lang.StackOverflowError"),
            "java.lang.StackOverflowError",
            "",
        );
        check(at_start("a.b.SqlException (0x80131904): no"), "a.b.SqlException", "no");
        check(at_start(": org.x.SparkException: aborted"), "org.x.SparkException", "aborted");
        check(at_start("KeyError: 'a'"), "KeyError", "'a'");
        check(at_start("a.RemoteException(java.io.IOException): no node"), "a.RemoteException", "no node");
        for line in ["Error: no", "an Exception: no", "java.io.IOException was thrown", "Timeout: 3", ""] {
            assert_eq!(at_start(line), None, "{line}");
        }
    }

    #[test]
    fn an_exception_is_found_within_a_line() {
        check(within("x|tDBInput_1|java.sql.SQLException:ORA-1|1"), "java.sql.SQLException", "ORA-1|1");
        check(within("load failed: a.b.DateException: bad: worse"), "a.b.DateException", "bad: worse");
        assert_eq!(within("caught KeyError: x and java.io.IOException"), None);
    }
}
