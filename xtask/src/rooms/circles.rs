//! Files that name each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::Arrow;

/// A shortest circle of each knot of files that name each other.
pub(crate) fn circles(arrows: &[Arrow]) -> Vec<Vec<Arrow>> {
    let mut from: BTreeMap<&str, Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows {
        from.entry(&arrow.from).or_default().push(arrow);
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in from.keys().copied() {
        if seen.contains(file) {
            continue;
        }
        if let Some(circle) = way_back(&from, file) {
            // One circle is told of each knot: when it is cut, the next is.
            let reached = reached_from(&from, file);
            seen.extend(reached.iter().copied().filter(|other| reached_from(&from, other).contains(file)));
            found.push(circle.into_iter().cloned().collect());
        }
    }
    found
}

/// The shortest way from a file back to itself.
fn way_back<'a>(from: &BTreeMap<&'a str, Vec<&'a Arrow>>, file: &str) -> Option<Vec<&'a Arrow>> {
    let mut came_by: BTreeMap<&str, &Arrow> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for arrow in from.get(at).into_iter().flatten().copied() {
            if came_by.contains_key(arrow.to.as_str()) {
                continue;
            }
            came_by.insert(&arrow.to, arrow);
            if arrow.to == file {
                let mut way = vec![arrow];
                while let Some(first) = way.last().filter(|first| first.from != file) {
                    let before = came_by.get(first.from.as_str()).copied()?;
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            next.push_back(&arrow.to);
        }
    }
    None
}

fn reached_from<'a>(from: &BTreeMap<&'a str, Vec<&'a Arrow>>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(at) = next.pop() {
        for arrow in from.get(at).into_iter().flatten() {
            if reached.insert(arrow.to.as_str()) {
                next.push(&arrow.to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles among these arrows, each as the files that it passes.
    fn found(arrows: &[(&str, &str)]) -> Vec<String> {
        let arrow = |(from, to): &(&str, &str)| Arrow {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            line: 1,
            path: String::new(),
        };
        let arrows: Vec<Arrow> = arrows.iter().map(arrow).collect();
        let names = |circle: &Vec<Arrow>| circle.iter().map(|arrow| arrow.from.as_str()).collect::<Vec<_>>().join(" ");
        circles(&arrows).iter().map(names).collect()
    }

    #[test]
    fn arrows_that_run_down_have_no_circle() {
        assert!(found(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn the_shortest_circle_of_each_knot_is_found() {
        let arrows = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "a"), ("x", "y"), ("y", "x"), ("y", "a")];
        assert_eq!(found(&arrows), ["a b c", "x y"]);
    }
}
