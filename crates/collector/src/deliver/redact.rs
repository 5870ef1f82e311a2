//! Redacts records: removes secrets, addresses of people, and any other text that matches a pattern.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use runlog_model::Record;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::enclosed::{self, SECRET_TEXT, secret_words};

/// The name of a secret, with what separates it from its value.
macro_rules! secret_name {
    () => {
        concat!(secret_words!(), r#" (?:\\*["'])? \s*[=:]\s*"#)
    };
}

/// A value, in quotation marks, which are a group each, or up to a space or a separator.
macro_rules! value {
    () => {
        r#"(?: (") (?: [^"\r\n\\] | \\. )+ | (') (?: [^'\r\n\\] | \\. )+
            | (\\+["']) (?: [^"'\r\n\\] | \\+[^"'\r\n\\] )+ | [^\s"'`,;\\-] [^\s"'`,;\\]* )"#
    };
}

/// A quotation mark as an entity of HTML, or escaped in JSON.
macro_rules! escaped_quote {
    () => {
        r"(?: &(?:amp;)*(?:quot|apos|\#0*3[49]|\#x2[27]); | \\+u002[27] )"
    };
}

/// Further names, and schemes, before the value.
macro_rules! secret_names {
    () => {
        concat!(r#"(?: (?:\\*["'])? (?: (?:basic|bearer)\s+ | [\w.-]* "#, secret_name!(), "))*")
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
const SECRET_TOO: [(&str, &str); 16] = [
    // A private key, up to its end or that of the text.
    (r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)[\s\S]*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)", "${1}<secret>${2}"),
    ORACLE,
    // `set key "DB_Password" with value "x"`, with or without quotation marks around the value.
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            r#" (?:\\*["'`])? \s+ (?:(?:with|has|to|of|is|was)\s+)* (?:the\s+|its\s+)? value \s* (?:(?:of|is|was|to)\s+|[:=]\s*)? "#,
            secret_names!(),
            r#" )
            (?: ((?:\\*["'`])) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+ | [^\s"'`,;\\]+ )"#
        ),
        "${1}${2}<secret>",
    ),
    // `set "DB_Password" to "x"`.
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            r#" (?:\\*["'`]) \s+ (?:to|as|is|was|with) \s+ (?:\\*["'`]) ) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+"#
        ),
        "${1}<secret>",
    ),
    // `password%3Dx`, `%22password%22%3A%22x%22`, `Bearer%20x`: up to an encoded &, comma or quotation mark.
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            r#" (?:%(?:25)*2[27])? (?:%(?:25)*20|\+)* %(?:25)*3[DA] (?:%(?:25)*20|\+)* (?:%(?:25)*2[27])?
            | \bbearer(?:%(?:25)*20|\+) )
            (?: [^\s"'%&;,\\] | %(?: 2[0134589ABD-F] | [013-9A-F][0-9A-F] ) )+"#
        ),
        "${1}<secret>",
    ),
    // `"password" => "x"` and `password := x`.
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            r#" (?:\\*["'`])? \s* (?: => | -> | := | == ) \s* "#,
            secret_names!(),
            r#" )
            (?: ((?:\\*["'`])) (?: \\+[^"'`\r\n\\] | [^"'`\r\n\\] )+ | [^\s"'`,;&\\]+ )"#
        ),
        "${1}${2}<secret>",
    ),
    // `{"name":"DB_PASSWORD","value":"x"}`.
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            r#" \\*["'] \s* , \s* \\*["'] (?:default[._-]?)? (?:value|val|content|text) \\*["'] \s* [:=] \s* )"#,
            value!()
        ),
        "${1}${2}${3}${4}<secret>",
    ),
    // `<name>password</name><value>x</value>`, and `<entry key="password">x</entry>`.
    (
        concat!(
            r"(?ix)( ",
            secret_words!(),
            r#" (?: \s* </[\w:.-]+> \s* <[\w:.-]+> | \\*["'] (?: [^<>]*[^<>/] )? > ) ) \s* (?: <!\[CDATA\[ \s* )? [^<\s][^<]*"#
        ),
        "${1}<secret>",
    ),
    // `&lt;password&gt;x&lt;/password&gt;`, and `&quot;password&quot;:&quot;x&quot;`.
    (
        concat!(
            r"(?ix)( &(?:amp;)*lt; (?:[\w-]+:)? [\w.-]* ",
            secret_words!(),
            r#" &(?:amp;)*gt; ) [^&\r\n]+ (?: &(?:amp;)*(?:quot|apos|\#x?[0-9a-f]+); [^&\r\n]* )*"#
        ),
        "${1}<secret>",
    ),
    (
        concat!(
            "(?ix)( ",
            secret_words!(),
            escaped_quote!(),
            r" \s* [:=] \s* ",
            escaped_quote!(),
            r#" ) [^&"\r\n\\]+ (?: &(?:amp;)*(?:lt|gt); [^&"\r\n\\]* )*"#
        ),
        "${1}<secret>",
    ),
    // `--password x`, also as items of a list.
    (
        concat!(
            r#"(?ix)( (?: ^ | [\s"'`\[(,] ) --?[\w.-]* "#,
            secret_words!(),
            r#" (?: \\*["'] \s* ,? \s* | [\x20\t]+ ) )"#,
            value!()
        ),
        "${1}${2}${3}${4}<secret>",
    ),
    // `IDENTIFIED BY "x"`; without quotation marks only after a user, because a sentence may contain these words.
    (
        concat!(
            r"(?ix)( \b identified \s+ (?: with \s+ \S+ \s+ )? (?:by|as) \s+ (?: (?:values|password) \s+ )? )",
            r#"(?: (") (?: [^"\r\n\\] | \\. )+ | (') (?: [^'\r\n\\] | \\. )+ | (\\+["']) (?: [^"'\r\n\\] | \\+[^"'\r\n\\] )+ )"#
        ),
        "${1}${2}${3}${4}<secret>",
    ),
    (
        concat!(r"(?ix)( \b (?: user | role | to ) \s+ \S+ \s+ identified \s+ by \s+ )", value!()),
        "${1}${2}${3}${4}<secret>",
    ),
    // `ALTER USER a PASSWORD 'x'`, `PASSWORD('x')`.
    (
        r"(?ix)( \b pass(?:word|wd|phrase) \s* (?: \( \s* )? [en]? (?:\\*') ) (?: [^'\r\n\\] | \\+[^'\r\n\\] )+",
        "${1}<secret>",
    ),
    // `Cookie: a=x; b=y`, and `Authorization: Digest username="a", response="x"`.
    (
        r#"(?ix)( cookie2? (?:\\*["'])? \s* [:=] \s* )
            (?: (") (?: [^"\r\n\\] | \\. )+ | (') (?: [^'\r\n\\] | \\. )+
              | ( (?:\\+["'])? ) (?: [^\s"',;&\\] | =\\*"[^"\r\n]*" )+ (?: ; [\x20\t]* (?: [^\s"',;&\\] | =\\*"[^"\r\n]*" )* )* )"#,
        "${1}${2}${3}${4}<secret>",
    ),
    (
        r#"(?ix)( authorization (?:\\*["'])? \s* [=:] \s* (?:\\*["'])? )
            (?: digest | oauth | signature | hawk | mac | aws4-[a-z0-9-]+ ) \s+
            [a-z][a-z0-9_-]* \s* = \s* (?: \\*"[^"\r\n]*"? | [^\s"',]* )
            (?: \s* , \s* [a-z][a-z0-9_-]* \s* = \s* (?: \\*"[^"\r\n]*"? | [^\s"',]* ) )*"#,
        "${1}<secret>",
    ),
];

/// Secrets that are recognised without a name: signatures of links, and tokens with a distinctive format.
const SECRET_ALONE: [(&str, &str); 2] = [
    (r#"(?i)([?&;](?:amp;)*(?:sig|(?:x-(?:amz|goog)-)?signature)=)[^\s"'&<>\\]+"#, "${1}<secret>"),
    (
        r"(?x) \b (?: gh[opsur]_[A-Za-z0-9]{30,} | github_pat_\w{30,} | glpat-[\w-]{20,} | xox[abeprs]-[\w-]{10,}
            | SG\.[\w-]{16,}\.[\w-]{16,} | [rs]k_live_\w{10,} | AIza[\w-]{35} | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]* )",
        SECRET_TEXT,
    ),
];

/// What every form of a secret contains: most texts have none of it, and are not searched further.
const SECRET_HINT: &str = concat!(
    "(?ix)",
    secret_words!(),
    r" | private\x20key | bearer | jdbc:oracle | identified | sig(?:nature)?= | gh[opsur]_ | github_pat | glpat- | xox[abeprs]- | SG\. | k_live_ | AIza | eyJ"
);

/// `jdbc:oracle:thin:scott/tiger@//db`, where the password follows a slash.
const ORACLE: (&str, &str) = (r#"(?i)(jdbc:oracle:\w+:[^\s/@"']*/)(?:"[^"\r\n]*"|[^\s@"']+)@"#, "${1}<secret>@");

/// Names of fields whose values are always secrets.
const SECRET_NAME: &str = concat!("(?ix)", secret_words!(), " $");

/// Names of fields whose values are secrets if they consist of several.
const SECRET_NAME_OF_MANY: &str = r"(?ix) (?: passwords | secrets ) $";

/// Fields of which one names a secret, and another is its value.
const NAMING_FIELDS: [&str; 8] = ["name", "key", "field", "header", "option", "parameter", "property", "variable"];
const VALUE_FIELDS: [&str; 7] = ["value", "values", "val", "content", "text", "default", "defaultvalue"];

/// Shorter names of fields that consist of letters and digits contain no secret.
const SECRET_BYTES_MIN: usize = 14;

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
    /// That of secrets also applies to values by the names of their fields. What all its forms contain.
    hint: Option<Regex>,
    rounds_max: usize,
}

/// A named pattern, or a custom one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a redaction is a name such as \"email\", or { pattern = \"…\", with = \"…\" }")]
enum RedactionSetting {
    Named(String),
    Own(CustomPattern),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomPattern {
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
            RedactionSetting::Own(CustomPattern { pattern, with }) => Self::new(&pattern, &with),
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
        let alone: &[(&str, &str)] = if name == "secret" { &SECRET_ALONE } else { &[] };
        let mut patterns = Vec::new();
        for (pattern, with) in more.iter().chain([&(*pattern, *with)]).chain(alone) {
            patterns.extend(Self::new(pattern, with)?.patterns);
        }
        let hint =
            (name == "secret").then(|| Regex::new(SECRET_HINT)).transpose().map_err(|error| error.to_string())?;
        Ok(Self { patterns, hint, rounds_max: ROUNDS_MAX })
    }

    /// A pattern in the syntax of the `regex` crate; in its replacement, `$1` stands for the first group.
    pub fn new(pattern: &str, with: &str) -> Result<Self, String> {
        let pattern = Regex::new(pattern).map_err(|error| format!("{pattern:?} is not a pattern: {error}"))?;
        Ok(Self { patterns: vec![(pattern, with.to_owned())], hint: None, rounds_max: 1 })
    }

    /// True if it is that of secrets.
    fn has_names(&self) -> bool {
        self.hint.is_some()
    }

    fn text(&self, text: &mut String) {
        if self.hint.as_ref().is_some_and(|hint| !hint.is_match(text)) {
            return;
        }
        for _ in 0..self.rounds_max {
            let mut is_changed = false;
            if self.has_names()
                && let Some(redacted) = enclosed::redacted(text)
            {
                (*text, is_changed) = (redacted, true);
            }
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

    /// Redacts all texts of a record, and the names of its further fields.
    pub fn record(&self, record: &mut Record) {
        if self.0.is_empty() {
            return;
        }
        let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, extra, .. } = record;
        let texts = [severity, log_type, message, bundle_name, bundle_version, pod_name];
        texts.into_iter().flatten().for_each(|text| self.text(text));
        extra.iter_mut().for_each(|extra| self.fields(extra));
    }

    /// Redacts an object. Fields whose names become the same are numbered.
    fn fields(&self, fields: &mut Map<String, Value>) {
        let is_secret = |name: &str, value: &Value| self.is_secret(name, value);
        let names_secret = fields.iter().any(|(name, value)| {
            NAMING_FIELDS.contains(&name.to_ascii_lowercase().as_str())
                && value.as_str().is_some_and(|named| is_secret(named, &Value::Null))
        });
        for (name, value) in fields.iter_mut() {
            let is_value = names_secret && VALUE_FIELDS.contains(&name.to_ascii_lowercase().as_str());
            if is_value || is_secret(name, value) {
                conceal(value);
            }
            self.value(value);
        }
        if !fields.keys().any(|name| self.name(name).is_some()) {
            return;
        }
        // The last number of each name: there may be as many fields of one as an entry can hold.
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for (name, value) in std::mem::take(fields) {
            let redacted = self.name(&name).unwrap_or(name);
            let mut unique = redacted.clone();
            while fields.contains_key(&unique) {
                let number = numbers.entry(redacted.clone()).or_insert(1);
                *number += 1;
                unique = format!("{redacted} ({number})");
            }
            fields.insert(unique, value);
        }
    }

    /// The redacted name of a field; `None` if it stays.
    fn name(&self, name: &str) -> Option<String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_plain = name.len() < SECRET_BYTES_MIN && name.chars().all(is_word);
        let mut redacted = name.to_owned();
        let redactions = self.0.iter().filter(|redaction| !(is_plain && redaction.has_names()));
        redactions.for_each(|redaction| redaction.text(&mut redacted));
        (redacted != name).then_some(redacted)
    }

    /// True if a value is a secret because of its name.
    fn is_secret(&self, name: &str, value: &Value) -> bool {
        static NAMES: LazyLock<Option<[Regex; 2]>> =
            LazyLock::new(|| Some([Regex::new(SECRET_NAME).ok()?, Regex::new(SECRET_NAME_OF_MANY).ok()?]));
        let has_names = self.0.iter().any(Redaction::has_names);
        has_names
            && NAMES.as_ref().is_some_and(|[one, many]| {
                let name = name.trim();
                one.is_match(name) || (value.is_array() || value.is_object()) && many.is_match(name)
            })
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => self.fields(fields),
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

    /// To compile the patterns takes a while without optimization.
    static SECRETS: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(vec![Redaction::named("secret").unwrap()]));

    #[track_caller]
    fn check(name: &str, text: &str, expected: &str) {
        let mut text = text.to_owned();
        match name {
            "secret" => SECRETS.text(&mut text),
            name => Redactor::new(vec![Redaction::named(name).unwrap()]).text(&mut text),
        }
        assert_eq!(text, expected);
    }

    #[test]
    fn a_name_without_a_value_does_not_take_the_next_name_for_it() {
        check("secret", "password=\napi_key: SEKRET\nnext", "password=\napi_key: <secret>\nnext");
        check("secret", "Bearer password: SEKRET", "Bearer password: <secret>");
        check("secret", "token:\nX-Api-Key: SEKRET", "token:\nX-Api-Key: <secret>");
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
            "login <user> <password> [options]",
            "rows are identified by their key",
            "expected token '<' but found '>'",
            "- token refreshed\n- password checked",
            "<passwordPolicy>strict</passwordPolicy>",
            "{\"name\":\"user\",\"value\":\"a\"}",
        ] {
            check("secret", text, text);
        }
    }

    /// Each of these passed through a sink that was configured to redact secrets.
    const FORMS: &[&str] = &[
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
        r#""password":["SEKRET","SEKRET b"]"#,
        r#""password":{"value":"SEKRET"}"#,
        "password=[SEKRET, SEKRET]",
        r#"{"credentials":{"user":"bob","pass":"SEKRET"}}"#,
        r#""token" : { "access" : "SEKRET" , "refresh":"SEKRET"}"#,
        "{'password': {'v': 'SEKRET'}}",
        r#"{\"token\":[{\"v\":\"a}\\\"SEKRET\"}]}"#,
        r#"token=AccessToken(value="SEKRET", type=x)"#,
        "Credentials[user=bob, password=SEKRET]",
        "<password>SEKRET</password>",
        "<db:password>SEKRET</db:password>",
        "<password><![CDATA[SEKRET]]></password>",
        r#"<password value="SEKRET"/>"#,
        r#"<entry key="db.password">SEKRET</entry>"#,
        "<property><name>fs.s3a.secret.key</name><value>SEKRET</value></property>",
        "&lt;password&gt;SEKRET&lt;/password&gt;",
        "&amp;lt;password&amp;gt;SEK&amp;quot;SEKRET&amp;lt;/password&amp;gt;",
        "{&quot;password&quot;:&quot;SEKRET&quot;}",
        r"{\u0022password\u0022:\u0022SEKRET\u0022}",
        "password: |\n  SEKRET",
        "password: >-\n  SEKRET\n\n  SEKRET",
        "password:\n  - SEKRET\n  - SEKRET",
        "credentials:\n  user: bob\n  pin: SEKRET",
        r#"password: "SEKRET, and SEKRET""#,
        r#"{"name":"DB_PASSWORD","value":"SEKRET"}"#,
        r#"{\"key\":\"api-key\",\"defaultValue\":\"SEKRET\"}"#,
        "--password SEKRET",
        "--db-password \"SEK SEKRET\"",
        "-storepass SEKRET",
        r#"["--token", "SEKRET"]"#,
        r#"CREATE USER a IDENTIFIED BY "SEKRET""#,
        "create user a identified by SEKRET",
        "CREATE USER a IDENTIFIED WITH mysql_native_password BY 'SEKRET'",
        "ALTER USER a PASSWORD 'SEKRET'",
        "SET PASSWORD FOR a = PASSWORD('SEKRET')",
        "Cookie: JSESSIONID=SEKRET; other=SEKRET",
        r#"{"Set-Cookie":["id=SEKRET; Path=/"]}"#,
        r#"{"cookie":"a=\"SEKRET\"; b=SEKRET"}"#,
        ";jsessionid=SEKRET",
        r#"Authorization: Digest username="u", realm="r, s", response="SEKRET""#,
        "Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;date, Signature=SEKRET",
        "https://x.blob.core.windows.net/a?sv=2022&sig=SEKRET%3D&se=1",
        "Kennwort: SEKRET",
        "mot de passe = SEKRET",
        "Ocp-Apim-Subscription-Key: SEKRET",
    ];

    #[test]
    fn secrets_are_found_in_whatever_form_they_are_logged() {
        for text in FORMS {
            let mut redacted = (*text).to_owned();
            SECRETS.text(&mut redacted);
            assert!(!redacted.contains("SEKRET") && redacted.contains("<secret>"), "{text} became {redacted}");
            let mut again = redacted.clone();
            SECRETS.text(&mut again);
            assert_eq!(again, redacted, "of {text}");
        }
    }

    #[test]
    fn what_encloses_a_secret_stays() {
        check("secret", r#"{"password":{"value":"x"},"n":1}"#, r#"{"password":"<secret>","n":1}"#);
        check("secret", "{Authorization=[Bearer x], Accept=[*/*]}", "{Authorization=<secret>, Accept=[*/*]}");
        check("secret", "<a><password>x</password><b>y</b></a>", "<a><password><secret></password><b>y</b></a>");
        check("secret", "password: |\n  x\nuser: a", "password: <secret>\nuser: a");
        check("secret", "tool --password x --user a", "tool --password <secret> --user a");
        check("secret", "tool --password --user a", "tool --password --user a");
        check("secret", "CREATE USER a IDENTIFIED BY 'x y' REPLACE", "CREATE USER a IDENTIFIED BY '<secret>' REPLACE");
        check("secret", "Cookie: a=x; b=y, Accept: z", "Cookie: <secret>, Accept: z");
        check(
            "secret",
            r#"{"name":"db_password","value":"x","n":1}"#,
            r#"{"name":"db_password","value":"<secret>","n":1}"#,
        );
        check("secret", "?sig=x&se=1", "?sig=<secret>&se=1");
    }

    #[test]
    fn tokens_with_a_form_of_their_own_need_no_name() {
        let token = "0123456789abcdefghijABCDEFGHIJ012345";
        check("secret", &format!("used ghp_{token} here"), "used <secret> here");
        check("secret", "got eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl back", "got <secret> back");
        check("secret", "a SG.short and the size=1", "a SG.short and the size=1");
    }

    #[test]
    fn names_of_fields_count() {
        let redactor = Redactor::new(vec![Redaction::named("secret").unwrap()]);
        let extra = serde_json::json!({
            "context": { "DB_Password": "x1", "user": "ada", "tokens": 5, "is_secret": true },
            "credentials": { "user": "x2", "keys": ["x3", 47] },
            "apiKey": 48,
        });
        let extra = extra.as_object().cloned().map(|extra| Box::new(extra.into()));
        let mut record = Record { extra, ..Record::at(Timestamp::clamped(0)) };
        redactor.record(&mut record);
        let secret = "<secret>";
        let expected = serde_json::json!({
            "context": { "DB_Password": secret, "user": "ada", "tokens": 5, "is_secret": true },
            "credentials": { "user": secret, "keys": [secret, secret] },
            "apiKey": secret,
        });
        assert_eq!(Value::Object(record.extra.unwrap().into_values()), expected);
    }

    proptest::proptest! {
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
            static REDACTORS: LazyLock<[Redactor; 5]> = LazyLock::new(|| {
                NAMED.map(|(name, ..)| Redactor::new(vec![Redaction::named(name).unwrap()]))
            });
            for (redactor, (name, ..)) in REDACTORS.iter().zip(NAMED) {
                let mut once = parts.concat();
                redactor.text(&mut once);
                let mut twice = once.clone();
                redactor.text(&mut twice);
                proptest::prop_assert_eq!(once, twice, "{}", name);
            }
        }
    }

    #[test]
    fn names_that_contain_a_secret_and_pairs_of_a_name_and_a_value_count() {
        let redactor = Redactor::new(["secret", "email"].map(|name| Redaction::named(name).unwrap()).to_vec());
        let extra = serde_json::json!({
            "ada@example.com": 1,
            "bob@example.com": { "password=SEKRET": true },
            "env": [{ "name": "DB_PASSWORD", "value": "SEKRET" }, { "Value": 47, "Key": "api-key" }, { "name": "user", "value": "a" }],
            "passwords": { "a": "SEKRET", "token=SEKRET": 1 },
            "secrets": ["SEKRET"],
            "Set-Cookie": "id=SEKRET",
        });
        let extra = extra.as_object().cloned().map(|extra| Box::new(extra.into()));
        let mut record = Record { extra, ..Record::at(Timestamp::clamped(0)) };
        redactor.record(&mut record);
        let secret = "<secret>";
        let expected = serde_json::json!({
            "<email>": 1,
            "<email> (2)": { "password=<secret>": true },
            "env": [{ "name": "DB_PASSWORD", "value": secret }, { "Value": secret, "Key": "api-key" }, { "name": "user", "value": "a" }],
            "passwords": { "a": secret, "token=<secret>": secret },
            "secrets": [secret],
            "Set-Cookie": secret,
        });
        assert_eq!(Value::Object(record.extra.clone().unwrap().into_values()), expected);
        let once = record.clone();
        redactor.record(&mut record);
        assert_eq!(record, once);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        /// A secret is redacted as text, as a value and as a name, independent of the lines before and after it.
        #[test]
        fn a_secret_in_any_form_never_leaves(
            form in proptest::sample::select(FORMS),
            lines in proptest::collection::vec(
                proptest::sample::select(vec![
                    "", "a line", "{", "}", "[", "\"", "'", "it's", "password", "token:", "password={", "\"token\":{\"", "<password>",
                    "</password>", "<a>", "  x: 1", "- y", "credentials:", "Cookie: a=\"", "password: |", "\\", "ends with \\", "&lt;",
                    "Authorization: Digest a=\"", "--token", "IDENTIFIED BY", "-----BEGIN PRIVATE KEY-----", "password=",
                ]),
                0..6,
            ),
            position in 0_usize..7,
        ) {
            let (before, after) = lines.split_at(position.min(lines.len()));
            let text = [before, &[form], after].concat().join("\n");
            let extra = serde_json::json!({
                text.as_str(): 1,
                "list": [text, { "said": text }],
                "token": { "a": text, text.as_str(): [text] },
            });
            let extra = extra.as_object().cloned().map(|extra| Box::new(extra.into()));
            let mut record =
                Record { message: Some(text.clone()), extra, ..Record::at(Timestamp::clamped(0)) };
            SECRETS.record(&mut record);
            let written = serde_json::to_string(&record).unwrap();
            proptest::prop_assert!(!written.contains("SEKRET"), "{:?} became {}", text, written);
            let once = record.clone();
            SECRETS.record(&mut record);
            proptest::prop_assert_eq!(record, once);
        }
    }

    #[test]
    fn every_text_of_a_record_is_looked_at() {
        let redactor = Redactor::new(vec![Redaction::new("s(ecre)t", "[$1]").unwrap()]);
        let extra = serde_json::json!({ "a": { "b": ["secret", 1] } });
        let mut record = Record {
            message: Some("a secret".to_owned()),
            pod_name: Some("secret-pod".to_owned()),
            extra: extra.as_object().cloned().map(|extra| Box::new(extra.into())),
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
