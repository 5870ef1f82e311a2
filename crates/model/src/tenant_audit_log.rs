//! An entry of the audit logs of a tenant: what somebody did in the consoles and APIs of Talend Cloud.
//!
//! The fields are those of the vendor's file (`audit-logs/2021-03`) and, for `accountId`, of its guide. Everything else
//! that an entry has is kept as well, because the entry is kept to the letter. Only texts that no decoder accepts are
//! repaired.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::repair::repair_texts;
use crate::{LogTime, LogZone, Timestamp};

/// Longest text of a field that is read. Longer ones are shortened; the entry itself is not. Unit: characters.
const FIELD_CHARS_MAX: usize = 512;

/// Longest ID of an entry. Unit: bytes.
const ID_BYTES_MAX: usize = 128;

/// An entry of the audit logs of a tenant.
#[derive(Debug, Clone)]
pub struct TenantAuditLog {
    /// The ID that its service gave it (`logId`, a UUID); `None` if it has none, or one of more than 128 bytes.
    pub id: Option<String>,
    /// When it was registered (`timestamp`); `None` if the entry has no time.
    pub time: Option<Timestamp>,
    /// The fields of the entry.
    pub fields: TenantAuditFields,
    /// The entry to the letter: a JSON object.
    pub body: Box<RawValue>,
}

/// The fields of an entry, of at most 512 characters each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantAuditFields {
    /// The request (`requestId`).
    pub request_id: Option<String>,
    /// The account of the tenant (`accountId`).
    pub account_id: Option<String>,
    /// The application, such as `TMC` (`applicationId`).
    pub application_id: Option<String>,
    /// The subject of the event, such as service accounts (`eventCategory`).
    pub event_category: Option<String>,
    /// The type of the event, such as `security` (`eventType`).
    pub event_type: Option<String>,
    /// The operation, such as `create` (`eventOperation`).
    pub event_operation: Option<String>,
    /// The user's technical ID (`userId`).
    pub user_id: Option<String>,
    /// The user's name (`username`).
    pub username: Option<String>,
    /// The user's mail address (`email`).
    pub email: Option<String>,
    /// The addresses of the client (`clientIp`); several if it used proxies, or forged some.
    pub client_ip: Option<String>,
    /// The method of the request (`request.method`).
    pub method: Option<String>,
    /// The URL of the request (`request.url`).
    pub url: Option<String>,
    /// The program that sent the request (`request.userAgent`).
    pub user_agent: Option<String>,
    /// The HTTP status of the response (`response.code`).
    pub status: Option<String>,
}

/// The values of an object by their names, each to the letter; of repeated names, the last one counts.
type Parts = BTreeMap<String, Box<RawValue>>;

impl TenantAuditLog {
    /// Reads an entry; `None` if it is not a JSON object. Fields that cannot be decoded do not affect the other fields.
    pub fn read(body: Box<RawValue>) -> Option<Self> {
        let body = repaired(body);
        let parts: Parts = serde_json::from_str(body.get()).ok()?;
        let value = |name: &str| value_of(&parts, name);
        let own = |name: &str| text(value(name).as_ref());
        let part = |whole: &str, name: &str| {
            let parts: Parts = serde_json::from_str(parts.get(whole)?.get()).ok()?;
            text(value_of(&parts, name).as_ref())
        };
        let id = value("logId").and_then(|id| id.as_str().map(|id| id.trim().to_owned()));
        Some(Self {
            id: id.filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX),
            time: value("timestamp").as_ref().and_then(time),
            fields: TenantAuditFields {
                request_id: own("requestId"),
                account_id: own("accountId"),
                application_id: own("applicationId"),
                event_category: own("eventCategory"),
                event_type: own("eventType"),
                event_operation: own("eventOperation"),
                user_id: own("userId"),
                username: own("username"),
                email: own("email"),
                client_ip: own("clientIp"),
                method: part("request", "method"),
                url: part("request", "url"),
                user_agent: part("request", "userAgent"),
                status: part("response", "code"),
            },
            body,
        })
    }
}

/// The values of a stored entry by their names; `None` if it is not an object. A value that does not decode, such as
/// one that is nested too deep, is replaced by its text.
pub fn values_of(body: &RawValue) -> Option<Map<String, Value>> {
    if let Ok(whole) = serde_json::from_str(body.get()) {
        return Some(whole);
    }
    let parts: Parts = serde_json::from_str(body.get()).ok()?;
    let values = parts.into_iter().map(|(name, part)| {
        let value = serde_json::from_str(part.get()).unwrap_or_else(|_| Value::String(part.get().to_owned()));
        (name, value)
    });
    Some(values.collect())
}

/// The entry to the letter; if it does not decode, with its texts repaired.
fn repaired(body: Box<RawValue>) -> Box<RawValue> {
    if serde_json::from_str::<Map<String, Value>>(body.get()).is_ok() {
        return body;
    }
    let json = String::from_utf8(repair_texts(body.get().as_bytes()).json).ok();
    json.and_then(|json| RawValue::from_string(json).ok()).unwrap_or(body)
}

fn value_of(parts: &Parts, name: &str) -> Option<Value> {
    serde_json::from_str(parts.get(name)?.get()).ok()
}

/// A time; one without a zone is UTC.
fn time(value: &Value) -> Option<Timestamp> {
    let precise = value.as_str().and_then(|text| text.trim().parse::<Timestamp>().ok());
    precise.or_else(|| LogTime::read(value, &LogZone::default()).map(|at| at.time))
}

/// A text, or a number or truth value as one; none when empty.
fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.trim().to_owned(),
        other @ (Value::Number(_) | Value::Bool(_)) => other.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let end = text.char_indices().nth(FIELD_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    Some(text[..end].to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<TenantAuditLog> {
        TenantAuditLog::read(RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn an_entry_is_read_and_kept_to_the_letter() {
        let json = r#"{"timestamp":"2026-11-30T09:15:02.1234Z","logId":"0d4f6b1a-56a1-4b52-9d0e-0c1d6a2f7e11", "later":{"a":1.0},
            "username":"kim","eventType":"security","request":{"method":"POST","url":"https://x/y","body":"{}"},"response":{"code":"201"}}"#;
        let entry = read(json).unwrap();
        assert_eq!(entry.body.get(), json);
        assert_eq!(entry.id.as_deref(), Some("0d4f6b1a-56a1-4b52-9d0e-0c1d6a2f7e11"));
        assert_eq!(entry.time.map(|at| at.to_string()).as_deref(), Some("2026-11-30T09:15:02.123Z"));
        let expected = TenantAuditFields {
            username: Some("kim".to_owned()),
            event_type: Some("security".to_owned()),
            method: Some("POST".to_owned()),
            url: Some("https://x/y".to_owned()),
            status: Some("201".to_owned()),
            ..TenantAuditFields::default()
        };
        assert_eq!(entry.fields, expected);
    }

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let entry = read(r#"{"timestamp":"2026-11-30T09:15:02.1234"}"#).unwrap();
        assert_eq!(entry.time.map(|at| at.to_string()).as_deref(), Some("2026-11-30T09:15:02.123Z"));
    }

    #[test]
    fn fields_of_other_types_are_no_reason_to_lose_an_entry() {
        let entry =
            read(r#"{"timestamp":"soon","logId":7,"userId":12,"request":"GET","response":{"code":200}}"#).unwrap();
        assert_eq!((entry.id, entry.time), (None, None));
        assert_eq!((entry.fields.user_id.as_deref(), entry.fields.status.as_deref()), (Some("12"), Some("200")));
        assert!(read("[1]").is_none() && read("7").is_none());
    }

    #[test]
    fn a_text_that_is_not_whole_is_repaired_wherever_it_is() {
        for name in ["note", "username", "request"] {
            let entry = read(&format!(r#"{{"logId":"x-1","{name}":"a\ud800b","email":"kim"}}"#)).unwrap();
            assert_eq!((entry.id.as_deref(), entry.fields.email.as_deref()), (Some("x-1"), Some("kim")), "{name}");
            assert_eq!(values_of(&entry.body).unwrap()[name], "a\u{fffd}b", "{name}");
        }
    }

    #[test]
    fn what_does_not_decode_leaves_the_rest() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for odd in ["1e999", &deep] {
            let json = format!(
                r#"{{"logId":"x-1","timestamp":"2026-11-30T09:15:02Z","userId":{odd},"note":{odd},
                    "request":{{"body":{odd},"method":"GET"}}}}"#
            );
            let entry = read(&json).unwrap();
            assert_eq!((entry.id.as_deref(), entry.time.is_some(), entry.body.get()), (Some("x-1"), true, &*json));
            assert_eq!((entry.fields.method.as_deref(), entry.fields.user_id), (Some("GET"), None));
            let values = values_of(&entry.body).unwrap();
            assert_eq!((values["note"].as_str(), values["logId"].as_str()), (Some(odd), Some("x-1")));
        }
        let repeated = read(r#"{"username":"kim","username":"lee"}"#).unwrap();
        assert_eq!(repeated.fields.username.as_deref(), Some("lee"));
    }

    #[test]
    fn long_fields_are_shortened() {
        let long = "é".repeat(600);
        let entry = read(&format!(r#"{{"username":"{long}","logId":"{long}"}}"#)).unwrap();
        assert_eq!(entry.fields.username.unwrap().chars().count(), 512);
        assert_eq!(entry.id, None);
    }
}
