//! The body of every error.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every error. Source: the vendor's `ErrorResponse`; only `status` is required there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The HTTP status.
    pub status: u16,
    /// The message for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Details: where it happened, and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// ID of the request, which is also in the log of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The kind of failure, where the status leaves it open: `damaged` if stored data cannot be read. A request that
    /// was answered with it fails again until the data is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The `code` of a failure to read stored data that is damaged or missing.
pub const DAMAGED: &str = "damaged";
