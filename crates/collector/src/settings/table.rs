//! Reads a table of settings of which `kind` determines the names; errors name the setting.
//!
//! serde's own `tag` and `flatten` are not used: their errors contain neither the setting, and thus its line, nor
//! similar names.

use std::cell::RefCell;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess};
use serde_json::{Map, Value};

use super::names::names_of;

/// An error in a table of settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TableError {
    /// The setting with the error; none if a setting is missing.
    pub setting: Option<String>,
    /// The error.
    pub message: String,
    /// The unknown word, if that is the error.
    pub unknown: Option<UnknownWord>,
}

/// An unknown word, and the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// The known words.
    pub known: Vec<&'static str>,
}

impl TableError {
    /// A setting is missing.
    pub(crate) fn missing(message: String) -> Self {
        Self { setting: None, message, unknown: None }
    }
}

/// Removes and reads the settings of a group.
pub(crate) fn take<T: for<'de> Deserialize<'de>>(given: &mut Map<String, Value>) -> Result<T, TableError> {
    let names = names_of::<T>().iter();
    located(names.filter_map(|name| given.remove_entry(*name)).collect(), |mine| T::deserialize(mine))
}

/// Reads settings; an error names the setting.
pub(crate) fn located<T>(
    given: Map<String, Value>,
    read: impl FnOnce(MapAccessDeserializer<Tracked<'_>>) -> Result<T, serde_json::Error>,
) -> Result<T, TableError> {
    let at = RefCell::new(None);
    let tracked = Tracked { given: given.into_iter(), value: None, at: &at };
    read(MapAccessDeserializer::new(tracked)).map_err(|error| {
        let (setting, message) = (at.take(), error.to_string());
        TableError { setting, message, unknown: None }
    })
}

/// Yields settings one after another, and records the one that is being read.
pub(crate) struct Tracked<'a> {
    given: serde_json::map::IntoIter,
    value: Option<Value>,
    at: &'a RefCell<Option<String>>,
}

impl<'de> MapAccess<'de> for Tracked<'_> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((name, value)) = self.given.next() else {
            self.at.take();
            return Ok(None);
        };
        self.value = Some(value);
        *self.at.borrow_mut() = Some(name.clone());
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(self.value.take().unwrap_or_default())
    }
}
