//! Lists that are read page after page, of services that may not keep to `offset`, and whose items may be odd.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::warn;

use crate::error::{Error, ErrorKind, Result};

/// Most items of a list that is read whole. Unit: items. Far more than any account has; a list that has more does not
/// end.
const ITEMS_MAX: usize = 1_000_000;

/// The IDs received from a list so far, to detect pages without new items.
#[derive(Debug, Default)]
pub struct ListIds(HashSet<String>);

impl ListIds {
    /// True if this ID was received.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    /// Records the received IDs, and returns how many of them are new.
    ///
    /// `Protocol`: the service gives the same again from an offset on, or a list that does not end.
    pub fn take<'a>(
        &mut self,
        what: &str,
        offset: u64,
        limit: u64,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<usize> {
        let (mut came, before) = (0, self.0.len());
        for id in ids {
            came += 1;
            if !self.0.contains(id) {
                self.0.insert(id.to_owned());
            }
        }
        let new = self.0.len() - before;
        if offset > 0 && new == 0 && came >= limit {
            let message = format!(
                "the service's list of {what} returns the same {came} items again from offset {offset}, as if it ignored the offset: the rest of the list cannot be read"
            );
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        if self.0.len() > ITEMS_MAX {
            let message =
                format!("the service's list of {what} does not end: more than {ITEMS_MAX} items were received");
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(new)
    }
}

/// The items that can be parsed. An invalid item is skipped, counted and logged, and does not hide the others.
pub(crate) fn readable<T: DeserializeOwned>(what: &str, items: Vec<Value>) -> Vec<T> {
    let mut odd = Vec::new();
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        match T::deserialize(&item) {
            Ok(item) => read.push(item),
            Err(error) => odd.push(error.to_string()),
        }
    }
    if let Some(first) = odd.first() {
        let count = odd.len();
        warn!(count, first, "{count} items of the service's list of {what} cannot be parsed, and are skipped");
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_repeats_itself_ends() {
        let mut ids = ListIds::default();
        assert_eq!(ids.take("tasks", 0, 2, ["a", "b"].into_iter()).unwrap(), 2);
        assert_eq!(ids.take("tasks", 2, 2, ["b", "c"].into_iter()).unwrap(), 1);
        assert_eq!(ids.take("tasks", 3, 2, ["c"].into_iter()).unwrap(), 0, "its end");
        let error = ids.take("tasks", 4, 2, ["a", "b"].into_iter()).unwrap_err().to_string();
        assert!(error.contains("ignored the offset") && error.contains("tasks"), "{error}");
    }

    #[test]
    fn an_odd_item_hides_no_other() {
        let items = vec![Value::from(1), Value::from("two"), Value::from(3)];
        assert_eq!(readable::<u64>("numbers", items), [1, 3]);
    }
}
