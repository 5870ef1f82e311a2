//! The data flows in ARCHITECTURE.md: each file that they list exists, and none of them returns to a folder that it has
//! left.

use std::path::Path;

use anyhow::{Context, Result};

/// The beginning of a line that lists the files of a data flow.
const MARK: &str = "Files: ";

/// A message for each error in the data flows.
///
/// # Errors
///
/// If ARCHITECTURE.md cannot be read.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let flows: Vec<Vec<&str>> = page.lines().filter_map(files).collect();
    let mut found: Vec<String> = flows.iter().flat_map(|flow| returns(flow)).collect();
    for file in flows.iter().flatten().filter(|file| !root.join("crates").join(file).is_file()) {
        found
            .push(format!("ARCHITECTURE.md lists crates/{file}, which does not exist; list the file that replaced it"));
    }
    if flows.is_empty() {
        found.push(format!("ARCHITECTURE.md has no line that begins with {MARK:?}; list the files of each data flow"));
    }
    Ok(found)
}

fn files(line: &str) -> Option<Vec<&str>> {
    let list = line.strip_prefix(MARK)?;
    Some(list.trim_end_matches('.').split('→').map(|file| file.trim().trim_matches('`')).collect())
}

/// A message for each folder to which a data flow returns after it has left it.
fn returns(flow: &[&str]) -> Vec<String> {
    let mut folders: Vec<&str> = flow.iter().map(|file| folder(file)).collect();
    folders.dedup();
    let again = folders.iter().enumerate().filter(|(index, folder)| folders[..*index].contains(folder));
    again
        .map(|(_, folder)| format!("ARCHITECTURE.md: the data flow {} returns to {folder}", flow.join(" → ")))
        .collect()
}

/// `store/src/page` for `store/src/page/file.rs`; the file itself if it is directly in `src`.
fn folder(file: &str) -> &str {
    file.match_indices('/').nth(2).map_or(file, |(end, _)| &file[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_flows_list_existing_files_and_never_return() {
        let found = violations(Path::new(crate::ROOT)).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_data_flow_that_returns_is_found() {
        let flow = files(
            "Files: `store/src/page/request.rs` → `store/src/page/file.rs` → `store/src/log/read.rs` → `store/src/page/file.rs`.",
        );
        assert_eq!(returns(&flow.unwrap()).len(), 1);
        let flow =
            files("Files: `store/src/page/request.rs` → `store/src/page/file.rs` → `store/src/log/merge/ordered.rs`.");
        assert_eq!(returns(&flow.unwrap()), Vec::<String>::new());
    }
}
