//! `query_sql`: one SQL query.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, shortened};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;

/// Maximum size of a result that is read: more than the longest answer. Unit: bytes.
const RESULT_BYTES_MAX: usize = (TOKENS_MAX as usize) * 8;

/// Most characters of a row.
const ROW_CHARS_MAX: usize = 2_000;

/// Arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuerySql {
    /// One SQL query on the tables runs, records, tasks and deliveries.
    query: String,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: QuerySql) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let answer = context.api.ask(Question::Sql { query: arguments.query }, RESULT_BYTES_MAX).await?;
    let result = String::from_utf8_lossy(&answer.body);
    // The last line of a truncated result is incomplete and omitted, unless it is the only one.
    let whole = match answer.is_cut {
        true => result.rfind('\n').map_or(result.as_ref(), |end| &result[..end]),
        false => &result,
    };
    let rows: Vec<&str> = whole.lines().filter(|row| !row.is_empty()).collect();
    text.head("One row per line, as JSON:");
    let shown = rows.iter().take_while(|row| text.data(&shortened(row, ROW_CHARS_MAX))).count();
    match (answer.is_cut, shown < rows.len()) {
        (false, false) => text.note(format!("{shown} rows, which is the whole result.")),
        (false, true) => text.note(format!(
            "{shown} of {} rows are shown. Aggregate, select fewer columns, or continue with OFFSET {shown} and the same ORDER BY.",
            rows.len()
        )),
        (true, _) => text.note(format!(
            "{shown} rows are shown; the result has more, or was cut off. Aggregate, select fewer columns, use LIMIT, or \
             continue with OFFSET {shown} and the same ORDER BY."
        )),
    }
    if let Some(link) = context.link("sql") {
        text.note(format!("Page for queries: {link}"));
    }
    Ok(text.finish())
}
