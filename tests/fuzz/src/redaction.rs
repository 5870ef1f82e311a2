//! Redaction: redaction of a redacted text changes nothing, and a secret in a usual form is removed wherever it occurs.

use std::sync::LazyLock;

use runlog_collector::{Redaction, Redactor};

use crate::Target;

pub(crate) const TARGET: Target = Target { name: "redaction", check, seeds, inputs: 10_000 };

const NAMES: [&str; 5] = ["email", "ip", "iban", "secret", "url_password"];
const SECRET: &str = "q7Zp2KxV9";
/// A secret after each of these is redacted if no other text touches it.
const FORMS: [&str; 6] =
    ["password=", "\"password\":\"", "Authorization: Bearer ", "api_key: ", "jdbc:oracle:thin:scott/", "ftp://user:"];
const ENDS: [&str; 6] = [" ", "\"", "\n", "\n", "@host", "@host/"];

static REDACTOR: LazyLock<Redactor> =
    LazyLock::new(|| Redactor::new(NAMES.iter().map(|name| Redaction::named(name).unwrap()).collect()));

/// The first byte is the form of a secret, and the second its place in the text.
fn check(input: &[u8]) {
    let [form, place, text @ ..] = input else { return };
    let text = String::from_utf8_lossy(text).into_owned();
    let redacted = |text: &str| {
        let mut text = text.to_owned();
        REDACTOR.text(&mut text);
        text
    };
    let once = redacted(&text);
    assert_eq!(redacted(&once), once, "of {text:?}");
    let lines: Vec<&str> = text.lines().collect();
    let (before, after) = lines.split_at(usize::from(*place).min(lines.len()));
    let form = usize::from(*form) % FORMS.len();
    let line = format!("{}{SECRET}{}", FORMS[form], ENDS[form]);
    let with_secret = [before, &[line.as_str()], after].concat().join("\n");
    assert!(!redacted(&with_secret).contains(SECRET), "{with_secret:?}");
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "\u{0}\u{0}connect with password=abc123 to db\nand {\"token\":\"x.y.z\",\"user\":\"a\"}",
        "\u{1}\u{1}ftp://user:secret@host/path?api_key=1234&x=2",
        "\u{2}\u{0}Authorization: Basic dXNlcjpwYXNz\nCookie: session=1",
        "\u{3}\u{2}jdbc:oracle:thin:scott/tiger@//db:1521/x from a@example.com at 10.0.0.1",
        "\u{4}\u{1}-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nset key \"DB_Password\" with value \"x\"",
        "\u{5}\u{0}password%3Dx%26user%3Dy DE89 3704 0044 0532 0130 00 password => 'a\\'b'",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}
