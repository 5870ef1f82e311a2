//! The secrets of callers, which are generated here and stored as hashes.
//!
//! A secret consists of a prefix that identifies its kind, 24 random bytes in hexadecimal, and a checksum, so that a
//! mistyped or truncated secret is recognised without a query. A plain SHA-256 is safe because a secret has 192 random
//! bits: slow password hashes protect against guessing, which is not feasible here.

use runlog_model::{Random, hex};
use sha2::{Digest, Sha256};

/// The prefix of personal access tokens.
pub(crate) const TOKEN: &str = "rlp_";
/// The prefix of service account secrets.
pub(crate) const ACCOUNT_SECRET: &str = "rls_";
/// The prefix of sessions.
pub(crate) const SESSION: &str = "rlw_";

/// Generates a secret with this prefix.
pub(crate) fn generate(prefix: &str, random: &dyn Random) -> String {
    let mut bytes = [0; 24];
    random.fill(&mut bytes);
    let body = format!("{prefix}{}", hex::encode(bytes));
    let checksum = checksum(&body);
    body + &checksum
}

/// Returns true if `secret` has the prefix and its checksum is correct.
pub(crate) fn is_well_formed(prefix: &str, secret: &str) -> bool {
    secret.is_ascii()
        && secret.len() == prefix.len() + 56
        && secret.starts_with(prefix)
        && checksum(&secret[..prefix.len() + 48]) == secret[prefix.len() + 48..]
}

/// Returns the hash of a secret, as stored in the catalog.
pub(crate) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

fn checksum(body: &str) -> String {
    hex::encode(&Sha256::digest(body)[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
        }
    }

    #[test]
    fn a_mistyped_secret_is_known_at_once() {
        let secret = generate(TOKEN, &Counting);
        assert!(is_well_formed(TOKEN, &secret));
        assert!(!is_well_formed(ACCOUNT_SECRET, &secret));
        assert!(!is_well_formed(TOKEN, &secret[..secret.len() - 1]));
        assert!(!is_well_formed(TOKEN, &secret.replace("01", "10")));
        assert!(!is_well_formed(TOKEN, "rlp_é"));
    }
}
