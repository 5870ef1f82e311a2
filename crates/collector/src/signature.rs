//! Signatures of webhook requests.

use hmac::{Hmac, KeyInit, Mac};
use runlog_model::hex;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// `v1=` and the hex digits of the HMAC-SHA256 of `timestamp.body`.
pub fn signature(secret: &SecretString, seconds: &str, body: &[u8]) -> String {
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) {
        Ok(mac) => mac,
        // Keys of any length are valid.
        Err(error) => unreachable!("{error}"),
    };
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_timestamp_and_the_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let expected = "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163";
        assert_eq!(signature(&SecretString::from("secret"), "1700000000", b"{}"), expected);
    }
}
