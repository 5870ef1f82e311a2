//! Ids: a run is a UUID; tasks, workspaces and environments are 24 hexadecimal digits.
//!
//! Source: the vendor's examples (processing and orchestration APIs).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Random, hex};

/// What is wrong with a text that should be an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        // An id that is wrong may be anything at all, so only its beginning is repeated.
        Self { text: text.chars().take(64).collect(), expected }
    }
}

/// The ID of a run (called execution ID in the API): a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = "uuid", example = "7b2b122e-d6b8-42de-b0ba-fa2f0d36306e")]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// The first of all ids in their order.
    pub const LEAST: Self = Self(uuid::Uuid::nil());
    /// The last of all ids in their order.
    pub const GREATEST: Self = Self(uuid::Uuid::max());

    /// A new id from random bytes.
    pub fn random(random: &dyn Random) -> Self {
        Self(random.uuid())
    }

    /// The id that is as far from [`RunId::GREATEST`] as this one is from [`RunId::LEAST`]: the order of mirrored ids is
    /// reversed.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self(uuid::Uuid::from_u128(!self.0.as_u128()))
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // The hyphenated form alone: a run has one name.
        match text.len() {
            36 => uuid::Uuid::try_parse(text).map(Self).map_err(|_| IdError::new(text, "a run id (a UUID)")),
            _ => Err(IdError::new(text, "a run id (a UUID)")),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl TryFrom<String> for RunId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

/// The beginning of the ID of a run: 4 to 32 hexadecimal digits, with the hyphens of a UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdPrefix(String);

impl RunIdPrefix {
    /// Fewest digits: with less, too many runs share them.
    const DIGITS_MIN: usize = 4;
    const DIGITS_MAX: usize = 32;

    /// The beginning of an ID, in lower case and with hyphens.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunIdPrefix {
    type Err = IdError;

    /// Reads it in any case, and with any hyphens or none.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::new(text, "the beginning of a run id (4 to 32 hexadecimal digits)");
        let mut prefix = String::new();
        let mut digits = 0;
        for character in text.chars().filter(|character| *character != '-') {
            if !character.is_ascii_hexdigit() || digits == Self::DIGITS_MAX {
                return Err(error());
            }
            if [8, 12, 16, 20].contains(&digits) {
                prefix.push('-');
            }
            prefix.push(character.to_ascii_lowercase());
            digits += 1;
        }
        if digits < Self::DIGITS_MIN {
            return Err(error());
        }
        Ok(Self(prefix))
    }
}

impl fmt::Display for RunIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = "^[0-9a-f]{24}$", example = "57f64991e4b0b689a64feed0")]
        pub struct $name([u8; 12]);

        impl $name {
            /// A new id from random bytes.
            pub fn random(random: &dyn Random) -> Self {
                let mut bytes = [0; 12];
                random.fill(&mut bytes);
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                bytes_of_hex(text).map(Self).ok_or_else(|| IdError::new(text, $expected))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

hex_id!(
    /// The ID of a task: 24 hexadecimal digits. The orchestration API calls it `executable`.
    TaskId,
    "a task id (24 hexadecimal digits)"
);
hex_id!(
    /// The ID of a workspace: 24 hexadecimal digits.
    WorkspaceId,
    "a workspace id (24 hexadecimal digits)"
);
hex_id!(
    /// The ID of an environment: 24 hexadecimal digits.
    EnvironmentId,
    "an environment id (24 hexadecimal digits)"
);

fn bytes_of_hex(text: &str) -> Option<[u8; 12]> {
    hex::decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_task_id(text: &str, expected: Option<&str>) {
        assert_eq!(text.parse::<TaskId>().ok().map(|id| id.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_task_id_is_24_hexadecimal_digits() {
        check_task_id("57f64991e4b0b689a64feed0", Some("57f64991e4b0b689a64feed0"));
        check_task_id("57F64991E4B0B689A64FEED0", Some("57f64991e4b0b689a64feed0"));
        check_task_id("57f64991e4b0b689a64feed", None);
        check_task_id("57f64991e4b0b689a64feedg", None);
        check_task_id("../../../../etc/passwd00", None);
        check_task_id("", None);
    }

    #[test]
    fn a_run_id_has_one_form() {
        assert!("7b2b122e-d6b8-42de-b0ba-fa2f0d36306e".parse::<RunId>().is_ok());
        assert!("7b2b122ed6b842deb0bafa2f0d36306e".parse::<RunId>().is_err());
        assert!("{7b2b122e-d6b8-42de-b0ba-fa2f0d36306e}".parse::<RunId>().is_err());
    }

    #[test]
    fn an_error_repeats_the_beginning_of_the_text_only() {
        let error = "x".repeat(1000).parse::<RunId>().unwrap_err().to_string();
        assert!(error.len() < 120, "{error}");
    }

    #[test]
    fn the_beginning_of_a_run_id_has_4_to_32_digits_in_any_form() {
        let prefix = |text: &str| text.parse::<RunIdPrefix>().ok().map(|prefix| prefix.to_string());
        let id = "7b2b122e-d6b8-42de-b0ba-fa2f0d36306e";
        let plain = id.replace('-', "");
        for digits in 4..=32 {
            let found = prefix(&plain[..digits].to_uppercase()).unwrap();
            assert!(id.starts_with(&found), "{found}");
            assert_eq!(found.replace('-', "").len(), digits);
        }
        assert_eq!(prefix("7b-2b").as_deref(), Some("7b2b"));
        assert_eq!(
            ["7b2", "", "7b2g", "----", format!("{plain}0").as_str()].map(prefix),
            [None, None, None, None, None]
        );
    }

    #[test]
    fn mirrored_ids_are_in_the_reverse_order() {
        let id: RunId = "7b2b122e-d6b8-42de-b0ba-fa2f0d36306e".parse().unwrap();
        assert_eq!(id.mirrored().mirrored(), id);
        assert_eq!(RunId::LEAST.mirrored(), RunId::GREATEST);
        assert!(RunId::LEAST < id && id < RunId::GREATEST && RunId::LEAST < id.mirrored());
        assert!(id.mirrored() > id, "it begins with a digit below 8");
    }
}
