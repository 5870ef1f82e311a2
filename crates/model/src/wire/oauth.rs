//! Bodies of `POST /security/oauth/token`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a service account asks for. Source: the vendor's OAuth file; `audience` is required there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    #[schema(pattern = "^client_credentials$")]
    pub grant_type: String,
    /// The API's base address, with or without a slash at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// The answer. `expires_in` is a number of seconds, or the same as a string where a setting asks for it.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds until it expires.
    pub expires_in: serde_json::Value,
}
