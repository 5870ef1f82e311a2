//! An entry of the audit logs of a tenant: what somebody did in the consoles and APIs of Talend Cloud.
//!
//! The fields are those of the vendor's file (`audit-logs/2021-03`) and, for `accountId`, of its guide. Everything else that
//! an entry has is kept as well, because the entry is kept to the letter.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

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
    /// When it was registered (`timestamp`); `None` if it does not say that.
    pub time: Option<Timestamp>,
    /// What it says.
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
    /// What the event is about, such as service accounts (`eventCategory`).
    pub event_category: Option<String>,
    /// The type of the event, such as `security` (`eventType`).
    pub event_type: Option<String>,
    /// What was done, such as `create` (`eventOperation`).
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

/// The fields of the vendor's file, whatever their types.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    log_id: Option<Value>,
    timestamp: Option<Value>,
    request_id: Option<Value>,
    account_id: Option<Value>,
    application_id: Option<Value>,
    event_category: Option<Value>,
    event_type: Option<Value>,
    event_operation: Option<Value>,
    user_id: Option<Value>,
    username: Option<Value>,
    email: Option<Value>,
    client_ip: Option<Value>,
    request: Option<Value>,
    response: Option<Value>,
}

impl TenantAuditLog {
    /// Reads an entry; `None` if it is not a JSON object.
    pub fn read(body: Box<RawValue>) -> Option<Self> {
        let fields: Fields = serde_json::from_str(body.get()).ok()?;
        let part = |whole: &Option<Value>, name: &str| text(whole.as_ref().and_then(|whole| whole.get(name)));
        let id = fields.log_id.as_ref().and_then(Value::as_str).map(str::trim);
        Some(Self {
            id: id.filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).map(str::to_owned),
            time: fields.timestamp.as_ref().and_then(time),
            fields: TenantAuditFields {
                request_id: text(fields.request_id.as_ref()),
                account_id: text(fields.account_id.as_ref()),
                application_id: text(fields.application_id.as_ref()),
                event_category: text(fields.event_category.as_ref()),
                event_type: text(fields.event_type.as_ref()),
                event_operation: text(fields.event_operation.as_ref()),
                user_id: text(fields.user_id.as_ref()),
                username: text(fields.username.as_ref()),
                email: text(fields.email.as_ref()),
                client_ip: text(fields.client_ip.as_ref()),
                method: part(&fields.request, "method"),
                url: part(&fields.request, "url"),
                user_agent: part(&fields.request, "userAgent"),
                status: part(&fields.response, "code"),
            },
            body,
        })
    }
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
    fn long_fields_are_shortened() {
        let long = "é".repeat(600);
        let entry = read(&format!(r#"{{"username":"{long}","logId":"{long}"}}"#)).unwrap();
        assert_eq!(entry.fields.username.unwrap().chars().count(), 512);
        assert_eq!(entry.id, None);
    }
}
