//! Bodies of `/runlog/v1/sign-in`: signing in with an identity provider.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The ways of signing in, besides tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInBody {
    /// The identity provider; absent if none is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<IdentityProviderBody>,
}

/// The identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityProviderBody {
    /// Its name, for people.
    pub name: String,
    /// The path that sends a browser there.
    pub path: String,
}

/// A device flow in progress: the user opens the address in any browser and enters the code. Source: RFC 8628.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSignInBody {
    /// The secret that is exchanged for a token when the user has signed in.
    pub device_code: String,
    /// The code for the user.
    pub user_code: String,
    /// The address for the user.
    pub verification_uri: String,
    /// The verification address with the code as a parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// How long the codes are valid. Unit: seconds.
    pub expires_in: u64,
    /// How long to wait between two requests for the token. Unit: seconds.
    pub interval: u64,
}

/// `POST /runlog/v1/sign-in/device/token`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceTokenRequest {
    /// The secret of the device flow.
    #[schema(max_length = 4096)]
    pub device_code: String,
    /// What the token is for, such as the name of the machine.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
}

/// The state of a device flow.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTokenBody {
    /// True until the user has signed in.
    pub pending: bool,
    /// True if the client must wait five seconds longer between requests from now on.
    pub slow_down: bool,
    /// A personal access token; absent while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of the user; absent while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When the token expires; absent while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Timestamp>,
}
