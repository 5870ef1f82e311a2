//! Determines whether two texts name the same cause.
//!
//! ```text
//! text ▸ without its exception class ▸ codes and names kept, hosts and the like replaced ▸ other values masked ▸ Cause
//! ```
//!
//! Patterns mask every quoted text and most numbers, so that a statement is one pattern. A cause is more than that:
//! error 1205 is not error 2627, and a missing column `vat` is not a missing column `customer_id`. On the other hand,
//! an unreachable database is one cause, regardless of the hosts that report it and of the drivers' wordings.

use crate::headline::at_start;
use crate::mask::masked;

/// Maximum number of codes and names that are kept of a text; further ones are masked as values.
const KEPT_MAX: usize = 32;

/// Maximum length of a quoted name. Unit: bytes.
const NAME_BYTES_MAX: usize = 80;

/// Maximum length of the text before the message in a Python tuple: `(2006`, `('22018'`. Unit: bytes.
const TUPLE_CODE_BYTES_MAX: usize = 10;

/// Maximum number of digits of a code.
const CODE_DIGITS_MAX: usize = 6;

/// Two texts are alike if at least this many of ten words are equal.
const ALIKE_OF_TEN: usize = 8;

/// Minimum number of words of a message that is specific enough without the class of its exception.
const WORDS_WITHOUT_CLASS: usize = 3;

/// Private-use characters that represent codes, names and values while the rest of a text is masked.
const KEPT: u32 = 0xe000;
const VALUES: [(char, &str); 5] = [
    ('\u{f000}', "<host>"),
    ('\u{f001}', "<mail>"),
    ('\u{f002}', "<path>"),
    ('\u{f003}', "<id>"),
    ('\u{f004}', "<pod>"),
];
const HOST: char = VALUES[0].0;
const MAIL: char = VALUES[1].0;
const PATH: char = VALUES[2].0;
const ID: char = VALUES[3].0;
const POD: char = VALUES[4].0;

/// Exceptions whose class adds nothing to their message.
const GENERIC_CLASSES: [&str; 12] = [
    "IOException",
    "OSError",
    "ConnectException",
    "ConnectionRefusedError",
    "ConnectionError",
    "SocketException",
    "RuntimeException",
    "SQLException",
    "PSQLException",
    "OperationalError",
    "DatabaseError",
    "OracleDatabaseException",
];

/// Words after which a quoted text is the name of the object of the cause.
const NAMED: [&str; 44] = [
    "keyerror",
    "module",
    "column",
    "columns",
    "relation",
    "table",
    "view",
    "object",
    "field",
    "fields",
    "reading",
    "attribute",
    "named",
    "property",
    "parameter",
    "placeholder",
    "variable",
    "identifier",
    "constraint",
    "index",
    "sequence",
    "function",
    "method",
    "procedure",
    "schema",
    "database",
    "topic",
    "bucket",
    "queue",
    "warehouse",
    "element",
    "symbol",
    "package",
    "class",
    "bean",
    "option",
    "argument",
    "setting",
    "environment",
    "key",
    "header",
    "command",
    "extension",
    "stage",
];

/// Words before the number of an error.
const BEFORE_CODE: [&str; 15] = [
    "code",
    "errno",
    "error",
    "rc",
    "signal",
    "sqlcode",
    "msg",
    "status",
    "errorcode",
    "returncode",
    "exitcode",
    "statuscode",
    "jdbc",
    "retcode",
    "err",
];

/// Words before the status of an HTTP response, beside those before codes.
const BEFORE_STATUS: [&str; 8] = ["returned", "http", "response", "got", "answered", "received", "responded", "with"];

/// Words after a number that is a count and not a status.
const COUNTED: [&str; 9] = ["rows", "records", "lines", "bytes", "items", "ms", "files", "seconds", "entries"];

/// Prefixes of codes that identify a cause by themselves, regardless of the language or driver of the message.
const OF_DATABASES: [&str; 9] = ["ORA", "TNS", "PLS", "RMAN", "DPY", "DPI", "KUP", "LRM", "NZE"];

/// Last labels of the names of hosts. The short ones are words as well, and count after two other labels.
const DOMAINS: [&str; 12] =
    ["com", "net", "org", "local", "internal", "corp", "lan", "cluster", "svc", "example", "invalid", "localdomain"];
const SHORT_DOMAINS: [&str; 24] = [
    "io", "de", "fr", "uk", "eu", "us", "ch", "at", "it", "es", "nl", "be", "pl", "br", "jp", "cn", "in", "cloud",
    "dev", "app", "ai", "co", "test", "intern",
];

/// Words before a colon and a number that is not a port.
const NOT_HOSTS: [&str; 17] = [
    "line", "code", "status", "error", "rows", "count", "offset", "id", "pid", "size", "port", "time", "total", "row",
    "record", "bytes", "exit",
];

/// Words after `host` that are not the name of a host.
const AFTER_HOST: [&str; 14] =
    ["key", "via", "is", "and", "name", "has", "was", "not", "or", "to", "in", "unreachable", "down", "could"];

/// The identity of a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The same for the same cause.
    pub(crate) key: String,
    /// The codes and names in it.
    kept: Vec<String>,
}

impl Cause {
    pub(crate) fn of(text: &str) -> Self {
        let text = without_repetition(without_class(text));
        let marked = Marked::of(&text);
        let code = marked.kept.iter().position(|kept| is_of_database(kept));
        let key = match code {
            Some(place) => {
                let mut key = marked.kept[place].clone();
                let start = text.find(&key).map_or(0, |start| start + key.len());
                names_of(&text[start..]).for_each(|name| {
                    key.push(' ');
                    key.push_str(&name);
                });
                key
            }
            None => marked.masked(),
        };
        Self { key, kept: marked.kept }
    }

    /// True if two texts are equal except for values and a few words, none of which is a code or a name.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        if self.key == other.key {
            return true;
        }
        let (words, others) = (self.key.split_whitespace(), other.key.split_whitespace());
        let (count, mut differing) = (words.clone().count(), 0);
        if count != others.clone().count() {
            return false;
        }
        for (one, other_word) in words.zip(others) {
            if one == other_word || is_number_in_one(one, other_word) {
                continue;
            }
            let is_distinct = self.has_kept(one) || other.has_kept(other_word);
            if is_distinct || is_identifier(one) || is_identifier(other_word) {
                return false;
            }
            differing += 1;
        }
        ALIKE_OF_TEN * count <= 10 * (count - differing)
    }

    /// True if a word of the key is a code or of a name.
    fn has_kept(&self, word: &str) -> bool {
        self.kept.iter().flat_map(|kept| kept.split_whitespace()).any(|part| word.contains(part))
    }
}

/// True for a number that was kept as a code in one of two texts, and masked as a value in the other: `503` and `612`.
fn is_number_in_one(one: &str, other: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(one) && other == "<number>") || (one == "<number>" && is_number(other))
}

/// Returns a text with its values masked, except for codes and names: the title of a cause.
pub(crate) fn masked_cause(text: &str) -> String {
    Marked::of(text).masked()
}

/// Removes the classes of exceptions that add nothing to their message.
fn without_class(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(named) = at_start(text) {
        let simple = named.class.rsplit(['.', '$']).next().unwrap_or(named.class);
        let is_sentence = named.message.split_whitespace().count() >= WORDS_WITHOUT_CLASS
            && named.message.starts_with(|c: char| c.is_alphanumeric() || c == '[');
        if named.message.is_empty() || !named.detail.is_empty() || !(is_sentence || GENERIC_CLASSES.contains(&simple)) {
            break;
        }
        text = named.message;
    }
    for prefix in ["ERROR: ", "FATAL: ", "Error: ", "error: ", "fatal: "] {
        text = text.strip_prefix(prefix).unwrap_or(text).trim_start();
    }
    match text.strip_prefix("[Errno ").and_then(|rest| rest.split_once("] ")) {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => text,
    }
}

/// Removes the repetition in `Connection refused (Connection refused)`.
fn without_repetition(text: &str) -> String {
    let Some((start, end)) = text.find(" (").and_then(|start| Some((start, start + text[start..].find(')')?))) else {
        return text.to_owned();
    };
    let inner = &text[start + 2..end];
    let is_repeated = !inner.is_empty() && text[..start].ends_with(inner);
    if is_repeated { format!("{}{}", &text[..start], &text[end + 1..]) } else { text.to_owned() }
}

/// `ORA-00942`, `SQL0204N`, but not the errors that applications raise: `ORA-20001`.
fn is_of_database(code: &str) -> bool {
    let of_oracle = code.split_once('-').is_some_and(|(prefix, _)| OF_DATABASES.contains(&prefix));
    let of_db2 = code.strip_prefix("SQL").is_some_and(|rest| {
        rest.ends_with(['N', 'C', 'W'])
            && rest.len() > 4
            && rest[..rest.len() - 1].bytes().all(|it| it.is_ascii_digit())
    });
    (of_oracle && !code.starts_with("ORA-20")) || of_db2
}

/// Returns the names in a text in any language: quoted, or written in capitals.
fn names_of(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '#' | '"' | '-');
    let words = text.split(move |c: char| !is_part(c)).map(|word| word.trim_matches(['.', '-']));
    words
        .filter(|word| is_in_capitals(word) && !word.contains('-'))
        .take(KEPT_MAX)
        .map(|word| without_digits(word.trim_matches('"')))
}

fn is_in_capitals(word: &str) -> bool {
    let capitals = word.bytes().filter(u8::is_ascii_uppercase).count();
    let is_quoted = word.starts_with('"') && word.len() > 2 && word.ends_with('"');
    is_quoted || (capitals >= word.len().clamp(1, 3) && !word.contains(char::is_lowercase))
}

/// True for a word that may be the name of an object: `TMP_1`, `RAW.ORDERS`, `order_id`.
fn is_identifier(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.contains(['_', '.']) || (word.len() >= 3 && is_in_capitals(word))
}

/// Masks the longer numbers in a name, such as those of temporary tables, days and batches.
fn without_digits(name: &str) -> String {
    let (mut masked, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        masked.push_str(&rest[..start]);
        masked.push_str(if digits >= 2 { "<number>" } else { &rest[start..start + digits] });
        rest = &rest[start + digits..];
    }
    masked + rest
}

/// A text in which codes and names, and hosts and similar values, are replaced by private-use characters.
struct Marked<'a> {
    text: &'a str,
    at: usize,
    out: String,
    kept: Vec<String>,
}

impl<'a> Marked<'a> {
    fn of(text: &'a str) -> Self {
        let mut marked = Self { text, at: 0, out: String::with_capacity(text.len()), kept: Vec::new() };
        while let Some(c) = marked.text[marked.at..].chars().next() {
            match c {
                '\'' | '"' | '`' => marked.quoted(c),
                '\u{e000}'..='\u{f8ff}' => marked.at += c.len_utf8(),
                c if is_of_word(c) => marked.word(),
                c => {
                    marked.out.push(c);
                    marked.at += c.len_utf8();
                }
            }
        }
        marked
    }

    /// Returns the text with the remaining values masked.
    fn masked(&self) -> String {
        let masked = masked(&self.out);
        let mut text = String::with_capacity(masked.len() + 16);
        for c in masked.chars() {
            let kept = u32::from(c).checked_sub(KEPT).and_then(|place| self.kept.get(place as usize));
            let value = VALUES.iter().find(|(value, _)| *value == c).map(|(_, name)| *name);
            match (kept, value) {
                (Some(kept), _) => text.push_str(kept),
                (None, Some(name)) => text.push_str(name),
                (None, None) => text.push(c),
            }
        }
        text
    }

    /// Keeps the text up to `end`.
    fn keep(&mut self, end: usize, text: String) {
        let c = char::from_u32(KEPT + self.kept.len() as u32).filter(|_| self.kept.len() < KEPT_MAX);
        match c {
            Some(c) => {
                self.kept.push(text);
                self.out.push(c);
            }
            None => self.out.push_str(&self.text[self.at..end]),
        }
        self.at = end;
    }

    fn copy_to(&mut self, end: usize) {
        self.out.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    /// `'vat'`, `"SALES"."ORDERS"`: a name, a value, or the message of a tuple of Python.
    fn quoted(&mut self, quote: char) {
        let (before, start) = (&self.text[..self.at], self.at + 1);
        let is_opening = !before.ends_with(|c: char| c.is_alphanumeric());
        // `(2006, "MySQL server has gone away")`
        let follows_code = before.strip_suffix(", ").is_some_and(|before| {
            before.ends_with(|c: char| c.is_ascii_digit() || c == '\'')
                && before.rfind('(').is_some_and(|open| before.len() - open <= TUPLE_CODE_BYTES_MAX)
        });
        let closes = |c: char| c == quote || (quote == '`' && c == '\'');
        let end = self.text[start..].find(closes).map(|length| start + length).filter(|_| is_opening && !follows_code);
        let Some(mut end) = end else {
            self.out.push(if follows_code { ' ' } else { quote });
            self.at = start;
            return;
        };
        let inner = &self.text[start..end];
        let is_name = inner.len() <= NAME_BYTES_MAX
            && inner.starts_with(|c: char| c.is_alphabetic() || "_$#@*".contains(c))
            && !inner.contains('/')
            && inner.split(' ').count() <= 3;
        if !is_name || !names(before) {
            return self.copy_to(end + 1);
        }
        // The parts of a qualified name.
        while let Some(rest) = self.text[end + 1..].strip_prefix(['.']).and_then(|rest| rest.strip_prefix(quote)) {
            let Some(length) = rest.find(quote) else { break };
            end += 3 + length;
        }
        let name = without_digits(&self.text[self.at..=end]);
        self.keep(end + 1, name);
    }

    fn word(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let word = rest[..length].trim_end_matches(['.', ':']);
        let (before, after) = (&self.text[..self.at], &rest[word.len()..]);
        let end = self.at + word.len();
        if word.is_empty() {
            return self.copy_to(self.at + length);
        }
        if let Some(value) = value_of(word, before) {
            self.out.push(value);
            self.at = end;
            return;
        }
        if word.contains("://") {
            return self.copy_to(end);
        }
        if is_code(word, before, after) {
            return self.keep(end, word.to_owned());
        }
        self.copy_to(end);
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '$' | '@' | '/' | '\\' | ':' | '*' | '+')
}

/// Returns the last words of a text, the last one first.
fn last_words(text: &str) -> [&str; 2] {
    let mut words = text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    [(); 2].map(|()| words.next().unwrap_or_default())
}

fn is_among(word: &str, words: &[&str]) -> bool {
    words.iter().any(|it| word.eq_ignore_ascii_case(it))
}

/// True if a quoted text after this text is a name.
fn names(before: &str) -> bool {
    let [last, earlier] = last_words(before);
    let near = before.trim_end_matches([' ', '(', ':', '=', '[']);
    if !near.ends_with(|c: char| c.is_alphanumeric()) {
        return false;
    }
    // `ORA-00904: "VAT": invalid identifier`
    let follows_code = before.ends_with(": ") && is_digits(last, 3..=CODE_DIGITS_MAX) && earlier == "ORA";
    match last.to_ascii_lowercase().as_str() {
        "key" => !is_among(earlier, &["duplicate"]),
        "name" => is_among(earlier, &NAMED) || is_among(earlier, &["import"]),
        "named" => !is_among(earlier, &["host", "user", "file"]),
        "to" => is_among(earlier, &["reference"]),
        last => NAMED.contains(&last) || follows_code,
    }
}

/// Returns the kind of a word that states where something happened, and not what.
fn value_of(word: &str, before: &str) -> Option<char> {
    if word.starts_with("\\\\") {
        return Some(PATH);
    }
    if word.contains("://") {
        return None;
    }
    if let Some((user, domain)) = word.split_once('@') {
        return (!user.is_empty() && domain.contains('.')).then_some(MAIL);
    }
    let [last, _] = last_words(before);
    // `Request ID: 7N1X`, `RequestId=7N1X`
    let label = before.trim_end_matches([':', '=', ' ']);
    if label.len() < before.trim_end().len()
        && (is_among(last, &["id"]) || label.ends_with("Id") || label.ends_with("ID"))
    {
        return Some(ID);
    }
    if is_host(word, last) {
        return Some(HOST);
    }
    is_pod(word).then_some(POD)
}

/// `db1.corp.example:5432`, `orders-svc:8080`, `h3/10.0.0.3:7337`, and any name after `host`.
fn is_host(word: &str, last: &str) -> bool {
    const FILES: [&str; 21] = [
        "py", "js", "ts", "rs", "go", "java", "sql", "c", "cpp", "sh", "rb", "php", "pl", "xml", "csv", "txt", "json",
        "yaml", "yml", "log", "conf",
    ];
    let (word, address) = word.split_once('/').unwrap_or((word, ""));
    let is_address = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.');
    if !address.is_empty() && !is_address(address) {
        return false;
    }
    let (name, port) = word.split_once(':').unwrap_or((word, ""));
    let labels: Vec<&str> = name.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
    };
    let domain = labels[labels.len() - 1];
    if !labels.iter().all(is_label) || !name.contains(|c: char| c.is_ascii_lowercase()) || FILES.contains(&domain) {
        return false;
    }
    let is_port = (2..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() {
        let is_qualified = name.contains(['.', '-']) || name == "localhost";
        return is_port && (is_qualified || port.len() >= 4) && !NOT_HOSTS.contains(&name);
    }
    let is_in_domain = labels.len() >= 2 && DOMAINS.contains(&domain)
        || labels.len() >= 3 && SHORT_DOMAINS.contains(&domain)
        || !address.is_empty();
    let is_after_host = is_among(last, &["host", "hostname", "unknownhostexception", "enotfound", "eai_again"]);
    is_in_domain || (is_after_host && !AFTER_HOST.contains(&name))
}

/// `etl-7f9c8d6b5-xk2lp`: the name of a pod of a deployment.
fn is_pod(word: &str) -> bool {
    let mut parts = word.rsplit('-');
    let (last, hash) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    parts.next().is_some()
        && last.len() == 5
        && (8..=10).contains(&hash.len())
        && is_lower(last)
        && is_lower(hash)
        && hash.contains(|c: char| c.is_ascii_digit())
}

/// True for the code of an error of any product.
fn is_code(word: &str, before: &str, after: &str) -> bool {
    let near = before.trim_end();
    let [last, _] = last_words(before);
    let follows_number =
        || near.strip_suffix('(').is_some_and(|it| it.trim_end().ends_with(|c: char| c.is_ascii_digit()));
    if is_state(word) && (is_among(last, &["sqlstate"]) || (after.starts_with(')') && follows_number())) {
        return true;
    }
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return is_number_of_error(word, before, after);
    }
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        // Codes of Windows; other numbers are addresses.
        return digits.len() == 8 && digits.starts_with(['8', 'C', 'c']) && !is_among(last, &["at"]);
    }
    // `550 5.1.1`
    if word.len() == 5 && word.starts_with(['4', '5']) && word.split('.').count() == 3 {
        return last.len() == 3 && last.bytes().all(|byte| byte.is_ascii_digit());
    }
    let letters = word.bytes().take_while(u8::is_ascii_uppercase).count();
    let rest = &word[letters..];
    let is_set_off = after.starts_with([':', ',', ']']) || near.is_empty() || near.ends_with([':', '[']);
    let is_named = is_among(last, &BEFORE_CODE);
    let with_dash = rest.strip_prefix(['-', '_']).is_some_and(|digits| is_digits(digits, 3..=CODE_DIGITS_MAX));
    let number = rest.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let without = is_digits(number, 3..=8) && rest.len() <= number.len() + 1;
    let is_of_database = OF_DATABASES.contains(&&word[..letters]) && with_dash;
    (2..=4).contains(&letters) && with_dash && (is_set_off || is_named || is_of_database)
        || (2..=8).contains(&letters) && without && (is_set_off || is_named)
}

/// `42S02`, `08001`: an SQLSTATE.
fn is_state(word: &str) -> bool {
    word.len() == 5
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && word.bytes().filter(u8::is_ascii_digit).count() >= 2
}

fn is_digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for `404` in `-> 404`, `1205` in `SQL Error [1205]`, `18456` in `Login failed. (18456)`.
fn is_number_of_error(number: &str, before: &str, after: &str) -> bool {
    let next = after.chars().nth(1);
    if number.len() > CODE_DIGITS_MAX
        || (after.starts_with(['.', ',']) && next.is_some_and(|c| c.is_ascii_digit()))
        || before.ends_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return false;
    }
    let [last, _] = last_words(before);
    let near = before.trim_end_matches([' ', '(', '[', '#', '-', '=', ':', '\'', '"']);
    let is_near = before.len() - near.len() <= 3 && near.ends_with(|c: char| c.is_alphanumeric());
    if is_near && is_among(last, &BEFORE_CODE) {
        return true;
    }
    let next_word = after.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    if number.len() == 3 && number.starts_with(['4', '5']) && !COUNTED.contains(&next_word) {
        let is_answer = is_near && is_among(last, &BEFORE_STATUS) || before.trim_end().ends_with("->");
        let has_reason = after.starts_with(' ') && next_word.len() > 2 && next_word.starts_with(char::is_uppercase);
        let begins = before.trim().is_empty() && after.starts_with([' ', '-']);
        if is_answer || has_reason || begins {
            return true;
        }
    }
    // `000904 (42000)`
    if after.strip_prefix(" (").and_then(|rest| rest.split_once(')')).is_some_and(|(state, _)| is_state(state)) {
        return true;
    }
    let is_message = |text: &str| text.trim_end().is_empty() || text.trim_end().ends_with([':', '.']);
    match (before.strip_suffix('('), before.strip_suffix('[')) {
        (Some(outer), _) if after.starts_with(')') => {
            let [last, _] = last_words(outer);
            let last = last.to_ascii_lowercase();
            is_message(outer) || last.ends_with("exception") || last.ends_with("error")
        }
        (Some(outer), _) if after.starts_with(", ") => is_message(outer) || outer.ends_with("Error"),
        (_, Some(outer)) if after.starts_with(']') => is_message(outer),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn same(texts: &[&str]) {
        for text in texts {
            assert_eq!(Cause::of(text).key, Cause::of(texts[0]).key, "{text}");
        }
    }

    #[track_caller]
    fn different(one: &str, other: &str) {
        let (one, other) = (Cause::of(one), Cause::of(other));
        assert!(!one.is_alike(&other), "{} = {}", one.key, other.key);
    }

    #[test]
    fn causes_are_distinguished_by_error_codes() {
        for [one, other] in [
            ["upload: the server returned 403", "upload: the server returned 502"],
            ["PUT /v2/items -> 409", "PUT /v2/items -> 500"],
            ["pipeline error 0xC0010001 in Sort", "pipeline error 0xC0010009 in Sort"],
            ["IDX10205: token rejected", "IDX10223: token rejected"],
            ["Acme JDBC: [17]: refused", "Acme JDBC: [41]: refused"],
            ["Msg 229, Level 14, State 5: no", "Msg 515, Level 14, State 5: no"],
            ["SQL Error [1062] while loading", "SQL Error [1406] while loading"],
            ["Cannot log in. (4060)", "Cannot log in. (4064)"],
            ["(2013, \"Lost connection to the server\")", "(1205, \"Lost connection to the server\")"],
            ["421 4.7.0 mail refused", "554 5.7.1 mail refused"],
            ["driver code 112 on write", "driver code 121 on write"],
            ["snow 000606 (57P03): no", "snow 002043 (02000): no"],
        ] {
            different(one, other);
        }
    }

    #[test]
    fn causes_are_distinguished_by_missing_names() {
        for [one, other] in [
            ["KeyError: 'region'", "KeyError: 'price'"],
            ["No module named 'numpy'", "No module named 'lxml'"],
            ["relation \"stock\" does not exist", "relation \"shops\" does not exist"],
            [
                "Object 'RAW.STOCK' does not exist or not authorized.",
                "Object 'RAW.SHOPS' does not exist or not authorized.",
            ],
            [
                "null value in column \"sku\" violates not-null constraint",
                "null value in column \"ean\" violates not-null constraint",
            ],
            [
                "Cannot read properties of undefined (reading 'lines')",
                "Cannot read properties of undefined (reading 'sum')",
            ],
            ["ORA-00942: table or view does not exist: STOCK", "ORA-00942: table or view does not exist: SHOPS"],
            ["ORA-00904: \"SKU\": invalid identifier", "ORA-00904: \"EAN\": invalid identifier"],
            ["Missing column SKU in the file of today", "Missing column EAN in the file of today"],
        ] {
            different(one, other);
        }
        same(&["relation \"tmp_20261127\" does not exist", "relation \"tmp_20261128\" does not exist"]);
    }

    #[test]
    fn where_it_happened_is_no_part_of_a_cause() {
        same(&["java.net.UnknownHostException: pg-a.acme.com", "java.net.UnknownHostException: kafka7.eu.acme.com"]);
        same(&[
            "ssh: connect to host gamma port 22: No route to host",
            "ssh: connect to host delta.acme.net port 2222: No route to host",
        ]);
        same(&["Connection refused: stock-svc:8080", "Connection refused: shop.acme.com:8443"]);
        same(&["pod load-6d4c9f7b8-x2x9q was evicted", "pod copy-7f5d8c9b4-q7zkp was evicted"]);
        same(&["denied (Request ID: 8N2X9; Host ID: aa/bX9=)", "denied (Request ID: QWERTZ; Host ID: Zm+Y/1=)"]);
        same(&["550 5.1.1 <kim@acme.com>: unknown", "550 5.1.1 <a.b@x.org>: unknown"]);
        same(&["no access to \\\\srv1\\share\\a.csv", "no access to \\\\nas\\b.csv"]);
    }

    #[test]
    fn the_same_cause_in_the_words_of_several_drivers_is_one() {
        same(&[
            "ORA-01017: invalid username/password; logon denied",
            "java.sql.SQLException: ORA-01017: invalid username/password; logon denied",
            "oracle.jdbc.OracleDatabaseException: ORA-01017: ungültiger Benutzername/ungültiges Kennwort; Anmeldung abgelehnt",
        ]);
        same(&["ERROR: deadlock detected", "org.postgresql.util.PSQLException: ERROR: deadlock detected"]);
        same(&["java.net.ConnectException: Connection refused (Connection refused)", "Connection refused"]);
        same(&["OSError: [Errno 28] No space left on device", "java.io.IOException: No space left on device"]);
        different("ORA-20001: no price for a shop", "ORA-20001: no shop for a price");
    }

    #[test]
    fn what_only_looks_like_a_code_is_a_value() {
        same(&["read 412 rows of 500", "read 97 rows of 12"]);
        same(&["batch ORDERS20261127 is late", "batch ORDERS20261128 is late"]);
        same(&["panic at 0xc000123456: gone", "panic at 0xc000fedcba: gone"]);
        same(&["Duplicate entry '4711-DE' for key 'stock.PRIMARY'", "Duplicate entry '9-FR' for key 'stock.PRIMARY'"]);
    }

    #[test]
    fn any_text_has_a_cause() {
        for text in ["", "'", "\"'", "(", ": ", "\u{e000}", "é'é'", "0x", "(1, '", "@", "\\\\", "a:1", "'a'.'", "ORA-"]
        {
            Cause::of(text);
        }
    }
}
