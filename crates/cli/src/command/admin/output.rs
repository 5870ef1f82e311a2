//! How results are printed.

use serde::Serialize;

use crate::exit::Outcome;
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
}
