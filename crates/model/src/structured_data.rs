//! Structured data of syslog (RFC 5424, 6.3): `[my_mdc@18060 a="b"][other@1 c="d"]`.

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Maximum number of malformed elements that are followed by others. The rest is text, because each of them may be read
/// to the end of the text.
const MALFORMED_MAX: usize = 8;

/// Structured data at the start of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct StructuredData<'a> {
    /// Its elements as objects of their parameters. A parameter that occurs several times is an array (6.3.3).
    pub elements: Object,
    /// The elements that are not well-formed, as they are, 8 at most.
    pub malformed: String,
    /// The text after the structured data.
    pub rest: &'a str,
}

impl<'a> StructuredData<'a> {
    /// Reads the elements at the start of a text that begins with one, `[`.
    pub fn read(text: &'a str) -> Self {
        let (mut elements, mut malformed, mut rest) = (Object::new(), String::new(), text);
        let mut malformed_left = MALFORMED_MAX;
        while rest.starts_with('[') && malformed_left > 0 {
            rest = match element(rest) {
                Some((name, parameters, behind)) => {
                    add_element(&mut elements, name, parameters);
                    behind
                }
                // Another element may follow it; otherwise, it is the beginning of the text, or looks like that.
                None => {
                    let Some(end) = rest.find("][") else { break };
                    malformed.push_str(&rest[..=end]);
                    malformed_left -= 1;
                    &rest[end + 1..]
                }
            };
        }
        Self { elements, malformed, rest }
    }

    /// Reads what is before the message of RFC 5424: elements, or `-`. The rest is the message, without the space and
    /// the byte order mark before it; what is not well-formed is text of the message, so the space behind it stays.
    pub fn read_before_message(text: &'a str) -> Self {
        let mut data = match text.strip_prefix('-') {
            Some(rest) => Self { elements: Object::new(), malformed: String::new(), rest },
            None => Self::read(text),
        };
        if data.malformed.is_empty() {
            data.rest = data.rest.strip_prefix(' ').unwrap_or(data.rest);
        }
        data.rest = data.rest.strip_prefix('\u{feff}').unwrap_or(data.rest);
        data
    }
}

/// The ID of an element, its parameters, and what follows it.
type Element<'t> = (&'t str, Vec<(&'t str, String)>, &'t str);

/// The name of the element at the start of a text, its parameters, and what follows.
fn element(text: &str) -> Option<Element<'_>> {
    let inside = text.strip_prefix('[')?;
    let (name, mut inside) = inside.split_at(inside.find([' ', ']'])?);
    if !is_name(name) {
        return None;
    }
    let mut parameters = Vec::new();
    loop {
        if let Some(behind) = inside.strip_prefix(']') {
            return Some((name, parameters, behind));
        }
        inside = inside.trim_start_matches(' ');
        if inside.starts_with(']') {
            continue;
        }
        let (parameter, value) = inside.split_once("=\"")?;
        if !is_name(parameter) {
            return None;
        }
        let (value, behind) = quoted(value)?;
        parameters.push((parameter, value));
        inside = behind;
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| matches!(letter, '=' | ' ' | ']' | '"') || letter.is_control())
}

fn add_element(elements: &mut Object, name: &str, parameters: Vec<(&str, String)>) {
    let Value::Object(fields) = elements.entry(name).or_insert_with(|| Object::new().into()) else { return };
    for (parameter, value) in parameters {
        match fields.get_mut(parameter) {
            None => _ = fields.insert(parameter.to_owned(), value.into()),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
        }
    }
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
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, elements: Value, malformed: &str, rest: &str) {
        let read = StructuredData::read(text);
        assert_eq!((Value::Object(read.elements), &*read.malformed, read.rest), (elements, malformed, rest));
    }

    #[test]
    fn elements_are_objects_of_their_parameters() {
        check(
            r#"[a@1 b="b \"c\\ \]" d="e"][x f=""][y] text"#,
            json!({"a@1": {"b": r#"b "c\ ]"#, "d": "e"}, "x": {"f": ""}, "y": {}}),
            "",
            " text",
        );
    }

    #[test]
    fn a_parameter_that_is_repeated_is_an_array() {
        let (text, ips) =
            (r#"[origin ip="1.1.1.1" ip="2.2.2.2"][origin ip="3.3.3.3"]"#, ["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
        check(text, json!({"origin": {"ip": ips}}), "", "");
    }

    #[test]
    fn an_element_that_is_not_well_formed_is_kept_as_text_and_the_others_are_read() {
        check(r#"[a b=c][d e="f"] text"#, json!({"d": {"e": "f"}}), "[a b=c]", " text");
        check(r#"[d e="f"][a x b="c"] text"#, json!({"d": {"e": "f"}}), "", r#"[a x b="c"] text"#);
        check(r#"[d e="f"][ g="h"][i j="k"]"#, json!({"d": {"e": "f"}, "i": {"j": "k"}}), r#"[ g="h"]"#, "");
        check(r#"[a b="c"#, json!({}), "", r#"[a b="c"#);
        check("[a", json!({}), "", "[a");
    }

    /// Each was read to the end of the text: a message of syslog of many occupied a processor for long.
    #[test]
    fn what_follows_eight_elements_that_are_not_well_formed_is_text() {
        let (malformed, rest) = ("[a b=c]".repeat(8), r#"[d e="f"] text"#);
        check(&[malformed.as_str(), rest].concat(), json!({}), &malformed, rest);
        check(&[&malformed[7..], rest].concat(), json!({"d": {"e": "f"}}), &malformed[7..], " text");
    }
}
