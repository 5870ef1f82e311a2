//! Bodies of `POST /security/oauth/token`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Request of a service account for an access token. Source: the vendor's OAuth file, where `audience` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    #[schema(pattern = "^client_credentials$")]
    pub grant_type: String,
    /// Base URL of the API, with or without a trailing slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// The response. `expires_in` is a number of seconds, or the same as a string, depending on a setting.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds until it expires.
    pub expires_in: serde_json::Value,
}
