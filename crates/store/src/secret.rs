//! Secrets of callers: generated here, and stored as hashes.
//!
//! A secret is a prefix that names its kind, 24 random bytes in hexadecimal, and a checksum, so that a mistyped or
//! truncated one is recognised without asking the catalog. It has 192 random bits, so a plain SHA-256 is safe: slow
//! password hashes guard against guessing, which is not feasible here.

use runlog_model::{Random, hex};
use sha2::{Digest, Sha256};

/// The prefix of personal access tokens.
pub(crate) const TOKEN: &str = "rlp_";
/// The prefix of service account secrets.
pub(crate) const ACCOUNT_SECRET: &str = "rls_";
/// The prefix of sessions.
pub(crate) const SESSION: &str = "rlw_";

/// A new secret of the kind that `prefix` names.
pub(crate) fn generate(prefix: &str, random: &dyn Random) -> String {
    let mut bytes = [0; 24];
    random.fill(&mut bytes);
    let body = format!("{prefix}{}", hex::encode(bytes));
    let checksum = checksum(&body);
    body + &checksum
}

/// True when `secret` has the prefix and its own checksum.
pub(crate) fn is_well_formed(prefix: &str, secret: &str) -> bool {
    secret.is_ascii()
        && secret.len() == prefix.len() + 56
        && secret.starts_with(prefix)
        && checksum(&secret[..prefix.len() + 48]) == secret[prefix.len() + 48..]
}

/// What the catalog stores of a secret.
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
