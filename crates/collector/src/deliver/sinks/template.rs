//! File names derived from a run: `{workspace}/{task}/{year}-{month}-{day}/{run_id}-{part}`.

use std::str::FromStr;

use serde::Deserialize;

use super::sink::RunContext;

/// The longest name of a task or workspace in a file name. Unit: characters.
const NAME_CHARS_MAX: usize = 80;

/// The parts of a file name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(&'static str),
}

/// The placeholders. Times are those of the end of the run, in UTC.
const WORDS: [&str; 12] = [
    "environment",
    "workspace",
    "workspace_id",
    "task",
    "task_id",
    "run_id",
    "status",
    "part",
    "year",
    "month",
    "day",
    "hour",
];

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, behind) = after.split_once('}').ok_or_else(|| format!("{text:?}: a {{ has no }} after it"))?;
            let known = WORDS.into_iter().find(|known| *known == word).ok_or_else(|| {
                format!(
                    "{text:?}: {{{word}}} is not known; there are {}",
                    WORDS.map(|word| format!("{{{word}}}")).join(", ")
                )
            })?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Word(known));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let has = |word: &'static str| pieces.contains(&Piece::Word(word));
        if !has("run_id") || !has("part") {
            return Err(format!("{text:?}: {{run_id}} and {{part}} must be in it, so that no file replaces another"));
        }
        if text.starts_with('/') || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{text:?} is not a path below a folder"));
        }
        Ok(Self(pieces))
    }
}

impl Template {
    /// The name of a part of a run, without the extension.
    pub(crate) fn name(&self, run: &RunContext, part: u64) -> String {
        let ended = run.ended_at().to_string();
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Word("environment") => plain(&run.environment),
                Piece::Word("workspace") => plain(&run.workspace),
                Piece::Word("workspace_id") => run.run.workspace_id.to_string(),
                Piece::Word("task") => plain(&run.task),
                Piece::Word("task_id") => run.run.task_id.to_string(),
                Piece::Word("run_id") => run.run.id.to_string(),
                Piece::Word("status") => run.run.status.coarse().as_str().to_owned(),
                Piece::Word("part") => format!("{part:04}"),
                Piece::Word("year") => ended[..4].to_owned(),
                Piece::Word("month") => ended[5..7].to_owned(),
                Piece::Word("day") => ended[8..10].to_owned(),
                Piece::Word(_) => ended[11..13].to_owned(),
            })
            .collect()
    }
}

/// A name without characters that have a meaning in paths and shells.
pub(crate) fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let plain: String = name.chars().take(NAME_CHARS_MAX).map(keep).collect();
    match plain.trim_start_matches('.') {
        "" => "_".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_replace_another_file_or_leave_the_folder_is_refused() {
        let error = |text: &str| text.parse::<Template>().unwrap_err();
        assert!(error("{task}").contains("{run_id} and {part}"));
        assert!(error("{runid}-{part}").contains("{run_id}"));
        assert!(error("{run_id").contains("no }"));
        assert!(error("/tmp/{run_id}-{part}").contains("below a folder"));
        assert!(error("../{run_id}-{part}").contains("below a folder"));
        assert!("{workspace}/{year}/{run_id}.{part}".parse::<Template>().is_ok());
    }

    #[test]
    fn names_lose_what_is_no_part_of_a_file_name() {
        assert_eq!(plain("../a b/ö"), "_a_b__");
        assert_eq!(plain(".."), "_");
    }
}
