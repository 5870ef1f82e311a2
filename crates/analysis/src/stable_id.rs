//! IDs that are the same in every run, derived from the content that they identify.

use std::fmt;
use std::str::FromStr;

use runlog_model::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The first 8 bytes of the SHA-256 of a text, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{16}$", example = "ba7816bf8f01cfea")]
pub struct StableId([u8; 8]);

/// The error for a text that is not a stable ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the ID of a pattern or of a group of stack traces (16 lower-case hexadecimal digits)")]
pub struct InvalidStableId(String);

impl StableId {
    /// Returns the ID for a text.
    pub fn of(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl fmt::Display for StableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for StableId {
    type Err = InvalidStableId;

    fn from_str(text: &str) -> Result<Self, InvalidStableId> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or_else(|| InvalidStableId(text.to_owned()))
    }
}

impl Serialize for StableId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StableId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_beginning_of_the_sha_256() {
        // `printf abc | sha256sum`
        assert_eq!(StableId::of("abc").to_string(), "ba7816bf8f01cfea");
        assert_eq!("ba7816bf8f01cfea".parse(), Ok(StableId::of("abc")));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "ba7816bf8f01cfe", "BA7816BF8F01CFEA", "+a7816bf8f01cfea", "ba7816bf8f01cfeaa"] {
            assert!(text.parse::<StableId>().is_err(), "{text}");
        }
    }
}
