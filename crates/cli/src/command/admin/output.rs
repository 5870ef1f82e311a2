//! How results are printed.

use std::fmt::Display;

use serde::Serialize;
use serde_json::json;

use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{result_json, result_line, table};

/// How results are printed.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    pub(super) fn list<T: Serialize>(self, head: &[&str], items: &[T], row: impl Fn(&T) -> Vec<String>) -> Outcome {
        match self.json {
            true => items.iter().try_for_each(result_json)?,
            false => result_line(table(head, &[], items.iter().map(row).collect()))?,
        }
        Ok(())
    }

    pub(super) fn made(self, item: &impl Serialize, text: String) -> Outcome {
        match self.json {
            true => result_json(item)?,
            false => result_line(text)?,
        }
        Ok(())
    }

    pub(super) fn changed(self, what: &str, id: impl Display, name: &str, item: &impl Serialize) -> Outcome {
        self.made(item, format!("changed {what} {} ({id})", Stream::Result.shown_on_line(name)))
    }

    pub(super) fn deleted(self, what: &str, id: impl Display, name: &str) -> Outcome {
        let item = json!({ "deleted": id.to_string(), "name": name });
        self.made(&item, format!("deleted {what} {} ({id})", Stream::Result.shown_on_line(name)))
    }
}

/// Returns the change of a description: unchanged if absent, removed if empty.
pub(super) fn description(new: Option<String>, before: Option<String>) -> Option<String> {
    new.or(before).filter(|text| !text.is_empty())
}
