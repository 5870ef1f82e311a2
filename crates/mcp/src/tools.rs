//! The tools: one file each, which holds its arguments, how it asks the service, and what it answers.

mod collection_health;
mod compare_runs;
mod explain_run;
mod find_problems;
mod find_runs;
mod query_sql;
mod read_log;
mod search_logs;

use std::any::Any;
use std::sync::Arc;

use rmcp::handler::server::common::schema_for_type;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::UNTRUSTED;
use crate::api::{Api, Refusal};
use crate::context::Context;

pub(crate) use explain_run::ExplainRun;
pub(crate) use read_log::ReadLog;

/// The descriptions of all tools.
pub(crate) fn all() -> Vec<Tool> {
    vec![
        tool::<find_runs::FindRuns>(
            "find_runs",
            "Find runs",
            "Lists runs of data jobs, newest first: by default those that failed in the last 24 hours. Start here, or with \
             find_problems, when somebody asks what failed.",
        ),
        tool::<find_problems::FindProblems>(
            "find_problems",
            "Find problems",
            "Lists problems: root causes that failed runs have in common, with counts, state and notes of people. With \
             problem_id, returns one problem with its tasks and latest runs.",
        ),
        tool::<ExplainRun>(
            "explain_run",
            "Explain a run",
            "Explains why a run failed: the cause with its line in the log, evidence, what is new compared with the last \
             successful run, and what to try. Texts of the log in it stand in `code` spans.",
        ),
        tool::<compare_runs::CompareRuns>(
            "compare_runs",
            "Compare two runs",
            "Compares the logs of two runs: patterns of messages and root causes that are new, gone, more frequent or less \
             frequent.",
        ),
        tool::<search_logs::SearchLogs>(
            "search_logs",
            "Search logs",
            "Searches the logs of all runs, or of a workspace, task or run, newest records first.",
        ),
        tool::<ReadLog>(
            "read_log",
            "Read lines of a log",
            "Reads lines of the log of a run around a line, or, with severity or text, the lines that match from a line on. \
             Lines are counted from 1, as in the web UI and in explain_run.",
        ),
        tool::<query_sql::QuerySql>(
            "query_sql",
            "Query the archive in SQL",
            "Runs one read-only SQL query (the dialect of Apache DataFusion) on the tables runs, records, tasks and \
             deliveries. `SHOW TABLES` and `DESCRIBE runs` list tables and columns. Aggregate and use LIMIT. For the text of \
             logs, search_logs is faster.",
        ),
        tool::<collection_health::CollectionHealth>(
            "collection_health",
            "Health of collection",
            "Shows whether logs are collected and delivered: for each upstream and each sink, what is pending and failing, \
             and why. Requires a token of an administrator.",
        ),
    ]
}

/// Calls a tool; none if there is no tool with this name.
pub(crate) async fn call<A: Api>(
    context: &Context<'_, A>,
    name: &str,
    arguments: JsonObject,
) -> Option<Result<String, Refusal>> {
    /// The answer of a tool to its arguments, once they are read.
    macro_rules! answer {
        ($tool:ident) => {
            match read(arguments) {
                Ok(arguments) => $tool::answer(context, arguments).await,
                Err(refusal) => Err(refusal),
            }
        };
    }
    Some(match name {
        "find_runs" => answer!(find_runs),
        "find_problems" => answer!(find_problems),
        "explain_run" => answer!(explain_run),
        "compare_runs" => answer!(compare_runs),
        "search_logs" => answer!(search_logs),
        "read_log" => answer!(read_log),
        "query_sql" => answer!(query_sql),
        "collection_health" => answer!(collection_health),
        _ => return None,
    })
}

/// The answer of `explain_run`, for the resource.
pub(crate) async fn explain<A: Api>(context: &Context<'_, A>, arguments: ExplainRun) -> Result<String, Refusal> {
    explain_run::answer(context, arguments).await
}

/// The answer of `read_log`, for the resource.
pub(crate) async fn read_lines<A: Api>(context: &Context<'_, A>, arguments: ReadLog) -> Result<String, Refusal> {
    read_log::answer(context, arguments).await
}

/// The description of a tool that only reads.
fn tool<T: JsonSchema + Any>(name: &'static str, title: &'static str, description: &str) -> Tool {
    let annotations =
        ToolAnnotations::with_title(title).read_only(true).destructive(false).idempotent(true).open_world(false);
    let mut schema = schema_for_type::<T>();
    // The name of the type says nothing to a client.
    let object = Arc::make_mut(&mut schema);
    object.remove("title");
    object.remove("description");
    let tool = Tool::new(name, format!("{description} {UNTRUSTED}"), schema).with_title(title);
    tool.with_annotations(annotations)
}

/// The arguments of a tool.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Refusal::invalid(format!("the arguments are invalid: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_described_and_only_reads() {
        for tool in all() {
            let annotations = tool.annotations.unwrap();
            assert_eq!((annotations.read_only_hint, annotations.destructive_hint), (Some(true), Some(false)));
            assert!(tool.description.unwrap().contains("untrusted"), "{}", tool.name);
            let properties = tool.input_schema["properties"].as_object().unwrap();
            assert!(properties.contains_key("max_tokens"), "{}", tool.name);
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{} {name}", tool.name);
            }
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
        }
    }
}
