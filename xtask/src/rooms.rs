//! The rooms inside the crates: which folder may name which, and no circle of files.

mod circles;
mod source;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::circles::{Circle, circles};
use self::source::{Arrow, Code, Sources};
use self::table::{PLANS, Plan, ROOT_FILES};

/// Where the table stands, for messages.
const TABLE: &str = "xtask/src/rooms/table.rs";

/// The page with the drawing, and what stands before and after it there.
const PAGE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- rooms: `cargo run -p xtask -- rooms` writes what follows -->\n";
const END: &str = "<!-- end of rooms -->\n";

/// Every arrow, circle and folder that breaks the plan of a crate, as sentences.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let planless = crates(root)?.into_iter().filter(|krate| !PLANS.iter().any(|plan| plan.krate == krate));
    let mut found: Vec<String> =
        planless.map(|krate| format!("crates/{krate}: its rooms have no plan in {TABLE}; give it one")).collect();
    for plan in &PLANS {
        found.extend(breaks(plan, &code(root, plan.krate)?));
    }
    Ok(found)
}

/// Writes the drawing into its page. True when that has changed.
pub(crate) fn write_drawing(root: &Path) -> Result<bool> {
    let path = root.join(PAGE);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let new = with_drawing(&old, &drawing(root)?)?;
    if new != old {
        fs::write(&path, &new).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(new != old)
}

fn breaks(plan: &Plan, code: &Code) -> Vec<String> {
    let at = |file: &str| format!("crates/{}/src/{file}", plan.krate);
    let mut found = Vec::new();
    for file in &code.files {
        if room_of(plan, file).is_none() {
            let part = part_of(file);
            found.push(format!("{}: there is no room `{part}` of {} in {TABLE}; give it a line", at(file), plan.krate));
        }
    }
    let rooms: BTreeSet<&str> = code.files.iter().filter_map(|file| room_of(plan, file)).collect();
    for (room, _) in plan.rooms {
        if !rooms.contains(room) {
            found.push(format!("{TABLE}: {} has no room `{room}`; take its line out", plan.krate));
        }
    }
    for arrow in &code.arrows {
        let (Some(from), Some(to)) = (room_of(plan, &arrow.from), room_of(plan, &arrow.to)) else { continue };
        let may_name = plan.rooms.iter().find(|(room, _)| *room == from).is_some_and(|(_, names)| names.contains(&to));
        if from != to && !may_name {
            found.push(format!(
                "{}:{}: `{from}` may not name `{to}` ({}); move what both need into a room below, hand it in from above, \
                 or, if the arrow is meant to be there, add it to {TABLE}",
                at(&arrow.from),
                arrow.line,
                arrow.path
            ));
        }
    }
    found.extend(circles(&code.arrows).iter().map(|circle| told(plan.krate, circle)));
    found
}

/// A circle, with one line that names the next file for each of its files.
fn told(krate: &str, circle: &Circle) -> String {
    let (length, knot) = (circle.arrows.len(), circle.knot);
    let knot = if knot > length { format!(", of {knot} that lead to each other") } else { String::new() };
    let advice = "move what one needs of the next into a file of its own";
    let mut text = format!("crates/{krate}: {length} files name each other in a circle{knot}; {advice}:");
    for Arrow { from, to, line, path } in &circle.arrows {
        // A String takes whatever is written to it.
        let _ = write!(text, "\n  {from}:{line} names {to} ({path})");
    }
    text
}

/// The room of a file; none when the plan has none for it.
fn room_of(plan: &Plan, file: &str) -> Option<&'static str> {
    let part = part_of(file);
    let has = |name: &str| plan.rooms.iter().map(|(room, _)| *room).find(|room| *room == name);
    has(part).or_else(|| if file.contains('/') { None } else { has(ROOT_FILES) })
}

/// The folder of a file, or its own name.
fn part_of(file: &str) -> &str {
    file.split('/').next().map_or(file, |part| part.trim_end_matches(".rs"))
}

/// The rooms of each crate with those that they do name, as the page shows them.
fn drawing(root: &Path) -> Result<String> {
    let mut text = String::from("```\n");
    for plan in &PLANS {
        let code = code(root, plan.krate)?;
        let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for arrow in &code.arrows {
            if let (Some(from), Some(to)) = (room_of(plan, &arrow.from), room_of(plan, &arrow.to)) {
                named.entry(from).or_default().insert(to);
            }
        }
        writeln!(text, "crates/{}/src", plan.krate)?;
        for (room, _) in plan.rooms {
            let files = code.files.iter().filter(|file| room_of(plan, file) == Some(room)).count();
            let is_folder = code.files.iter().any(|file| file.starts_with(&format!("{room}/")));
            let name = if *room == ROOT_FILES { "*.rs".to_owned() } else { (*room).to_owned() };
            let name = if is_folder { format!("{name}/") } else { name };
            let below = plan.rooms.iter().map(|(below, _)| *below);
            let below =
                below.filter(|below| below != room && named.get(room).is_some_and(|named| named.contains(below)));
            let below: Vec<&str> = below.map(|below| if below == ROOT_FILES { "*.rs" } else { below }).collect();
            let below = if below.is_empty() { String::new() } else { format!(" ──▶ {}", below.join(", ")) };
            writeln!(text, "{}", format!("  {name:<12} {files:>3} file{:<1}{below}", plural(files)).trim_end())?;
        }
    }
    text.push_str("```\n");
    Ok(text)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn with_drawing(page: &str, drawing: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no line {END}"))?;
    Ok([before, BEGIN, drawing, END, after].concat())
}

fn code(root: &Path, krate: &str) -> Result<Code> {
    let mut sources = Sources::new();
    let folder = root.join("crates").join(krate).join("src");
    collect(&folder, "", &mut sources)?;
    source::read(&sources).with_context(|| format!("cannot read crates/{krate}/src"))
}

fn collect(folder: &Path, place: &str, sources: &mut Sources) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let place = format!("{place}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{place}/"), sources)?;
        } else if place.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {place}"))?;
            sources.insert(place, text);
        }
    }
    Ok(())
}

fn crates(root: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(root.join("crates")).context("cannot list crates/")?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::source::tests::sources;
    use super::*;

    const PLAN: Plan = Plan { krate: "made", rooms: &[("top", &["low"]), ("low", &[])] };

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        breaks(&PLAN, &source::read(&sources(files)).unwrap())
    }

    #[test]
    fn rooms_name_only_those_they_may_and_no_files_form_a_circle() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn the_page_shows_the_rooms_as_they_are() {
        let root = Path::new(crate::ROOT);
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let drawn = with_drawing(&page, &drawing(root).unwrap()).unwrap();
        assert!(drawn == page, "{PAGE} shows other rooms than there are: run `cargo run -p xtask -- rooms`");
    }

    #[test]
    fn each_plan_runs_down() {
        for Plan { krate, rooms } in &PLANS {
            for (at, (room, names)) in rooms.iter().enumerate() {
                let below: Vec<&str> = rooms[at + 1..].iter().map(|(room, _)| *room).collect();
                let up: Vec<&&str> = names.iter().filter(|name| !below.contains(name)).collect();
                assert!(up.is_empty(), "{TABLE}: `{room}` of {krate} may name {up:?}, which do not stand below it");
            }
        }
    }

    #[test]
    fn an_arrow_that_the_plan_has_is_no_break() {
        let found = found(&[
            ("lib.rs", "mod low; mod top;"),
            ("top/mod.rs", "mod a;"),
            ("top/a.rs", "use crate::low::f; fn g() { f() }"),
            ("low.rs", "pub fn f() {}"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_arrow_that_the_plan_lacks_is_found() {
        let found = found(&[
            ("lib.rs", "mod low; mod top;"),
            ("top/mod.rs", "pub mod a;"),
            ("top/a.rs", "pub fn f() {}"),
            ("low.rs", "\nuse crate::top::a::f; fn g() { f() }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/made/src/low.rs:2: `low` may not name `top` (use crate::top::a::f);"));
    }

    #[test]
    fn a_circle_is_found_with_a_line_for_each_of_its_arrows() {
        let found = found(&[
            ("lib.rs", "mod low; mod top;"),
            ("top/mod.rs", "pub mod a; pub mod b;"),
            ("top/a.rs", "use super::b::g; pub fn f() { g() }"),
            ("top/b.rs", "pub fn g() { crate::top::a::f() }"),
            ("low.rs", "pub fn h() {}"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        let lines: Vec<&str> = found[0].lines().skip(1).collect();
        let [one, other] = lines[..] else { panic!("{found:?}") };
        assert_eq!(one, "  top/a.rs:1 names top/b.rs (use super::b::g)");
        assert_eq!(other, "  top/b.rs:1 names top/a.rs (crate::top::a::f)");
    }

    #[test]
    fn a_room_without_a_line_and_a_line_without_a_room_are_found() {
        let found = found(&[("lib.rs", "mod low; mod new;"), ("new/mod.rs", "fn f() {}"), ("low.rs", "fn g() {}")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("no room `new` of made"), "{}", found[0]);
        assert!(found[1].contains("made has no room `top`"), "{}", found[1]);
    }
}
