//! Patterns: the group of a message depends on which messages there are, and not on their order.

use std::collections::HashMap;

use runlog_analysis::StableId;
use runlog_analysis::patterns::groups_of;

use crate::{Target, messages};

pub(crate) const TARGET: Target = Target { name: "patterns", check, seeds: crate::failed_runs, inputs: 3_000 };

fn check(input: &[u8]) {
    let all = messages(input);
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    let one = groups(&all);
    all.reverse();
    assert_eq!(groups(&all), one, "in the reverse order");
    all.sort_unstable();
    assert_eq!(groups(&all), one, "in the order of their texts");
}

fn groups<'m>(messages: &[&'m str]) -> HashMap<&'m str, StableId> {
    let groups = groups_of(messages.iter().copied()).into_iter().map(|(id, _)| id);
    messages.iter().copied().zip(groups).collect()
}
