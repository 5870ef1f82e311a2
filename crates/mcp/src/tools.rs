//! The tools: one file each, with the arguments, the requests to the service, and the answer.

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

use crate::answer::{UNTRUSTED, one_line};
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
    /// Reads the arguments of a tool and returns its answer.
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
    // The name of the type is meaningless to a client.
    let object = Arc::make_mut(&mut schema);
    object.remove("title");
    object.remove("description");
    let tool = Tool::new(name, format!("{description} {UNTRUSTED}"), schema).with_title(title);
    tool.with_annotations(annotations)
}

/// Longest text of an argument but a query in SQL, which has a limit of its own. Unit: bytes.
const ARGUMENT_BYTES_MAX: usize = 8 << 10;

/// Most arguments of a call; no tool has as many.
const ARGUMENTS_MAX: usize = 32;

/// The arguments of a tool. Some clients send null for each argument that they leave out.
fn read<T: DeserializeOwned>(mut arguments: JsonObject) -> Result<T, Refusal> {
    arguments.retain(|_, value| !value.is_null());
    if arguments.len() > ARGUMENTS_MAX {
        return Err(Refusal::invalid(format!("{} arguments are more than any tool has", arguments.len())));
    }
    let is_long = |name: &str, value: &Value| {
        name != "query" && value.as_str().is_some_and(|text| text.len() > ARGUMENT_BYTES_MAX)
    };
    if let Some((name, _)) = arguments.iter().find(|(name, value)| is_long(name, value)) {
        return Err(Refusal::invalid(format!("{} is longer than {ARGUMENT_BYTES_MAX} bytes", one_line(name, 80))));
    }
    let read = |arguments: &JsonObject| T::deserialize(&Value::Object(arguments.clone()));
    let error = match read(&arguments) {
        Ok(read) => return Ok(read),
        Err(error) => error.to_string(),
    };
    // The error does not name the argument: it is the one whose removal changes the error.
    let is_of = |name: &&String| {
        let mut others = arguments.clone();
        others.remove(*name);
        read(&others).err().is_none_or(|other| other.to_string() != error)
    };
    let what = match arguments.keys().find(is_of) {
        Some(name) => format!("{} is invalid", one_line(name, 80)),
        None => "the arguments are invalid".to_owned(),
    };
    let error =
        error.replace("expected u32", "expected a whole number").replace("expected u64", "expected a whole number");
    Err(Refusal::invalid(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{TOKENS_MAX, TOKENS_MIN};

    #[track_caller]
    fn check(arguments: Value, words: &str) {
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        let error = read::<ReadLog>(arguments).map(|_| ()).unwrap_err().message;
        assert!(error.starts_with(words), "{error}");
    }

    #[test]
    fn an_error_names_the_argument_that_is_wrong() {
        use serde_json::json;
        check(
            json!({"run_id": "x", "line": "24"}),
            "line is invalid: invalid type: string \"24\", expected a whole number",
        );
        check(json!({"run_id": "x", "after": 1, "line": -1}), "line is invalid: invalid value: integer `-1`");
        check(json!({"run_id": 5}), "run_id is invalid: invalid type: integer `5`, expected a string");
        check(json!({"run_id": "x", "severity": "ERROR"}), "severity is invalid: invalid type: string \"ERROR\"");
        check(json!({"run_id": null}), "the arguments are invalid: missing field `run_id`");
        check(json!({"run_id": "x", "text": "y".repeat(8_193)}), "text is longer than 8192 bytes");
        check((0..33).map(|number| (number.to_string(), number)).collect(), "33 arguments are more than any tool has");
    }

    /// Clients that fill in all arguments send null for those that the model leaves out.
    #[test]
    fn null_is_an_argument_that_is_not_given() {
        let arguments = serde_json::json!({"run_id": "x", "line": null, "severity": null, "text": null});
        let Value::Object(arguments) = arguments else { unreachable!() };
        let given: ReadLog = read(arguments).map_err(|refusal| refusal.message).unwrap();
        assert_eq!((given.line, given.severity.len(), given.text), (None, 0, None));
    }

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
                let is_number = property["type"].as_array().is_some_and(|types| types.contains(&"integer".into()));
                // The first line of a log is line 1, and its last one is unknown.
                let is_bounded = property["maximum"].is_u64() || (name == "line" && property["minimum"] == 1);
                assert!(!is_number || is_bounded, "{} {name}: {property}", tool.name);
            }
            assert_eq!(properties["max_tokens"]["minimum"], TOKENS_MIN, "{}", tool.name);
            assert_eq!(properties["max_tokens"]["maximum"], TOKENS_MAX, "{}", tool.name);
            let severities = properties.get("severity").map(|severity| &severity["items"]["enum"]);
            assert!(severities.is_none_or(|words| words.as_array().unwrap().len() == 7), "{}", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
        }
    }
}
