//! Files that name each other in a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::Arrow;

/// A circle, and the knot that it is a part of.
#[derive(Debug)]
pub(crate) struct Circle {
    pub(crate) arrows: Vec<Arrow>,
    /// How many files each lead to all others of them, those of the circle included.
    pub(crate) knot: usize,
}

/// A shortest circle of each knot of files that name each other.
pub(crate) fn circles(arrows: &[Arrow]) -> Vec<Circle> {
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
            let back = |other: &&str| reached_from(&from, other).contains(file);
            let knot: Vec<&str> = reached.into_iter().filter(back).collect();
            found.push(Circle { arrows: circle.into_iter().cloned().collect(), knot: knot.len() });
            seen.extend(knot);
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

    /// The circles among these arrows, each as the files that it passes and the size of its knot.
    fn found(arrows: &[(&str, &str)]) -> Vec<String> {
        let arrow = |(from, to): &(&str, &str)| Arrow {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            line: 1,
            path: String::new(),
        };
        let arrows: Vec<Arrow> = arrows.iter().map(arrow).collect();
        let names = |circle: &Circle| {
            let files: Vec<&str> = circle.arrows.iter().map(|arrow| arrow.from.as_str()).collect();
            format!("{} of {}", files.join(" "), circle.knot)
        };
        circles(&arrows).iter().map(names).collect()
    }

    #[test]
    fn arrows_that_run_down_have_no_circle() {
        assert!(found(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn the_shortest_circle_of_each_knot_is_found() {
        let arrows = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "a"), ("x", "y"), ("y", "x"), ("y", "a")];
        assert_eq!(found(&arrows), ["a b c of 4", "x y of 2"]);
    }
}
