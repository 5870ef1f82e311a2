//! Lines of syslog (RFC 5424), as written by an appender of an engine: converts each to an event.

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// The event of a line `<11>1 2021-04-21T15:29:11.115Z host app 7 - [my_mdc@18060 flowExecutionId="…"] text`; none for
/// any other.
pub(crate) fn read(line: &str) -> Option<Object> {
    let (priority, rest) = line.strip_prefix('<')?.split_once('>')?;
    let severity = priority.parse::<u8>().ok()? % 8;
    let rest = rest.strip_prefix("1 ")?;
    let mut parts = rest.splitn(6, ' ');
    let mut part = || parts.next();
    let (time, host, app, process, message_id, rest) = (part()?, part()?, part()?, part()?, part()?, part()?);
    let mut event = Object::new();
    event.insert("level".to_owned(), severity.into());
    for (name, text) in
        [("timestamp", time), ("host", host), ("app_name", app), ("proc_id", process), ("msg_id", message_id)]
    {
        if text != "-" {
            event.insert(name.to_owned(), text.into());
        }
    }
    let text = match rest.strip_prefix('-') {
        Some(text) => text,
        None => {
            let (data, text) = elements(rest)?;
            event.extend(data);
            text
        }
    };
    let text = text.strip_prefix(' ').unwrap_or(text);
    event.insert("message".to_owned(), text.strip_prefix('\u{feff}').unwrap_or(text).into());
    Some(event)
}

/// Structured data, `[my_mdc@18060 a="b"][other@1 c="d"]`, as an object of its elements.
pub(crate) fn structured_data(text: &str) -> Option<Object> {
    let (data, rest) = elements(text.trim())?;
    (rest.is_empty() && !data.is_empty()).then_some(data)
}

/// The elements at the start of a text, and the rest of it.
fn elements(text: &str) -> Option<(Object, &str)> {
    let mut data = Object::new();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let name_end = element.find([' ', ']'])?;
        let (name, mut inside) = element.split_at(name_end);
        let mut fields = Object::new();
        loop {
            inside = inside.trim_start_matches(' ');
            if let Some(behind) = inside.strip_prefix(']') {
                rest = behind;
                break;
            }
            let (field, value) = inside.split_once("=\"")?;
            let (value, behind) = quoted(value)?;
            fields.insert(field.to_owned(), value.into());
            inside = behind;
        }
        data.insert(name.to_owned(), fields.into());
    }
    (!data.is_empty()).then_some((data, rest))
}

/// A value up to its closing quotation mark, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_syslog_is_an_event_with_its_structured_data() {
        let line =
            r#"<11>1 2021-04-21T15:29:11.115Z host app 7 - [my_mdc@18060 a="b \"c\\ \]" d="e"][x@1 f=""] no  price"#;
        let event = Value::Object(read(line).unwrap());
        assert_eq!(event["my_mdc@18060"], serde_json::json!({"a": r#"b "c\ ]"#, "d": "e"}));
        assert_eq!((event["level"].as_u64(), event["message"].as_str()), (Some(3), Some("no  price")));
        assert_eq!(read("<11>1 - - - - - - text").unwrap()["message"], "text");
        for line in
            ["<11>", "<11>1 a b", "text", "<300>1 - - - - - - x", r#"<1>1 - - - - - [a b="c"#, "<1>1 - - - - - [a"]
        {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
