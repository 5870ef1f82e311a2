//! Encrypts the refresh token of a session with a key that is derived from the session's cookie: whoever reads the catalog
//! or a backup of it cannot use the token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runlog_model::Random;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The encrypted token, for the archive. None if it cannot be encrypted, which does not happen.
pub(crate) fn encrypt(session: &str, token: &SecretString, random: &dyn Random) -> Option<String> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce);
    let mut bytes = token.expose_secret().as_bytes().to_vec();
    let sealed = key(session)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes);
    sealed.ok()?;
    Some(STANDARD.encode([&nonce[..], &bytes].concat()))
}

/// The token; none if it was encrypted for another session or is damaged.
pub(crate) fn decrypt(session: &str, encrypted: &str) -> Option<SecretString> {
    let mut bytes = STANDARD.decode(encrypted).ok()?;
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key(session)?.open_in_place(nonce, Aad::empty(), sealed).ok()?;
    Some(SecretString::from(std::str::from_utf8(plain).ok()?.to_owned()))
}

/// The session has 192 random bits, so a plain hash is a key.
fn key(session: &str) -> Option<LessSafeKey> {
    let bytes = Sha256::new().chain_update("runlog refresh token\0").chain_update(session).finalize();
    UnboundKey::new(&AES_256_GCM, &bytes).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn only_the_session_yields_the_token() {
        let token = SecretString::from("refresh".to_owned());
        let encrypted = encrypt("rlw_a", &token, &Fixed).unwrap();
        assert!(!encrypted.contains("refresh"));
        assert_eq!(decrypt("rlw_a", &encrypted).unwrap().expose_secret(), "refresh");
        assert!(decrypt("rlw_b", &encrypted).is_none());
        assert!(decrypt("rlw_a", &encrypted[..12]).is_none());
    }
}
