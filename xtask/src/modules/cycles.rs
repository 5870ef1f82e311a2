//! Dependency cycles between files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::Use;

/// A cycle, and the size of the strongly connected component that contains it.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub(crate) uses: Vec<Use>,
    /// Number of files in the component: each of them depends on all others, directly or indirectly.
    pub(crate) component: usize,
}

/// A shortest cycle of each strongly connected component.
pub(crate) fn cycles(uses: &[Use]) -> Vec<Cycle> {
    let mut from: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for used in uses {
        from.entry(&used.from).or_default().push(used);
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in from.keys().copied() {
        if seen.contains(file) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(&from, file) {
            // Only one cycle of each component is reported. Once it is removed, the next one is.
            let reached = reached_from(&from, file);
            let back = |other: &&str| reached_from(&from, other).contains(file);
            let component: Vec<&str> = reached.into_iter().filter(back).collect();
            found.push(Cycle { uses: cycle.into_iter().cloned().collect(), component: component.len() });
            seen.extend(component);
        }
    }
    found
}

/// The shortest cycle through a file.
fn shortest_cycle<'a>(from: &BTreeMap<&'a str, Vec<&'a Use>>, file: &str) -> Option<Vec<&'a Use>> {
    let mut reached_by: BTreeMap<&str, &Use> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for used in from.get(at).into_iter().flatten().copied() {
            if reached_by.contains_key(used.to.as_str()) {
                continue;
            }
            reached_by.insert(&used.to, used);
            if used.to == file {
                let mut way = vec![used];
                while let Some(first) = way.last().filter(|first| first.from != file) {
                    let before = reached_by.get(first.from.as_str()).copied()?;
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            next.push_back(&used.to);
        }
    }
    None
}

fn reached_from<'a>(from: &BTreeMap<&'a str, Vec<&'a Use>>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(at) = next.pop() {
        for used in from.get(at).into_iter().flatten() {
            if reached.insert(used.to.as_str()) {
                next.push(&used.to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cycles among these uses, each as its files and the size of its component.
    fn found(uses: &[(&str, &str)]) -> Vec<String> {
        let used = |(from, to): &(&str, &str)| Use {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            line: 1,
            path: String::new(),
        };
        let uses: Vec<Use> = uses.iter().map(used).collect();
        let names = |cycle: &Cycle| {
            let files: Vec<&str> = cycle.uses.iter().map(|used| used.from.as_str()).collect();
            format!("{} of {}", files.join(" "), cycle.component)
        };
        cycles(&uses).iter().map(names).collect()
    }

    #[test]
    fn uses_that_run_down_have_no_cycle() {
        assert!(found(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn the_shortest_cycle_of_each_component_is_found() {
        let uses = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "a"), ("x", "y"), ("y", "x"), ("y", "a")];
        assert_eq!(found(&uses), ["a b c of 4", "x y of 2"]);
    }
}
