//! The audit logs of tenants: the headers of the vendor's path, and the bodies of the search.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::Timestamp;

/// Header of a page: whether it is the first.
pub const PAGE_FIRST: &str = "page-first";
/// Header of a page: whether it is the last.
pub const PAGE_LAST: &str = "page-last";
/// Header of a page: its number, starting at 1.
pub const PAGE_NUMBER: &str = "page-number";
/// Header of a page: how many entries it has.
pub const PAGE_TOTAL_ELEMENTS: &str = "page-total-elements";
/// Header of a page: how many entries all pages have.
pub const TOTAL_ELEMENTS: &str = "total-elements";
/// Header of a page: how many pages there are.
pub const TOTAL_PAGES: &str = "total-pages";

/// An entry of the audit logs of a tenant. Fields that the entry does not have are absent; long ones are shortened to
/// 512 characters, and `entry` has them whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantAuditLogBody {
    /// ID assigned by the service or, if there is none, derived from the text of the entry.
    pub log_id: String,
    /// When it was registered; when it was stored, if the entry does not say that.
    pub time: Timestamp,
    /// The upstream that it comes from.
    pub upstream: String,
    /// When it was stored here.
    pub stored_at: Timestamp,
    /// The application, such as `TMC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// What the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_category: Option<String>,
    /// The type of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_operation: Option<String>,
    /// The technical ID of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The name of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The mail address of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The addresses of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The method of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The HTTP status of the response, as its service wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The entry as its service wrote it, with all of its fields.
    #[schema(value_type = Object)]
    pub entry: Map<String, Value>,
}

/// An entry of the audit logs of the tenant, as Talend Cloud describes it. Other fields are returned unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VendorAuditLog {
    /// When it was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// ID of the entry, a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// ID of the request, a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The account of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// What the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_category: Option<String>,
    /// The type of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_operation: Option<String>,
    /// The addresses of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The technical ID of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The name of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The mail address of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The request: `url`, `method`, `userAgent` and `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub request: Option<Map<String, Value>>,
    /// The response: `code` and `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub response: Option<Map<String, Value>>,
}
