//! The representative line of a message.

/// Returns the first line of a message that is not blank; an empty text if all lines are blank.
pub(crate) fn first_line_of(message: &str) -> &str {
    // Most messages have one line, or a first line that is not blank.
    let end = memchr::memchr(b'\n', message.as_bytes()).unwrap_or(message.len());
    let line = message[..end].strip_suffix('\r').unwrap_or(&message[..end]);
    if end == message.len() && line.len() < end || is_blank(line) {
        return message.lines().find(|line| !is_blank(line)).unwrap_or_default();
    }
    line
}

fn is_blank(line: &str) -> bool {
    !line.as_bytes().first().is_some_and(u8::is_ascii_graphic) && line.trim().is_empty()
}
