//! Secrets with an enclosed value, which no pattern describes: an object or a list in brackets, an XML element, a block
//! of YAML. They are removed as a whole, because it is unknown which part of them is secret.

use std::sync::LazyLock;

use regex::Regex;

/// The replacement of a secret.
pub(super) const SECRET_TEXT: &str = "<secret>";

/// The words with which the name of a secret ends, in the verbose syntax of `regex`, regardless of case.
macro_rules! secret_words {
    () => {
        r#"(?: pass(?:wor[dt]|wd|phrase)? | pwd | kennwort | mot[\x20_-]?de[\x20_-]?passe
      | secret(?:[._-]?(?:access[._-]?)?key)? | token | authorization | credentials?
      | (?:access|account|api|private|signing|subscription|shared|encryption)[._-]?key
      | (?:set-?)?cookie2? | jsessionid | phpsessid )"#
    };
}
pub(super) use secret_words;

/// A name, and the opening bracket of its value, which a class name or a quotation mark may precede.
const BRACKET: &str = concat!(
    r#"(?ix) (?: "#,
    secret_words!(),
    r#" | passwords | secrets ) (?P<quote> \\*["'`] )? \s* (?: => | -> | := | [=:]{1,2} ) \s*
    (?P<value> (?P<class> [a-z_][\w.$]* )? (?P<bracket> [\[{(] ) | \\*["'`] (?P<quoted> [\[{(] ) \s* \\*["'] \w )"#
);

/// The opening tag of an XML element with the name of a secret.
const ELEMENT: &str = concat!(r"(?ix) < (?P<name> (?:[\w.-]+:)? [\w.-]* ", secret_words!(), r") (?: \s [^<>]* )? >");

/// A name before a block of YAML, which is either marked as a text, or consists of fields or items.
const BLOCK: &str = concat!(
    r#"(?imx) (?P<fields> ^ [\x20\t]* (?: - \x20+ )* ["']? [\w.-]* )? "#,
    secret_words!(),
    r#" ["']? [\x20\t]* : (?P<text> [\x20\t]* [|>] [0-9+-]{0,2} )? [\x20\t]* \r? \n"#
);

/// The first line of a block of fields or items.
const BLOCK_LINE: &str = r#"(?x) ^ (?: - \x20+ \S | ["']? [\w.-]+ ["']? : (?: \s | $ ) )"#;

struct Forms {
    bracket: Regex,
    element: Regex,
    block: Regex,
    block_line: Regex,
}

/// The text without such values; `None` if it has none.
pub(super) fn redacted(text: &str) -> Option<String> {
    static FORMS: LazyLock<Result<Forms, regex::Error>> = LazyLock::new(|| {
        Ok(Forms {
            bracket: Regex::new(BRACKET)?,
            element: Regex::new(ELEMENT)?,
            block: Regex::new(BLOCK)?,
            block_line: Regex::new(BLOCK_LINE)?,
        })
    });
    // The patterns are constants, and a test compiles them.
    let Ok(forms) = FORMS.as_ref() else { return None };
    let mut changed = None;
    for redact in [without_blocks, without_groups, without_elements] {
        let redacted = redact(forms, changed.as_deref().unwrap_or(text));
        changed = redacted.or(changed);
    }
    changed.filter(|changed| changed != text)
}

/// A text that is copied with some parts replaced.
struct EditedText<'a> {
    text: &'a str,
    copied: usize,
    out: String,
}

impl<'a> EditedText<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, copied: 0, out: String::new() }
    }

    fn replace(&mut self, from: usize, to: usize, with: &[&str]) {
        self.out.push_str(&self.text[self.copied..from]);
        self.out.extend(with.iter().copied());
        self.copied = to;
    }

    fn end(mut self) -> Option<String> {
        if self.copied == 0 {
            return None;
        }
        self.out.push_str(&self.text[self.copied..]);
        Some(self.out)
    }
}

/// Replaces objects, lists and other values in brackets.
///
/// Without a closing bracket, the value reaches to the end of the line, and in JSON to the end of the text: such a text
/// was cut off.
fn without_groups(forms: &Forms, text: &str) -> Option<String> {
    let mut copy = EditedText::of(text);
    let mut budget = Budget::of(text);
    let mut at = 0;
    while let Some(found) = forms.bracket.captures_at(text, at) {
        let (Some(value), Some(bracket)) = (found.name("value"), found.name("bracket").or(found.name("quoted"))) else {
            break;
        };
        let quote = found.name("quote").map(|quote| quote.as_str()).unwrap_or_default();
        let rest = &text[bracket.start()..];
        let closed = budget.spend(rest, |rest| group_end(rest, true).or_else(|| group_end(rest, false)));
        let end = match closed {
            Some(Some(end)) => end,
            // A text such as `ab(c` is a secret of its own.
            Some(None) if found.name("class").is_some() || found.name("quoted").is_some() => {
                at = bracket.end();
                continue;
            }
            Some(None) if quote.is_empty() => rest.find(['\r', '\n']).unwrap_or(rest.len()),
            Some(None) | None => rest.len(),
        };
        let after = &rest[end..];
        let is_end = |c: char| c.is_whitespace() || "\"'`,;&\\()[]{}<>".contains(c);
        let mut end = bracket.start() + end + after.find(is_end).unwrap_or(after.len());
        let before_bracket = &text[value.start()..bracket.start()];
        if found.name("quoted").is_some() && text[end..].starts_with(before_bracket) {
            end += before_bracket.len();
        }
        copy.replace(value.start(), end, &[quote, SECRET_TEXT, quote]);
        at = end;
    }
    copy.end()
}

/// Where a group ends that a text begins with: after its closing bracket. Brackets in quotation marks do not count, or,
/// if nothing is said of quotation marks, those of other kinds.
fn group_end(text: &str, has_quotes: bool) -> Option<usize> {
    let closing = |open: u8| match open {
        b'[' => b']',
        b'{' => b'}',
        _ => b')',
    };
    let bytes = text.as_bytes();
    let first = *bytes.first()?;
    let mut open: Vec<u8> = Vec::new();
    // The quotation mark of an open text, and how many backslashes precede it.
    let mut quotation: Option<(u8, usize)> = None;
    let mut backslashes = 0;
    for (index, byte) in bytes.iter().copied().enumerate() {
        match byte {
            b'\\' => {
                backslashes += 1;
                continue;
            }
            b'"' | b'\'' if has_quotes => match quotation {
                // A text in JSON in a text is enclosed in `\"`, and a quotation mark within it is `\\\"`.
                Some((mark, before)) => {
                    if mark == byte && backslashes % (2 * (before + 1)) == before {
                        quotation = None;
                    }
                }
                // An apostrophe.
                None if byte == b'\'' && index > 0 && bytes[index - 1].is_ascii_alphanumeric() => {}
                None => quotation = Some((byte, backslashes)),
            },
            _ if quotation.is_some() => {}
            b'[' | b'{' | b'(' if has_quotes || byte == first => open.push(closing(byte)),
            b']' | b'}' | b')' if open.last() == Some(&byte) => {
                open.pop();
                if open.is_empty() {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
        backslashes = 0;
    }
    None
}

/// Replaces the content of XML elements.
fn without_elements(forms: &Forms, text: &str) -> Option<String> {
    let mut copy = EditedText::of(text);
    let mut budget = Budget::of(text);
    // Names that have no closing tag in the rest of the text.
    let mut unclosed: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(found) = forms.element.captures_at(text, at) {
        let (Some(tag), Some(name)) = (found.get(0), found.name("name")) else { break };
        at = tag.end();
        if tag.as_str().ends_with("/>") || unclosed.contains(&name.as_str()) {
            continue;
        }
        let rest = &text[tag.end()..];
        let length = match budget.spend(rest, |rest| rest.find(&format!("</{}", name.as_str()))) {
            Some(Some(length)) => length,
            Some(None) => {
                unclosed.push(name.as_str());
                continue;
            }
            None => rest.len(),
        };
        let content = rest[..length].trim();
        at += length;
        if !content.is_empty() && content != SECRET_TEXT {
            copy.replace(tag.end(), at, &[SECRET_TEXT]);
        }
    }
    copy.end()
}

/// Replaces blocks of YAML: the lines after a name that are indented further than its own line.
fn without_blocks(forms: &Forms, text: &str) -> Option<String> {
    let mut copy = EditedText::of(text);
    let mut at = 0;
    while let Some(found) = forms.block.captures_at(text, at) {
        let Some(name) = found.get(0) else { break };
        at = name.end();
        let line_start = text[..name.start()].rfind('\n').map_or(0, |end| end + 1);
        let indent = indent_of(&text[line_start..]);
        let first = text[at..].split('\n').find(|line| !line.trim().is_empty()).unwrap_or_default();
        let is_item = first.trim_start().starts_with("- ");
        let is_block = found.name("text").is_some()
            || found.name("fields").is_some() && forms.block_line.is_match(first.trim_start());
        // The items of a list may be indented as far as its name.
        let indent_min = if is_item && found.name("text").is_none() { indent } else { indent + 1 };
        if !is_block || indent_of(first) < indent_min {
            continue;
        }
        let is_inside = |line: &&str| {
            line.trim().is_empty() || indent_of(line) >= indent_min && (indent_of(line) > indent || is_item_line(line))
        };
        let block: usize = text[at..].split_inclusive('\n').take_while(is_inside).map(str::len).sum();
        let end = text[..at + block].trim_end_matches(['\r', '\n', ' ', '\t']).len();
        let colon = name.start() + name.as_str().rfind(':').unwrap_or(0) + 1;
        copy.replace(colon, end, &[" ", SECRET_TEXT]);
        at = end;
    }
    copy.end()
}

fn is_item_line(line: &str) -> bool {
    line.trim_start().starts_with("- ")
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Limits the search for the ends of values, so that a text with many beginnings does not take quadratic time. Once the
/// budget is used up, the rest of the text counts as one secret.
struct Budget(usize);

impl Budget {
    fn of(text: &str) -> Self {
        Self(text.len().saturating_mul(16))
    }

    /// Searches a text; `None` if the budget is used up.
    fn spend(&mut self, text: &str, search: impl FnOnce(&str) -> Option<usize>) -> Option<Option<usize>> {
        if self.0 == 0 {
            return None;
        }
        let found = search(text);
        self.0 = self.0.saturating_sub(found.unwrap_or(text.len()));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let once = redacted(text).unwrap_or_else(|| text.to_owned());
        assert_eq!(once, expected);
        assert_eq!(redacted(&once), None, "of {text:?}");
    }

    #[test]
    fn what_is_in_brackets_goes_whole() {
        check(r#"{"password":{"value":"s"},"n":1}"#, r#"{"password":"<secret>","n":1}"#);
        check(r#""token" : { "access" : "s" , "refresh":"t"} x"#, r#""token" : "<secret>" x"#);
        check("{'password': {'v': 's'}}", "{'password': '<secret>'}");
        check(r#""password":["a}","b"], x"#, r#""password":"<secret>", x"#);
        check("password=[a, b] was set", "password=<secret> was set");
        check("password=[it's, b's] was set", "password=<secret> was set");
        check(r#"{\"password\":{\"v\":\"a\\\"}b\"},\"n\":1}"#, r#"{\"password\":\"<secret>\",\"n\":1}"#);
        check(r#"token=AccessToken(value="a)b", exp=1), n=1"#, "token=<secret>, n=1");
        check(r#"{"c":"{"password":"{"v":"s"}"}"}"#, r#"{"c":"{"password":"<secret>"}"}"#);
        check("\"secrets\": {\n  \"a\": \"s\"\n}\nnext", "\"secrets\": \"<secret>\"\nnext");
        check("credentials -> (a (b) c), x", "credentials -> <secret>, x");
    }

    #[test]
    fn what_is_not_closed_reaches_to_the_end_of_the_line_and_in_json_of_the_text() {
        check("token={a b\nnext", "token=<secret>\nnext");
        check("{\"token\":{\"a\":\n\"s\"", "{\"token\":\"<secret>\"");
        check("password=ab(c d", "password=ab(c d");
    }

    #[test]
    fn the_content_of_elements_goes() {
        check("<password>s</password>", "<password><secret></password>");
        check("<db:password a='b'><![CDATA[s]]></db:password>", "<db:password a='b'><secret></db:password>");
        check("<Credentials>\n<u>a</u>\n<p>s</p></Credentials>", "<Credentials><secret></Credentials>");
        check("<secret>s</secret>", "<secret><secret></secret>");
        check("<password/> x <password></password> y", "<password/> x <password></password> y");
        check("password=<secret> and more", "password=<secret> and more");
        check("login <user> <password> [options]", "login <user> <password> [options]");
    }

    #[test]
    fn blocks_of_yaml_go() {
        check("password: |\n  s\n  t\nuser: a", "password: <secret>\nuser: a");
        check("db:\n  password: >-\n\n    s\n  user: a\n", "db:\n  password: <secret>\n  user: a\n");
        check("credentials:\n  user: a\n  pin: s\nnext: 1", "credentials: <secret>\nnext: 1");
        check("- token:\n  - s\n  - t\nx: 1", "- token: <secret>\nx: 1");
        check("token:\n- s\n- t\nx: 1", "token: <secret>\nx: 1");
        check("bad token:\n\tat a.B(B.java:1)", "bad token:\n\tat a.B(B.java:1)");
        check("token:\n\tat a.B(B.java:1)", "token:\n\tat a.B(B.java:1)");
        check("password:\nuser: a", "password:\nuser: a");
    }

    #[test]
    fn many_beginnings_without_an_end_are_found_in_bounded_time() {
        for begin in ["token=a{", "token=a(\n", "<x.password>", "\"token\":{\"", "token={\n", "token:\n  - "] {
            let text = begin.repeat(20_000);
            let once = redacted(&text).unwrap_or(text);
            assert!(once.len() <= 20_000 * 20, "{begin:?}");
        }
    }
}
