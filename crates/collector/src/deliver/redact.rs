//! Redacts records: removes secrets, addresses of people, and whatever else a pattern describes.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use runlog_model::Record;
use serde::Deserialize;
use serde_json::Value;

/// The name of a secret, with what separates it from its value.
macro_rules! secret_name {
    () => {
        r#"(?: pass(?:word|wd|phrase)? | pwd | secret(?:[._-]?(?:access[._-]?)?key)? | token | authorization | credentials?
      | (?:access|account|api|private|signing)[._-]?key ) (?:\\*["'])? \s*[=:]\s*"#
    };
}

/// Further names, and schemes, before the value.
macro_rules! secret_names {
    () => {
        concat!(r#"(?: (?:\\*["'])? (?: (?:basic|bearer)\s+ | "#, secret_name!(), "))*")
    };
}

/// The named patterns: their expressions and replacements.
const NAMED: [(&str, &str, &str); 5] = [
    ("email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", "<email>"),
    ("ip", r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "<ip>"),
    ("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", "<iban>"),
    // Each group matches the text before a secret in one of the forms; the groups of the other forms are empty.
    ("secret", SECRET, "${1}${2}${3}${4}${5}${6}${7}<secret>"),
    // The part before the @ of an address, such as `ftp://user:password@host`.
    ("url_password", r"(://)[^\s/@]+@", "${1}<secret>@"),
];

/// Further expressions of `secret`, which are applied first.
const SECRET_TOO: [(&str, &str); 6] = [
    // A private key, up to its end or that of the text.
    (r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)[\s\S]*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)", "${1}<secret>${2}"),
    ORACLE,
    // `set key "DB_Password" with value "x"`, with or without quotation marks around the value.
    (
        concat!(
            r#"(?ix)( (?: pass(?:word|wd|phrase)? | pwd | secret | token | credentials? | (?:access|account|api|private|signing|secret)[._-]?key )
            (?:\\*["'`])? \s+ (?:(?:with|has|to|of|is|was)\s+)* (?:the\s+|its\s+)? value \s* (?:(?:of|is|was|to)\s+|[:=]\s*)? "#,
            secret_names!(),
            r#" )
            (?: ((?:\\*["'`])) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+ | [^\s"'`,;\\]+ )"#
        ),
        "${1}${2}<secret>",
    ),
    // `set "DB_Password" to "x"`.
    (
        r#"(?ix)( (?: pass(?:word|wd|phrase)? | pwd | secret | token | credentials? | (?:access|account|api|private|signing|secret)[._-]?key )
            (?:\\*["'`]) \s+ (?:to|as|is|was|with) \s+ (?:\\*["'`]) ) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+"#,
        "${1}<secret>",
    ),
    // `password%3Dx`, `%22password%22%3A%22x%22`, `Bearer%20x`: up to an encoded &, comma or quotation mark.
    (
        r#"(?ix)( (?: pass(?:word|wd|phrase)? | pwd | secret(?:[._-]?(?:access[._-]?)?key)? | token | authorization | credentials?
            | (?:access|account|api|private|signing)[._-]?key )
            (?:%(?:25)*2[27])? (?:%(?:25)*20|\+)* %(?:25)*3[DA] (?:%(?:25)*20|\+)* (?:%(?:25)*2[27])?
            | \bbearer(?:%(?:25)*20|\+) )
            (?: [^\s"'%&;,\\] | %(?: 2[0134589ABD-F] | [013-9A-F][0-9A-F] ) )+"#,
        "${1}<secret>",
    ),
    // `"password" => "x"` and `password := x`.
    (
        concat!(
            r#"(?ix)( (?: pass(?:word|wd|phrase)? | pwd | secret | token | credentials? | (?:access|account|api|private|signing|secret)[._-]?key )
            (?:\\*["'`])? \s* (?: => | -> | := | == ) \s* "#,
            secret_names!(),
            r#" )
            (?: ((?:\\*["'`])) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+ | [^\s"'`,;&\\]+ )"#
        ),
        "${1}${2}<secret>",
    ),
];

/// `jdbc:oracle:thin:scott/tiger@//db`, where the password follows a slash.
const ORACLE: (&str, &str) = (r#"(?i)(jdbc:oracle:\w+:[^\s/@"']*/)(?:"[^"\r\n]*"|[^\s@"']+)@"#, "${1}<secret>@");

/// Names of fields whose values are always secrets.
const SECRET_NAME: &str = r"(?ix) (?: pass(?:word|wd|phrase)? | pwd | secret(?:[._-]?(?:access[._-]?)?key)? | token
    | authorization | credentials? | (?:access|account|api|private|signing)[._-]?key ) $";

/// The replacement of a secret.
const SECRET_TEXT: &str = "<secret>";

/// How often a named pattern is applied to its own result, so that nothing is left that it would match.
const ROUNDS_MAX: usize = 8;

/// A secret after its name. The first form that matches applies:
///
/// - `Bearer …` anywhere, and `Authorization: …` with a known scheme: the scheme is kept.
/// - `Authorization: …` with another scheme: both words are removed if the second does not look like a word of a
///   sentence.
/// - `password="…"`, `'…'` and, in JSON inside a string, `\"password\":\"…\"`: everything up to the closing quotation
///   mark, or to the end of the line if there is none. A quotation mark before a comma or a bracket is a closing one.
/// - `AWS_SECRET_ACCESS_KEY=…`: up to a space, a separator or a quotation mark.
///
/// Between a name and its secret there may be further names: `password=`, and on the next line `api_key: …`.
const SECRET: &str = concat!(
    r#"(?ix)
    ( (?: \bbearer\s+
      | authorization (?:\\*["'])? \s*[=:]\s* (?:\\*["'])? [\[({]* (?:\\*["'])?
        (?: basic | bearer | api-?key | splunk | token ) \s+ (?: token= (?:\\*["'])? )? ) "#,
    secret_names!(),
    r#" )
    (?: [^\s"',;&\\] | \\+[^\s"',;&\\] )+
  | ( authorization (?:\\*["'])? \s*[=:]\s* (?:\\*["'])? ) [a-z][a-z0-9_-]* [\x20\t]+
    [^\s"',;&]* (?: [a-z][^\s"',;&]*\d | \d[^\s"',;&]*[a-z] | [^\s"',;&]{20} ) [^\s"',;&]*
  | ( "#,
    secret_name!(),
    secret_names!(),
    r#" )
    (?: (") (?: [^\s"',;&)}\]\\] | \\. ) (?: [^"\r\n\\] | \\. )*
      | (') (?: [^\s"',;&)}\]\\] | \\. ) (?: [^'\r\n\\] | \\. )*
      | (\\") (?: [^\s"',;&)}\]\\] | \\\\(?:\\.|[^"\\]) ) (?: [^"\r\n\\] | \\\\(?:\\.|[^"\\]) )*
      | ( (?:\\*["'])? [\[({]* (?:\\*["'])? (?: (?:basic|bearer)\s+ )? ) (?: [^\s"',;&\\] | \\+[^\s"',;&\\] )+ )
"#
);

/// The redactions, in order.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Redaction>);

/// A pattern and its replacement.
///
/// In the settings: the name of a pattern, or a pattern and its replacement.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RedactionSetting")]
pub struct Redaction {
    patterns: Vec<(Regex, String)>,
    /// True if it also applies to values by the names of their fields.
    has_names: bool,
    rounds_max: usize,
}

/// A named pattern, or a custom one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a redaction is a name such as \"email\", or { pattern = \"…\", with = \"…\" }")]
enum RedactionSetting {
    Named(String),
    Own(OwnPattern),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnPattern {
    pattern: String,
    #[serde(default = "stars")]
    with: String,
}

fn stars() -> String {
    "***".to_owned()
}

impl TryFrom<RedactionSetting> for Redaction {
    type Error = String;

    fn try_from(setting: RedactionSetting) -> Result<Self, String> {
        match setting {
            RedactionSetting::Named(name) => Self::named(&name),
            RedactionSetting::Own(OwnPattern { pattern, with }) => Self::new(&pattern, &with),
        }
    }
}

impl Redaction {
    /// A named pattern.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = NAMED.iter().find(|(known, ..)| *known == name);
        let Some((_, pattern, with)) = known else {
            let names = NAMED.map(|(name, ..)| name).join(", ");
            return Err(format!("{name:?} is not a named pattern; use {names}, or {{ pattern = \"…\" }}"));
        };
        let more: &[(&str, &str)] = match name {
            "secret" => &SECRET_TOO,
            "url_password" => &[ORACLE],
            _ => &[],
        };
        let mut patterns = Vec::new();
        for (pattern, with) in more.iter().chain([&(*pattern, *with)]) {
            patterns.extend(Self::new(pattern, with)?.patterns);
        }
        Ok(Self { patterns, has_names: name == "secret", rounds_max: ROUNDS_MAX })
    }

    /// A pattern in the syntax of the `regex` crate; in its replacement, `$1` stands for the first group.
    pub fn new(pattern: &str, with: &str) -> Result<Self, String> {
        let pattern = Regex::new(pattern).map_err(|error| format!("{pattern:?} is not a pattern: {error}"))?;
        Ok(Self { patterns: vec![(pattern, with.to_owned())], has_names: false, rounds_max: 1 })
    }

    fn text(&self, text: &mut String) {
        for _ in 0..self.rounds_max {
            let mut is_changed = false;
            for (pattern, with) in &self.patterns {
                if let Cow::Owned(redacted) = pattern.replace_all(text, with.as_str()) {
                    is_changed |= *text != redacted;
                    *text = redacted;
                }
            }
            if !is_changed {
                return;
            }
        }
    }
}

impl Redactor {
    /// Creates a redactor from these redactions.
    pub fn new(redactions: Vec<Redaction>) -> Self {
        Self(redactions)
    }

    /// Redacts a text.
    pub fn text(&self, text: &mut String) {
        self.0.iter().for_each(|redaction| redaction.text(text));
    }

    /// Redacts all texts of a record.
    pub fn record(&self, record: &mut Record) {
        if self.0.is_empty() {
            return;
        }
        let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, extra, .. } = record;
        let texts = [severity, log_type, message, bundle_name, bundle_version, pod_name];
        texts.into_iter().flatten().for_each(|text| self.text(text));
        extra.iter_mut().flat_map(|extra| extra.iter_mut()).for_each(|(name, value)| self.field(name, value));
    }

    fn field(&self, name: &str, value: &mut Value) {
        static IS_SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SECRET_NAME).ok());
        let has_names = self.0.iter().any(|redaction| redaction.has_names);
        match has_names && IS_SECRET.as_ref().is_some_and(|names| names.is_match(name)) {
            true => conceal(value),
            false => self.value(value),
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| self.field(name, value)),
            _ => {}
        }
    }
}

/// Replaces every string and number in a value that is a secret because of its name.
fn conceal(value: &mut Value) {
    match value {
        Value::String(text) if text.is_empty() => {}
        Value::String(_) | Value::Number(_) => *value = SECRET_TEXT.into(),
        Value::Array(values) => values.iter_mut().for_each(conceal),
        Value::Object(fields) => fields.values_mut().for_each(conceal),
        Value::Null | Value::Bool(_) => {}
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
    fn a_name_without_a_value_does_not_take_the_next_name_for_it() {
        check("secret", "password=\napi_key: SEKRET\nnext", "password=\napi_key: <secret>\nnext");
        check("secret", "Bearer password: SEKRET", "Bearer password: <secret>");
        check("secret", "Bearer \nAuthorization: Bearer SEKRET", "Bearer \nAuthorization: Bearer <secret>");
        check("secret", "password => \npwd: SEKRET", "password =<secret> \npwd: <secret>");
        check("secret", "the password has the value\ntoken=SEKRET", "the password has the value\ntoken=<secret>");
        check("secret", "{\"token\":\n\"password\":\"SEKRET\"}", "{\"token\":\n\"password\":\"<secret>\"}");
        check("secret", "Authorization: Basic\npwd = SEKRET", "Authorization: Basic\npwd = <secret>");
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

    /// Each of these passed through a sink that was configured to redact secrets.
    #[test]
    fn secrets_are_found_in_whatever_form_they_are_logged() {
        for text in [
            r#"{Authorization=[Bearer SEKRET], Accept=[*/*]}"#,
            r#"headers: {"Authorization":["Basic SEKRET"]}"#,
            r#"context: {"DB_Password": "SEKRET"}"#,
            r#"set key "DB_Password" with value "SEKRET""#,
            "set key DB_Password with value SEKRET",
            "the value of password: SEKRET",
            r#"changed 'api-key' to 'SEKRET' for all"#,
            r#"{:password=>"SEKRET", :user=>"a"}"#,
            "password => SEKRET",
            "password := SEKRET",
            "jdbc:oracle:thin:scott/SEKRET@//db:1521/x",
            r#"jdbc:oracle:thin:scott/"SEKRET@1"@db"#,
            "callback?next=%2Fa%3Fpassword%3DSEKRET%26user%3Da",
            "%7B%22password%22%3A%22SEKRET%22%7D",
            "Authorization%3A%20Bearer%20SEKRET",
            "password%253DSEKRET",
            "-----BEGIN RSA PRIVATE KEY-----\nSEKRET\nSEKRET\n-----END RSA PRIVATE KEY-----",
            r"key: -----BEGIN PRIVATE KEY-----\nSEKRET\nSEKRET",
            "password=[SEKRET]",
            "token: (SEKRET)",
        ] {
            let mut redacted = text.to_owned();
            let redactor = Redactor::new(vec![Redaction::named("secret").unwrap()]);
            redactor.text(&mut redacted);
            assert!(!redacted.contains("SEKRET") && redacted.contains("<secret>"), "{text} became {redacted}");
            let mut again = redacted.clone();
            redactor.text(&mut again);
            assert_eq!(again, redacted);
        }
    }

    #[test]
    fn names_of_fields_count() {
        let redactor = Redactor::new(vec![Redaction::named("secret").unwrap()]);
        let extra = serde_json::json!({
            "context": { "DB_Password": "x1", "user": "ada", "tokens": 5, "is_secret": true },
            "credentials": { "user": "x2", "keys": ["x3", 47] },
            "apiKey": 48,
        });
        let mut record =
            Record { extra: extra.as_object().cloned().map(Box::new), ..Record::at(Timestamp::clamped(0)) };
        redactor.record(&mut record);
        let secret = "<secret>";
        let expected = serde_json::json!({
            "context": { "DB_Password": secret, "user": "ada", "tokens": 5, "is_secret": true },
            "credentials": { "user": secret, "keys": [secret, secret] },
            "apiKey": secret,
        });
        assert_eq!(Value::Object(*record.extra.unwrap()), expected);
    }

    proptest::proptest! {
        // Each takes five expressions some milliseconds without optimization.
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_redacted_stays_as_it_is(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "password", "token", "Authorization", "Bearer ", "Basic ", "=", ": ", "\"", "'", "\\\"", "\\", "[", "]", "{", "}",
                    " ", "value ", "with ", "to ", "%3D", "%22", "%26", "&", ",", ";", "abc", "x1", "\n", "=>", "jdbc:oracle:thin:",
                    "scott/", "@", "//db", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "://", "ada@example.com", "10.0.0.1",
                ]),
                0..24,
            )
        ) {
            let names = ["email", "ip", "iban", "secret", "url_password"];
            for name in names {
                let redactor = Redactor::new(vec![Redaction::named(name).unwrap()]);
                let mut once = parts.concat();
                redactor.text(&mut once);
                let mut twice = once.clone();
                redactor.text(&mut twice);
                proptest::prop_assert_eq!(once, twice, "{}", name);
            }
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
