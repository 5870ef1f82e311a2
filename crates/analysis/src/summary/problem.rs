//! The problem of a failed run: the cause in its headline, regardless of the values in it.
//!
//! Runs of different tasks of a workspace have the same problem if their headlines have the same [`Cause`]. A headline
//! that states only that something failed is a problem of its task alone, and so is the absence of a headline.

use runlog_model::{TaskId, WorkspaceId};
use runlog_store::problems::NewProblem;

use super::cause::{Cause, masked_cause};
use super::choice::Headline;
use crate::StableId;

/// Maximum length of a title. Unit: characters. It is less than the maximum length of headlines, so that the truncated
/// title does not depend on the lengths of the masked values.
const TITLE_CHARS_MAX: usize = 200;

/// The title of the problem of runs that fail without any error message.
const NO_CAUSE: &str = "No cause found in the log or in the engine's error message";

/// Returns the problem of a run of this task with this headline.
pub(crate) fn problem_of_headline(workspace: WorkspaceId, task: TaskId, headline: Option<&Headline>) -> NewProblem {
    let title: Option<String> =
        headline.map(|headline| masked_cause(&headline.text).trim().chars().take(TITLE_CHARS_MAX).collect());
    let title = title.filter(|title| !title.is_empty());
    let is_of_task = title.is_none() || headline.is_some_and(|headline| headline.is_vague);
    let title = title.unwrap_or_else(|| NO_CAUSE.to_owned());
    let cause: String = match headline {
        Some(headline) if title != NO_CAUSE => Cause::of(&headline.text).key.chars().take(TITLE_CHARS_MAX).collect(),
        _ => title.clone(),
    };
    let key = match is_of_task {
        true => format!("{workspace}\n{task}\n{cause}"),
        false => format!("{workspace}\n{cause}"),
    };
    let headline = headline.map(|headline| headline.text.trim().to_owned()).filter(|text| !text.is_empty());
    NewProblem { id: StableId::of(&key).to_string(), title, headline }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "57f64991e4b0b689a64feed0";
    const TASK: &str = "57f64991e4b0b689a64feed1";
    const OTHER: &str = "57f64991e4b0b689a64feed2";

    fn headline(text: &str, is_vague: bool) -> Headline {
        Headline { text: text.to_owned(), id: StableId::of(text), record: None, is_vague, is_known: None }
    }

    fn problem(workspace: &str, task: &str, headline: Option<&Headline>) -> NewProblem {
        problem_of_headline(workspace.parse().unwrap(), task.parse().unwrap(), headline)
    }

    #[test]
    fn the_same_cause_in_two_tasks_is_one_problem() {
        let texts = [
            "ORA-01017: invalid password of user 17 at 10.0.0.8:1521 for job 4f0e9a57-0d6c-4f2e-8a18-1b0e4d526a3c",
            "ORA-01017: invalid password of user 9 at 192.168.100.250:1521 for job 1b0e4d52-6a3c-4f0e-9a57-0d6c1f2e7a18",
        ];
        let [one, other] = texts.map(|text| headline(text, false));
        assert_eq!(problem(WORKSPACE, TASK, Some(&one)).id, problem(WORKSPACE, OTHER, Some(&other)).id);
        assert_eq!(problem(WORKSPACE, TASK, Some(&one)).headline.as_deref(), Some(texts[0]));
        assert_ne!(problem(WORKSPACE, TASK, Some(&one)).id, problem(OTHER, TASK, Some(&one)).id, "another workspace");
        let title = problem(WORKSPACE, TASK, Some(&one)).title;
        assert!(!title.contains("17 at") && !title.contains("10.0.0.8") && !title.contains("4f0e9a57"), "{title}");
    }

    /// Two different errors of a database were one problem, and its title did not say which.
    #[test]
    fn an_error_code_is_part_of_the_cause() {
        let [one, other] = ["ORA-00942: table \"A\" does not exist", "ORA-12541: no listener for \"A\""];
        let [one, other] = [one, other].map(|text| problem(WORKSPACE, TASK, Some(&headline(text, false))));
        assert_ne!(one.id, other.id);
        assert_eq!(one.title, "ORA-00942: table \"A\" does not exist");
    }

    #[test]
    fn what_says_only_that_a_task_failed_is_a_problem_of_that_task() {
        let vague = headline("Process exited with code 1", true);
        for headline in [Some(&vague), None] {
            assert_ne!(problem(WORKSPACE, TASK, headline).id, problem(WORKSPACE, OTHER, headline).id);
            assert_eq!(problem(WORKSPACE, TASK, headline).id, problem(WORKSPACE, TASK, headline).id);
        }
        assert_eq!(problem(WORKSPACE, TASK, None).title, NO_CAUSE);
        assert_eq!(problem(WORKSPACE, TASK, Some(&headline("  ", false))).title, NO_CAUSE);
    }

    #[test]
    fn a_long_cause_is_the_same_whatever_the_lengths_of_its_values() {
        let text = |value: &str| {
            let whole = format!("cannot load {value} {}", "because of this and that ".repeat(40));
            whole.chars().take(400).collect::<String>()
        };
        let [short, long] = ["7", "0b1a51f8-ce26-4590-89c6-c5bf0720bd6c"].map(|value| headline(&text(value), false));
        assert_ne!(problem(WORKSPACE, TASK, Some(&short)).id, problem(WORKSPACE, TASK, Some(&long)).id, "other kinds");
        let numbers = ["7", "12345678901234"].map(|value| headline(&text(value), false));
        assert_eq!(problem(WORKSPACE, TASK, Some(&numbers[0])).id, problem(WORKSPACE, TASK, Some(&numbers[1])).id);
    }
}
