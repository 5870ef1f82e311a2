//! The ways of data through the program, as ARCHITECTURE.md lists them: each file is there, and no way comes back to a
//! folder that it has left.

use std::path::Path;

use anyhow::{Context, Result};

/// What a line with the files of a way begins with.
const MARK: &str = "Files: ";

/// Everything that is wrong with the ways of the page, as sentences.
///
/// # Errors
///
/// When the page cannot be read.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let ways: Vec<Vec<&str>> = page.lines().filter_map(files).collect();
    let mut found: Vec<String> = ways.iter().flat_map(|way| returns(way)).collect();
    for file in ways.iter().flatten().filter(|file| !root.join("crates").join(file).is_file()) {
        found.push(format!(
            "ARCHITECTURE.md lists crates/{file}, which is not there: name the file that took its place"
        ));
    }
    if ways.is_empty() {
        found.push(format!("ARCHITECTURE.md has no line that begins with {MARK:?}: list the files of each data flow"));
    }
    Ok(found)
}

fn files(line: &str) -> Option<Vec<&str>> {
    let list = line.strip_prefix(MARK)?;
    Some(list.trim_end_matches('.').split('→').map(|file| file.trim().trim_matches('`')).collect())
}

/// The folders to which a way comes back after it has left them.
fn returns(way: &[&str]) -> Vec<String> {
    let mut folders: Vec<&str> = way.iter().map(|file| folder(file)).collect();
    folders.dedup();
    let again = folders.iter().enumerate().filter(|(index, folder)| folders[..*index].contains(folder));
    again.map(|(_, folder)| format!("ARCHITECTURE.md: the way {} comes back to {folder}", way.join(" → "))).collect()
}

/// `store/src/page` of `store/src/page/file.rs`; a file beside the folders stands for itself.
fn folder(file: &str) -> &str {
    file.match_indices('/').nth(2).map_or(file, |(end, _)| &file[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_of_the_page_lead_through_files_that_are_there_and_never_back() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_way_that_comes_back_is_found() {
        let way = files(
            "Files: `store/src/page/request.rs` → `store/src/page/file.rs` → `store/src/log/read.rs` → `store/src/page/file.rs`.",
        );
        assert_eq!(returns(&way.unwrap()).len(), 1);
        let way =
            files("Files: `store/src/page/request.rs` → `store/src/page/file.rs` → `store/src/log/merge/ordered.rs`.");
        assert_eq!(returns(&way.unwrap()), Vec::<String>::new());
    }
}
