//! The positions of the task and the run in the path of a log.

use std::path::Path;
use std::str::FromStr;

use regex::Regex;

/// Maximum depth of folders that are searched for a pattern with `**`.
const DEPTH_MAX: usize = 16;

/// A pattern such as `{task}/{run}.log`.
#[derive(Debug, Clone)]
pub(crate) struct PathPattern {
    text: String,
    regex: Regex,
    has_task: bool,
    /// Maximum number of names in a path.
    depth: usize,
}

/// The task and the run in the path of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The ID or the name of the task, unless one task is given for all logs.
    pub(super) task: Option<String>,
    /// The ID of the run, or a text from which it is derived.
    pub(super) run: String,
}

impl PathPattern {
    /// Returns true if the pattern contains the task.
    pub(crate) fn has_task(&self) -> bool {
        self.has_task
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the task and the run in a path relative to the folder; none if the path does not match.
    pub(super) fn read(&self, path: &Path) -> Option<Found> {
        let found = self.regex.captures(path.to_str()?)?;
        let text = |name: &str| found.name(name).map(|part| part.as_str().to_owned());
        Some(Found { task: text("task"), run: text("run")? })
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}; a pattern is of the form {{task}}/{{run}}.log");
        let count = |part: &str| text.matches(part).count();
        if count("{run}") != 1 {
            return Err(wrong("does not contain {run} once"));
        }
        if count("{task}") > 1 {
            return Err(wrong("contains {task} more than once"));
        }
        if text.starts_with('/') || text.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(wrong("is not a path within the folder"));
        }
        let mut expression = regex::escape(text);
        for (part, group) in [
            (r"\*\*/", "(?:[^/]+/)*"),
            (r"\*", "[^/]*"),
            (r"\{task\}", "(?P<task>[^/]+?)"),
            (r"\{run\}", "(?P<run>[^/]+?)"),
        ] {
            expression = expression.replace(part, group);
        }
        let regex = Regex::new(&format!("^{expression}$")).map_err(|_| wrong("cannot be read"))?;
        let depth = if text.contains("**/") { DEPTH_MAX } else { text.split('/').count() };
        Ok(Self { text: text.to_owned(), regex, has_task: count("{task}") == 1, depth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, path: &str) -> Option<(String, String)> {
        let found = pattern.parse::<PathPattern>().unwrap().read(Path::new(path))?;
        Some((found.task.unwrap_or_default(), found.run))
    }

    #[test]
    fn the_task_and_the_run_are_read_from_the_path() {
        let of = |task: &str, run: &str| Some((task.to_owned(), run.to_owned()));
        assert_eq!(read("{task}/{run}.log", "flow/execution.log"), of("flow", "execution"));
        assert_eq!(read("{task}/{run}.log", "flow/execution.log.1"), None);
        assert_eq!(read("{task}/{run}.log", "a/flow/execution.log"), None);
        assert_eq!(read("**/{task}-{run}.log", "a/b/flow-7.log"), of("flow", "7"));
        assert_eq!(read("**/{task}-{run}.log", "flow-7.log"), of("flow", "7"));
        assert_eq!(read("*/{run}.*", "x/y.out"), of("", "y"));
        assert_eq!(read("a+b/{run}", "aab/y"), None);
    }

    #[test]
    fn an_invalid_path_pattern_is_rejected() {
        for text in ["{task}.log", "{run}/{run}", "/{run}", "../{run}", "{task}{task}{run}", ""] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }
}
