//! Takes out of records what must not leave: secrets, addresses of people, and whatever else a pattern describes.

use std::borrow::Cow;

use regex::Regex;
use runlog_model::Record;
use serde_json::Value;

/// Patterns that have a name, what they find, and what is put in its place.
const NAMED: [(&str, &str, &str); 5] = [
    ("email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", "<email>"),
    ("ip", r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "<ip>"),
    ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", "<iban>"),
    // Each group is what stands before a secret in one of the ways; those of the other ways are empty.
    ("secret", SECRET, "${1}${2}${3}${4}${5}${6}${7}<secret>"),
    // What stands before the @ of an address, such as `ftp://user:password@host`.
    ("url_password", r"(://)[^\s/@]+@", "${1}<secret>@"),
];

/// A secret after its name. The first way that fits is taken:
///
/// - `Bearer …` anywhere, and `Authorization: …` with a scheme that is known: the scheme stays.
/// - `Authorization: …` with another scheme: both words go, when the second looks like no word of a sentence.
/// - `password="…"`, `'…'` and, within JSON that is a text itself, `\"password\":\"…\"`: all up to the closing mark, or
///   to the end of the line where none follows. A mark before a comma or a bracket closed something, and opens nothing.
/// - `AWS_SECRET_ACCESS_KEY=…`: up to a space, a separator or a quotation mark.
const SECRET: &str = r#"(?ix)
    ( \bbearer\s+
    | authorization (?:\\*["'])? \s*[=:]\s* (?:\\*["'])?
      (?: basic | bearer | api-?key | splunk | token ) \s+ (?: token= (?:\\*["'])? )? )
    (?: [^\s"',;&\\] | \\+[^\s"',;&\\] )+
  | ( authorization (?:\\*["'])? \s*[=:]\s* (?:\\*["'])? ) [a-z][a-z0-9_-]* [\x20\t]+
    [^\s"',;&]* (?: [a-z][^\s"',;&]*\d | \d[^\s"',;&]*[a-z] | [^\s"',;&]{20} ) [^\s"',;&]*
  | ( (?: pass(?:word|wd|phrase)? | pwd | secret(?:[._-]?(?:access[._-]?)?key)? | token | authorization | credentials?
      | (?:access|account|api|private|signing)[._-]?key ) (?:\\*["'])? \s*[=:]\s* )
    (?: (") (?: [^\s"',;&)}\]\\] | \\. ) (?: [^"\r\n\\] | \\. )*
      | (') (?: [^\s"',;&)}\]\\] | \\. ) (?: [^'\r\n\\] | \\. )*
      | (\\") (?: [^\s"',;&)}\]\\] | \\\\(?:\\.|[^"\\]) ) (?: [^"\r\n\\] | \\\\(?:\\.|[^"\\]) )*
      | ( (?:\\*["'])? (?: (?:basic|bearer)\s+ )? ) (?: [^\s"',;&\\] | \\+[^\s"',;&\\] )+ )
"#;

/// What is taken out, in order.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Redaction>);

/// What one pattern finds, and what is put in its place.
#[derive(Debug, Clone)]
pub struct Redaction {
    pattern: Regex,
    with: String,
}

impl Redaction {
    /// One of the patterns that have a name.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = NAMED.iter().find(|(known, ..)| *known == name);
        let Some((_, pattern, with)) = known else {
            let names = NAMED.map(|(name, ..)| name).join(", ");
            return Err(format!("{name:?} is no pattern that has a name; there are {names}, or {{ pattern = \"…\" }}"));
        };
        Self::new(pattern, with)
    }

    /// A pattern in the syntax of the `regex` library; in what replaces it, `$1` stands for its first group.
    pub fn new(pattern: &str, with: &str) -> Result<Self, String> {
        let pattern = Regex::new(pattern).map_err(|error| format!("{pattern:?} is not a pattern: {error}"))?;
        Ok(Self { pattern, with: with.to_owned() })
    }
}

impl Redactor {
    /// Takes out what these find.
    pub fn new(redactions: Vec<Redaction>) -> Self {
        Self(redactions)
    }

    /// Takes it out of a text.
    pub fn text(&self, text: &mut String) {
        for Redaction { pattern, with } in &self.0 {
            if let Cow::Owned(redacted) = pattern.replace_all(text, with.as_str()) {
                *text = redacted;
            }
        }
    }

    /// Takes it out of every text of a record.
    pub fn record(&self, record: &mut Record) {
        if self.0.is_empty() {
            return;
        }
        let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, extra, .. } = record;
        let texts = [severity, log_type, message, bundle_name, bundle_version, pod_name];
        texts.into_iter().flatten().for_each(|text| self.text(text));
        extra.iter_mut().flat_map(|extra| extra.values_mut()).for_each(|value| self.value(value));
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.value(value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runlog_model::Timestamp;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &str) {
        let mut text = text.to_owned();
        Redactor::new(vec![Redaction::named(name).unwrap()]).text(&mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn named_patterns_take_out_what_their_names_say() {
        check("email", "mail to jane.doe+x@mail.example.com failed", "mail to <email> failed");
        check("ip", "10.1.2.3:5432 refused", "<ip>:5432 refused");
        check("iban", "to DE89 3704 0044 0532 0130 00 today", "to <iban> today");
        check("secret", "password=hunter2&user=a", "password=<secret>&user=a");
        check("secret", r#"{"token": "abc.def"}"#, r#"{"token": "<secret>"}"#);
        check("secret", "Authorization: Bearer abc", "Authorization: Bearer <secret>");
        check("secret", "it sent bearer abc to them", "it sent bearer <secret> to them");
        check("url_password", "jdbc://db.example.com/x", "jdbc://db.example.com/x");
        check("url_password", "ftp://me:pw@host/x", "ftp://<secret>@host/x");
    }

    #[test]
    fn credentials_of_every_scheme_are_taken_out() {
        check("secret", "Authorization: ApiKey abc123", "Authorization: ApiKey <secret>");
        check("secret", "Authorization: Splunk ab-12 was sent", "Authorization: Splunk <secret> was sent");
        check("secret", "authorization: Token abc", "authorization: Token <secret>");
        check("secret", r#"authorization: Token token="abc""#, r#"authorization: Token token="<secret>""#);
        check("secret", "Authorization: SSWS 00QCjAl4 was sent", "Authorization: <secret> was sent");
        check("secret", "Authorization: Own bm90aGluZyBoZXJlIGF0", "Authorization: <secret>");
        check("secret", "Authorization: abc123 was refused", "Authorization: <secret> was refused");
        check("secret", r#"{"Authorization":"Basic YTpi","n":1}"#, r#"{"Authorization":"Basic <secret>","n":1}"#);
    }

    #[test]
    fn keys_of_clouds_are_taken_out() {
        check("secret", "AWS_SECRET_ACCESS_KEY=wJalr/K7 set", "AWS_SECRET_ACCESS_KEY=<secret> set");
        check("secret", "fs.s3a.secret.key=ab, x", "fs.s3a.secret.key=<secret>, x");
        check("secret", "secretKey: abc", "secretKey: <secret>");
        check("secret", "AccountKey=abc==;EndpointSuffix=core", "AccountKey=<secret>;EndpointSuffix=core");
    }

    #[test]
    fn a_value_in_quotes_goes_whole() {
        check("secret", r#"passphrase="correct horse" was set"#, r#"passphrase="<secret>" was set"#);
        check("secret", "passphrase='correct horse' was set", "passphrase='<secret>' was set");
        check("secret", r#"{"token": "a\"b c", "n": 1}"#, r#"{"token": "<secret>", "n": 1}"#);
        check("secret", "password=\"correct ho\nnext line", "password=\"<secret>\nnext line");
        check("secret", r"password=abc\def was set", "password=<secret> was set");
    }

    #[test]
    fn json_within_a_text_is_understood() {
        check("secret", r#"{\"password\":\"x\"}"#, r#"{\"password\":\"<secret>\"}"#);
        check("secret", r#"{\"pwd\":\"a b\\\"c\",\"n\":1}"#, r#"{\"pwd\":\"<secret>\",\"n\":1}"#);
        check("secret", r#"{\\\"pwd\\\":\\\"x\\\",\\\"n\\\":1}"#, r#"{\\\"pwd\\\":\\\"<secret>\\\",\\\"n\\\":1}"#);
    }

    #[test]
    fn ordinary_text_stays() {
        for text in [
            "password reset was sent",
            "the token has expired: ask for another",
            "secretary: Jane, tokens: 5",
            "AWS_ACCESS_KEY_ID=AKIA",
            r#"password="""#,
            r#"{"said":"enter your password:","n":1}"#,
            "authorization was refused with 401",
        ] {
            check("secret", text, text);
        }
    }

    #[test]
    fn every_text_of_a_record_is_looked_at() {
        let redactor = Redactor::new(vec![Redaction::new("s(ecre)t", "[$1]").unwrap()]);
        let extra = serde_json::json!({ "a": { "b": ["secret", 1] } });
        let mut record = Record {
            message: Some("a secret".to_owned()),
            pod_name: Some("secret-pod".to_owned()),
            extra: extra.as_object().cloned().map(Box::new),
            ..Record::at(Timestamp::clamped(0))
        };
        redactor.record(&mut record);
        assert!(!serde_json::to_string(&record).unwrap().contains("secret"));
        assert_eq!(record.message.as_deref(), Some("a [ecre]"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert!(Redaction::named("emial").unwrap_err().contains("email, ip"));
        assert!(Redaction::new("(", "").unwrap_err().contains("not a pattern"));
    }
}
