//! Verifies ID tokens and logout tokens. Source: OpenID Connect Core 1.0, 3.1.3.7; Back-Channel Logout 1.0, 2.6.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::auth::oidc::access::Claims;

/// Maximum difference between the clocks of the provider and of this machine. Unit: seconds.
const CLOCK_SKEW_MAX: i64 = 60;

/// The event of a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The issuer and the client that a token must be for, and the time at which it must be valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// The current time in seconds since 1970.
    pub(crate) now: i64,
}

/// The reason why a token is not accepted. Does not contain the token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// The keys may have been rotated.
    #[error("the token is signed with a key that the provider does not publish")]
    UnknownKey,
    /// The keys may have been rotated, under the same ID or without one.
    #[error("the signature of the token is not valid")]
    WrongSignature,
    #[error("{0}")]
    Invalid(&'static str),
}

/// The claims of an ID token, which must contain this nonce if one was sent.
pub(crate) fn id_token(
    token: &str,
    keys: &JwkSet,
    expected: Expected<'_>,
    nonce: Option<&str>,
) -> Result<Claims, TokenError> {
    let claims = signed(token, keys, expected)?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let expires = seconds("exp").ok_or(TokenError::Invalid("the ID token has no exp"))?;
    if expires + CLOCK_SKEW_MAX as f64 <= expected.now as f64 {
        return Err(TokenError::Invalid("the ID token has expired; compare the clocks"));
    }
    if nonce.is_some() && claims.get("nonce").and_then(Value::as_str) != nonce {
        return Err(TokenError::Invalid("the nonce of the ID token is not the one that was sent"));
    }
    match claims.get("sub").and_then(Value::as_str) {
        Some(subject) if !subject.is_empty() && subject.len() <= 255 => Ok(claims),
        _ => Err(TokenError::Invalid("the ID token has no valid sub")),
    }
}

/// The claims of a logout token: `sub`, `sid`, or both.
pub(crate) fn logout_token(token: &str, keys: &JwkSet, expected: Expected<'_>) -> Result<Claims, TokenError> {
    let claims = signed(token, keys, expected)?;
    let is_logout = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object);
    let text = |name: &str| claims.get(name).is_some_and(Value::is_string);
    let is_old =
        claims.get("exp").and_then(Value::as_f64).is_some_and(|at| at + CLOCK_SKEW_MAX as f64 <= expected.now as f64);
    match is_logout && !claims.contains_key("nonce") && !is_old && (text("sub") || text("sid")) {
        true => Ok(claims),
        false => Err(TokenError::Invalid("this is not a valid logout token")),
    }
}

/// The claims of a token with a valid signature, from this issuer, for this client, and not from the future.
fn signed(token: &str, keys: &JwkSet, expected: Expected<'_>) -> Result<Claims, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid("the token is not a JWT"))?;
    if !is_asymmetric(header.alg) {
        return Err(TokenError::Invalid("the token is not signed with a public-key algorithm"));
    }
    let mut validation = Validation::new(header.alg);
    // The library would use the system clock; this uses the injected clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let is_candidate = |key: &&Jwk| {
        is_for(key, header.alg) && header.kid.as_ref().is_none_or(|id| key.common.key_id.as_ref() == Some(id))
    };
    let mut candidates = keys.keys.iter().filter(is_candidate).peekable();
    if candidates.peek().is_none() {
        return Err(TokenError::UnknownKey);
    }
    let mut decoded = candidates.filter_map(|key| {
        let key = DecodingKey::from_jwk(key).ok()?;
        jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()
    });
    let claims = decoded.next().ok_or(TokenError::WrongSignature)?.claims;
    check_common(&claims, expected)?;
    Ok(claims)
}

fn check_common(claims: &Claims, expected: Expected<'_>) -> Result<(), TokenError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(TokenError::Invalid("the token is from another issuer"));
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(TokenError::Invalid("the token is for another client"));
    }
    let party = text("azp");
    if party.is_some_and(|party| party != expected.client_id) || (audience.len() > 1 && party.is_none()) {
        return Err(TokenError::Invalid("the token was issued to another client"));
    }
    let from = ["iat", "nbf"].map(|name| claims.get(name).and_then(Value::as_f64));
    if from[0].is_none() || from.iter().flatten().any(|at| *at > (expected.now + CLOCK_SKEW_MAX) as f64) {
        return Err(TokenError::Invalid("the token is not valid yet; compare the clocks"));
    }
    Ok(())
}

/// No algorithm with a shared secret: the client secret may be known to others, and public keys are.
fn is_asymmetric(algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512 | ES256 | ES384 | EdDSA)
}

fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA};
    let is_kind = match &key.algorithm {
        AlgorithmParameters::RSA(_) => !matches!(algorithm, ES256 | ES384 | EdDSA),
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, ES256 | ES384),
        AlgorithmParameters::OctetKeyPair(_) => algorithm == EdDSA,
        _ => false,
    };
    let named = key.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    is_kind && named && !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}
