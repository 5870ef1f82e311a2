//! Shell scripts of the repository: each must parse, because a script that does not fails before it has checked anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Folders that hold what was built or installed, and nothing of the repository.
const BUILT_FOLDERS: [&str; 6] = [".git", "target", "node_modules", "dist", "build", "__pycache__"];

/// What is wrong with the shell scripts under `root`, one sentence each: the script and what its shell says.
pub(crate) fn violations(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for path in files(root)? {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(shell) = shell(&content) else { continue };
        let output = Command::new(shell)
            .arg("-n")
            .arg(&path)
            .output()
            .with_context(|| format!("cannot run {shell}, which {} needs", path.display()))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            violations.push(format!("{} is no valid script: {}", path.display(), reason.trim()));
        }
    }
    Ok(violations)
}

/// The files under `folder`, without those of [`BUILT_FOLDERS`] and without symbolic links.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !BUILT_FOLDERS.iter().any(|built| entry.file_name() == *built) {
            files.extend(self::files(&entry.path())?);
        }
    }
    Ok(files)
}

/// The shell that the first line of a script names: `sh` or `bash`.
fn shell(content: &[u8]) -> Option<&'static str> {
    let first_line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let interpreter = std::str::from_utf8(first_line).ok()?.rsplit(['/', ' ']).next()?;
    ["sh", "bash"].into_iter().find(|shell| *shell == interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_script_parses() {
        let violations = violations(Path::new(crate::ROOT)).unwrap();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    }

    #[test]
    fn scripts_are_found_by_their_first_line() {
        assert_eq!(shell(b"#!/bin/sh\nset -eu\n"), Some("sh"));
        assert_eq!(shell(b"#!/usr/bin/env bash\n"), Some("bash"));
        assert_eq!(shell(b"#!/usr/bin/env python3\n"), None);
        assert_eq!(shell(b"set -eu\n"), None);
        assert!(files(Path::new(crate::ROOT)).unwrap().iter().any(|path| path.ends_with(".ci/run")));
    }

    /// A merge had left `.ci/run` with half a string in it, so that no check at all was run.
    #[test]
    fn a_script_that_does_not_parse_is_reported() {
        let folder = std::env::temp_dir().join(format!("runlog-scripts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("good"), "#!/bin/sh\necho good\n").unwrap();
        fs::write(folder.join("bad"), "#!/bin/sh\nif grep -q '^(\nthen\n").unwrap();
        let violations = violations(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].contains("/bad is no valid script: "), "{violations:?}");
    }
}
