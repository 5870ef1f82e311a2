//! Entries of instants that several pages hold: which are repetitions, and which are not.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Maximum nesting depth at which values are compared by content. Deeper values are compared as text.
const DEPTH_MAX: u32 = 32;

/// Identifies an entry by its content, independent of the order of its fields.
type Name = [u8; 16];

/// Counts equal entries page after page: an entry is new when its page holds more of them than any page before.
#[derive(Default)]
pub(super) struct Shared {
    counts: HashMap<(i64, Name), Counts>,
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
    pub(super) fn is_new(&mut self, time_ms: i64, entry: &[u8]) -> bool {
        let counts = self.counts.entry((time_ms, name(entry))).or_default();
        if counts.page != self.page {
            (counts.most, counts.here, counts.page) = (counts.most.max(counts.here), 0, self.page);
        }
        counts.here += 1;
        counts.here > counts.most
    }

    /// Forgets what is later than this: no page that is still to come holds it.
    pub(super) fn forget_after(&mut self, last_ms: i64) {
        self.counts.retain(|(time_ms, _), _| *time_ms <= last_ms);
    }

    /// Forgets everything, for the next instant.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.page = 0;
    }
}

/// Two entries have the same name if they are the same JSON, independent of the order of their fields. Numbers are
/// compared as text: two numbers that differ only in their last digits could be equal after parsing.
fn name(entry: &[u8]) -> Name {
    let mut digest = Sha256::new();
    match std::str::from_utf8(entry) {
        Ok(text) => update(&mut digest, text, DEPTH_MAX),
        Err(_) => part(&mut digest, b'?', entry),
    }
    let mut name = Name::default();
    let length = name.len();
    name.copy_from_slice(&digest.finalize()[..length]);
    name
}

/// Each part of a value is hashed with its kind and length, so that different values have different input.
fn update(digest: &mut Sha256, value: &str, depth: u32) {
    let value = value.trim_ascii();
    let fields = || serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(value);
    let items = || serde_json::from_str::<Vec<&RawValue>>(value);
    match value.as_bytes().first() {
        Some(b'{') if depth > 0 => match fields() {
            Ok(fields) => {
                part(digest, b'o', &fields.len().to_le_bytes());
                for (name, value) in fields {
                    part(digest, b's', name.as_bytes());
                    update(digest, value.get(), depth - 1);
                }
            }
            Err(_) => part(digest, b'?', value.as_bytes()),
        },
        Some(b'[') if depth > 0 => match items() {
            Ok(items) => {
                part(digest, b'a', &items.len().to_le_bytes());
                items.into_iter().for_each(|item| update(digest, item.get(), depth - 1));
            }
            Err(_) => part(digest, b'?', value.as_bytes()),
        },
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(value) {
            Ok(text) => part(digest, b's', text.as_bytes()),
            // Some services write unpaired surrogates, which are not valid text.
            Err(_) => part(digest, b'?', value.as_bytes()),
        },
        // Numbers and literals; and values that are nested too deeply, as they are written.
        _ => part(digest, b'w', value.as_bytes()),
    }
}

fn part(digest: &mut Sha256, kind: u8, bytes: &[u8]) {
    digest.update([kind]);
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_fields_does_not_matter_and_all_else_does() {
        let same = |a: &str, b: &str| name(a.as_bytes()) == name(b.as_bytes());
        assert!(same(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{ "b": {"d":3,"c":2}, "a": 1 }"#));
        assert!(same(r#"{"a":"\u0041\/"}"#, r#"{"a":"A/"}"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":"1"}"#));
        assert!(!same(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#));
        assert!(!same(r#"{"a":"b"}"#, r#"{"a":"b","c":null}"#));
        assert!(!same(r#"{"a":{},"b":[]}"#, r#"{"a":[],"b":{}}"#));
    }

    #[test]
    fn long_numbers_broken_texts_and_deep_nesting_are_distinguished() {
        let same = |a: &str, b: &str| name(a.as_bytes()) == name(b.as_bytes());
        assert!(!same(r#"{"a":12345678901234567890123}"#, r#"{"a":12345678901234567890124}"#));
        assert!(!same(r#"{"a":0.1000000000000000055}"#, r#"{"a":0.1}"#));
        assert!(same(r#"{"b":1,"a":"\ud800"}"#, r#"{"a":"\ud800","b":1}"#));
        assert!(!same(r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#));
        let deep = |core: &str| format!("{{\"a\":{}{core}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(same(&deep("1"), &deep("1")) && !same(&deep("1"), &deep("2")));
        assert_ne!(name(b"{\"a\":\"\xff\"}"), name(b"{\"a\":\"\xfe\"}"));
    }

    #[test]
    fn of_equal_entries_as_many_stay_as_one_page_holds() {
        let mut shared = Shared::default();
        let new: Vec<bool> = (0..2).map(|_| shared.is_new(0, b"{}")).collect();
        shared.next_page();
        let again: Vec<bool> = (0..3).map(|_| shared.is_new(0, b"{}")).collect();
        assert_eq!((new, again), (vec![true, true], vec![false, false, true]));
        assert!(shared.is_new(1, b"{}"), "another instant is another entry");
        shared.forget_after(0);
        assert_eq!(shared.counts.len(), 1);
    }
}
