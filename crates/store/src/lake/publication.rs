//! A snapshot that is being made, and the objects that are written for it.

use std::collections::BTreeMap;

use crate::catalog::columns::saturating;
use crate::core::Core;
use crate::error::Result;
use crate::objects::keys;

/// A snapshot that is being made.
pub(super) struct Publication<'a> {
    pub(super) core: &'a Core,
    pub(super) workspace_id: &'a str,
    /// The address of the folder of all objects.
    pub(super) folder: &'a str,
    pub(super) sequence: i64,
    pub(super) snapshot_id: i64,
    /// The objects that were written, and their lengths.
    pub(super) written: BTreeMap<String, i64>,
}

impl Publication<'_> {
    /// The address of an object.
    pub(super) fn address(&self, key: &str) -> String {
        format!("{}/{key}", self.folder)
    }

    /// Writes an object; returns its key. No row names it yet.
    pub(super) async fn write_object(&mut self, extension: &str, bytes: Vec<u8>) -> Result<String> {
        let key = keys::lake_object(self.workspace_id, self.core.random().uuid(), extension);
        let length = saturating(bytes.len() as u64);
        self.core.intents().intend([&key]).await?;
        self.core.put_object(&key, bytes.into()).await?;
        self.written.insert(key.to_string(), length);
        Ok(key.to_string())
    }
}
