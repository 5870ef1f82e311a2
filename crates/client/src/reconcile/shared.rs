//! Entries of instants that several pages hold: which are repetitions, and which are not.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// Names an entry by what it says, whatever the order of its fields.
type Name = [u8; 16];

/// Counts equal entries page after page: an entry is new when its page holds more of them than any page before.
#[derive(Default)]
pub(super) struct Shared {
    counts: HashMap<Name, Counts>,
    page: u32,
}

#[derive(Default)]
struct Counts {
    /// The most that one page before this one held.
    most: u64,
    /// In the page at hand, and which that is.
    here: u64,
    page: u32,
}

impl Shared {
    /// Goes to the next page.
    pub(super) fn next_page(&mut self) {
        self.page += 1;
    }

    /// Takes an entry of the page at hand; true when no page before accounts for it.
    pub(super) fn is_new(&mut self, time_ms: i64, entry: &[u8]) -> Result<bool> {
        let counts = self.counts.entry(name(time_ms, entry)?).or_default();
        if counts.page != self.page {
            (counts.most, counts.here, counts.page) = (counts.most.max(counts.here), 0, self.page);
        }
        counts.here += 1;
        Ok(counts.here > counts.most)
    }

    /// Forgets everything, for the next instant.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.page = 0;
    }
}

fn name(time_ms: i64, entry: &[u8]) -> Result<Name> {
    let value: Value = serde_json::from_slice(entry)
        .map_err(|error| Error::caused(ErrorKind::Protocol, "an entry of a page file is not JSON", error))?;
    let mut digest = Sha256::new();
    digest.update(time_ms.to_le_bytes());
    update(&mut digest, &value);
    let mut name = Name::default();
    let length = name.len();
    name.copy_from_slice(&digest.finalize()[..length]);
    Ok(name)
}

/// Every part of a value goes in with its kind and its length, so that no two values read the same.
fn update(digest: &mut Sha256, value: &Value) {
    let mut text = |kind: u8, text: &str| {
        digest.update([kind]);
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    match value {
        Value::Null => text(b'n', ""),
        Value::Bool(flag) => text(b'b', if *flag { "t" } else { "f" }),
        Value::Number(number) => text(b'd', &number.to_string()),
        Value::String(string) => text(b's', string),
        Value::Array(items) => {
            text(b'a', &items.len().to_string());
            items.iter().for_each(|item| update(digest, item));
        }
        Value::Object(fields) => {
            text(b'o', &fields.len().to_string());
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            for name in names {
                update(digest, &Value::String(name.clone()));
                update(digest, &fields[name]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_fields_does_not_matter_and_all_else_does() {
        let same = |a: &str, b: &str| name(0, a.as_bytes()).unwrap() == name(0, b.as_bytes()).unwrap();
        assert!(same(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{ "b": {"d":3,"c":2}, "a": 1 }"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!same(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
        assert!(!same(r#"{"a":"b"}"#, r#"{"a":"b","c":null}"#));
        assert_ne!(name(0, b"{}").unwrap(), name(1, b"{}").unwrap());
    }

    #[test]
    fn of_equal_entries_as_many_stay_as_one_page_holds() {
        let mut shared = Shared::default();
        let new: Vec<bool> = (0..2).map(|_| shared.is_new(0, b"{}").unwrap()).collect();
        shared.next_page();
        let again: Vec<bool> = (0..3).map(|_| shared.is_new(0, b"{}").unwrap()).collect();
        assert_eq!((new, again), (vec![true, true], vec![false, false, true]));
    }
}
