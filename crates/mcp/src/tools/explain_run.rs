//! `explain_run`: the brief of a run.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::names;

/// Arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRun {
    /// The ID of the run, a UUID.
    pub(crate) run_id: String,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    pub(crate) max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: ExplainRun) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let id = names::run(&arguments.run_id)?.to_string();
    let path = ["runlog", "v1", "runs", &id, "report"];
    let brief = context.whole(Question::get(&path, vec![("brief", "true".to_owned())])).await?;
    let brief = String::from_utf8(brief.body.into()).map_err(|_| Refusal::not_understood())?;
    // The brief marks by itself what is from the log.
    if !text.head_lines(&brief) {
        text.note("The rest is left out; a higher max_tokens shows it.");
    }
    if let Some(link) = context.link(&format!("runs/{id}")) {
        text.note(format!("Page: {link}"));
    }
    text.note("Next steps: read_log with a line named above; compare_runs with the last successful run.");
    Ok(text.finish())
}
