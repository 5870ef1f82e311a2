//! The form of a recording: a conversation of a program with the service, as facts in TOML.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::exchanges::wire::{Framing, Request};

/// Names that have a value before the first exchange.
pub(super) const GIVEN: [&str; 10] =
    ["host", "run", "task", "workspace", "token", "token_basic", "publisher", "client", "secret", "client_basic"];

/// In the head of a request: the length of its body. Unit: bytes.
const LENGTH: &str = "length";

/// Values by their names.
pub(super) type Values = BTreeMap<String, String>;

/// A conversation of a program with the service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    program: String,
    /// How the form of its requests is known.
    source: String,
    #[serde(rename = "exchange")]
    pub(super) exchanges: Vec<Exchange>,
}

/// A request, and what the program reads in the response.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    /// What happens, in a sentence.
    pub(super) fact: String,
    /// The head of the request, with a line for each line.
    request: String,
    body: Option<String>,
    /// A body that is not text.
    body_base64: Option<String>,
    /// A body of chunks.
    chunks: Option<Vec<String>>,
    /// The body is compressed.
    #[serde(default)]
    gzip: bool,
    /// The program repeats the request while the response has the status `IN_PROGRESS`.
    #[serde(default)]
    pub(super) poll: bool,
    /// How far the clock of the service advances before this exchange.
    #[serde(default)]
    pub(super) advance_seconds: i64,
    /// The program opens another connection.
    #[serde(default)]
    pub(super) new_connection: bool,
    pub(super) expect: Expectation,
    /// Values of the response by the names that later exchanges use.
    #[serde(default)]
    pub(super) capture: BTreeMap<String, Source>,
}

/// What the program relies on in a response. All texts may contain placeholders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    pub(super) status: u16,
    /// Values by the names of their headers; `*` is any value.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) absent_headers: Vec<String>,
    pub(super) framing: Option<Framing>,
    /// Values by their JSON pointers.
    #[serde(default)]
    pub(super) json: BTreeMap<String, Value>,
    /// Types by JSON pointers.
    #[serde(default)]
    pub(super) json_types: BTreeMap<String, JsonType>,
    /// Numbers of elements by JSON pointers.
    #[serde(default)]
    pub(super) json_lengths: BTreeMap<String, usize>,
    /// JSON pointers without a value.
    #[serde(default)]
    pub(super) json_absent: Vec<String>,
    /// The whole body.
    pub(super) text: Option<String>,
    /// Parts of the body.
    #[serde(default)]
    pub(super) contains: Vec<String>,
    /// The length of the body. Unit: bytes.
    pub(super) bytes: Option<usize>,
}

/// A type that a program reads a value as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JsonType {
    Array,
    Boolean,
    /// A number without a fraction.
    Integer,
    Object,
    String,
}

impl JsonType {
    pub(super) fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Array => value.is_array(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Object => value.is_object(),
            Self::String => value.is_string(),
        }
    }
}

/// Where a captured value comes from: `/pointer` into the JSON body, or `header NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Source {
    Json(String),
    Header(String),
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("header ") {
            Some(name) => Ok(Self::Header(name.to_owned())),
            None if text.starts_with('/') => Ok(Self::Json(text)),
            None => Err(format!("{text:?} is neither a JSON pointer nor \"header NAME\"")),
        }
    }
}

impl Recording {
    /// A recording that is complete: each exchange has expectations, and each captured value is used.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let recording: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if recording.program.trim().is_empty() || recording.source.trim().is_empty() {
            return Err("program or source is empty".to_owned());
        }
        if recording.exchanges.is_empty() {
            return Err("there is no exchange".to_owned());
        }
        let mut facts = BTreeSet::new();
        for exchange in &recording.exchanges {
            let named = |why: String| format!("{:?}: {why}", exchange.fact);
            if exchange.fact.trim().is_empty() || !facts.insert(&exchange.fact) {
                return Err(named("the fact is empty or not unique".to_owned()));
            }
            exchange.check().map_err(named)?;
        }
        recording.check_names()?;
        Ok(recording)
    }

    /// Each placeholder has a value when it is reached, and each captured value is used before it is replaced.
    fn check_names(&self) -> Result<(), String> {
        let mut known: BTreeSet<&str> = GIVEN.into();
        let mut unused: BTreeSet<&str> = BTreeSet::new();
        for exchange in &self.exchanges {
            let named = |why: String| format!("{:?}: {why}", exchange.fact);
            for text in exchange.texts() {
                for name in names(&text).map_err(named)? {
                    unused.remove(name);
                    if name != LENGTH && !known.contains(name) {
                        return Err(named(format!("nothing before it captures {name:?}")));
                    }
                }
            }
            for name in exchange.capture.keys() {
                if GIVEN.contains(&name.as_str()) || name == LENGTH {
                    return Err(named(format!("{name:?} is given and cannot be captured")));
                }
                if !unused.insert(name) {
                    return Err(named(format!("the previous {name:?} was not used")));
                }
                known.insert(name);
            }
        }
        match unused.first() {
            Some(name) => Err(format!("{name:?} is captured and never used")),
            None => Ok(()),
        }
    }
}

impl Exchange {
    fn check(&self) -> Result<(), String> {
        if self.expect.is_of_status_only() {
            return Err("nothing is expected but a status".to_owned());
        }
        let mut lines = self.request.trim_end_matches('\n').split('\n');
        let first = lines.next().unwrap_or_default();
        let is_request =
            first.split(' ').count() == 3 && (first.ends_with(" HTTP/1.1") || first.ends_with(" HTTP/1.0"));
        if !is_request {
            return Err(format!("{first:?} is not a request line"));
        }
        let headers: Vec<String> = lines.map(str::to_ascii_lowercase).collect();
        if let Some(line) = headers.iter().find(|line| !line.contains(':')) {
            return Err(format!("{line:?} is not a header"));
        }
        let bodies = [self.body.is_some(), self.body_base64.is_some(), self.chunks.is_some()];
        let has_length = headers.iter().any(|line| line == "content-length: {{length}}");
        let is_chunked = headers.iter().any(|line| line == "transfer-encoding: chunked");
        match (bodies, has_length, is_chunked) {
            ([false, false, false], false, false) if !self.gzip => Ok(()),
            ([true, false, false] | [false, true, false], true, false) | ([false, false, true], false, true) => Ok(()),
            _ => {
                Err("the body does not fit the head: body and body_base64 need \"Content-Length: {{length}}\", chunks \
                      need \"Transfer-Encoding: chunked\", and without a body there is neither"
                    .to_owned())
            }
        }
    }

    /// The texts that may contain placeholders.
    fn texts(&self) -> Vec<String> {
        let expect = &self.expect;
        let sent = [Some(&self.request), self.body.as_ref()].into_iter().flatten().chain(self.chunks.iter().flatten());
        let received = expect.headers.values().chain(&expect.text).chain(&expect.contains).cloned();
        sent.cloned().chain(received).chain(expect.json.values().map(Value::to_string)).collect()
    }

    /// The request as it is sent.
    pub(super) fn to_request(&self, values: &Values) -> Result<Request, String> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        match (&self.body, &self.body_base64, &self.chunks) {
            (Some(text), _, _) => pieces.push(fill(text, values)?.into_bytes()),
            (_, Some(text), _) => pieces.push(STANDARD.decode(text.trim()).map_err(|error| error.to_string())?),
            (_, _, Some(chunks)) => {
                for chunk in chunks {
                    pieces.push(fill(chunk, values)?.into_bytes());
                }
            }
            _ => {}
        }
        if self.gzip {
            pieces = pieces.iter().map(|piece| gzip(piece)).collect();
        }
        let length = pieces.iter().map(Vec::len).sum::<usize>().to_string();
        if self.chunks.is_some() {
            for piece in &mut pieces {
                *piece = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            }
            pieces.push(b"0\r\n\r\n".to_vec());
        }
        let mut values = values.clone();
        values.insert(LENGTH.to_owned(), length);
        let head = fill(self.request.trim_end_matches('\n'), &values)?;
        Ok(Request::new(&head, pieces))
    }
}

impl Expectation {
    fn is_of_status_only(&self) -> bool {
        self.headers.is_empty()
            && self.absent_headers.is_empty()
            && self.framing.is_none()
            && self.json.is_empty()
            && self.json_types.is_empty()
            && self.json_lengths.is_empty()
            && self.json_absent.is_empty()
            && self.text.is_none()
            && self.contains.is_empty()
            && self.bytes.is_none()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}

/// `{{name}}` or `{{name|form}}` in a text.
struct Placeholder<'t> {
    before: &'t str,
    name: &'t str,
    form: Form,
    after: &'t str,
}

/// How a program writes a value.
#[derive(Clone, Copy)]
enum Form {
    AsItIs,
    /// With everything but unreserved characters percent-encoded.
    Percent,
    /// Of a URL, the path and the query.
    Target,
}

impl<'t> Placeholder<'t> {
    /// The first one of a text.
    fn first(text: &'t str) -> Result<Option<Self>, String> {
        let Some((before, rest)) = text.split_once("{{") else { return Ok(None) };
        let Some((inner, after)) = rest.split_once("}}") else { return Err("{{ without }}".to_owned()) };
        let (name, form) = match inner.split_once('|') {
            None => (inner, Form::AsItIs),
            Some((name, "percent")) => (name, Form::Percent),
            Some((name, "target")) => (name, Form::Target),
            Some((_, other)) => return Err(format!("{other:?} is neither percent nor target")),
        };
        Ok(Some(Self { before, name, form, after }))
    }
}

/// The names of the placeholders of a text.
fn names(mut text: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    while let Some(placeholder) = Placeholder::first(text)? {
        text = placeholder.after;
        names.push(placeholder.name);
    }
    Ok(names)
}

/// A text with values instead of its placeholders.
pub(super) fn fill(text: &str, values: &Values) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(Placeholder { before, name, form, after }) = Placeholder::first(rest)? {
        filled.push_str(before);
        let value = values.get(name).ok_or_else(|| format!("{name:?} has no value"))?;
        match form {
            Form::AsItIs => filled.push_str(value),
            Form::Percent => {
                for byte in value.bytes() {
                    match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                        true => filled.push(byte.into()),
                        false => filled.push_str(&format!("%{byte:02X}")),
                    }
                }
            }
            Form::Target => {
                let target = value.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
                filled.push_str(target.ok_or_else(|| format!("{name:?} is not a URL of plain HTTP: {value}"))?);
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}
