//! `collection_health`: the progress of collection and delivery.

use runlog_model::wire::collection::{CollectionBody, UpstreamBody};
use runlog_model::wire::sinks::SinkBody;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, one_line};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;

/// Most characters of a reason.
const REASON_CHARS_MAX: usize = 300;

/// Arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionHealth {
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: CollectionHealth) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let collection: CollectionBody = context.json(Question::get(&["runlog", "v1", "collection"], Vec::new())).await?;
    let sinks: Vec<SinkBody> = context.json(Question::get(&["runlog", "v1", "sinks"], Vec::new())).await?;
    let sum = |count: fn(&UpstreamBody) -> u64| collection.upstreams.iter().map(count).sum::<u64>();
    text.head(format!(
        "{} upstreams, {} active collectors, {} sinks. Runs pending {}, failing {}; deliveries failing {}.",
        collection.upstreams.len(),
        collection.collectors.len(),
        sinks.len(),
        sum(|upstream| upstream.waiting),
        sum(|upstream| upstream.failing),
        sinks.iter().map(|sink| sink.failing).sum::<u64>()
    ));
    if !collection.upstreams.is_empty() && collection.collectors.is_empty() {
        text.head("No collector is active: nothing is collected until one is started.");
    }
    let mut lines: Vec<String> = collection.upstreams.iter().map(upstream_line).collect();
    lines.extend(sinks.iter().map(sink_line));
    lines.extend(collection.upstreams.iter().flat_map(|upstream| {
        upstream.problems.iter().map(move |run| {
            let reason = one_line(&run.problem, REASON_CHARS_MAX);
            format!(
                "failing run {} of {} | {} attempts | {reason}",
                run.run_id,
                one_line(&upstream.name, 80),
                run.attempts
            )
        })
    }));
    let shown = lines.iter().take_while(|line| text.data(line)).count();
    if shown < lines.len() {
        text.note(format!("{} lines are left out; a higher max_tokens shows them.", lines.len() - shown));
    }
    if let Some(link) = context.link("collection") {
        text.note(format!("Page: {link}"));
    }
    Ok(text.finish())
}

fn upstream_line(upstream: &UpstreamBody) -> String {
    let time = |time: Option<runlog_model::Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    format!(
        "upstream {} | {} known, {} running, {} pending, {} failing, {} incomplete, {} landed | listed until {} | oldest pending \
         ended {}",
        one_line(&upstream.name, 80),
        upstream.known,
        upstream.going,
        upstream.waiting,
        upstream.failing,
        upstream.incomplete,
        upstream.landed,
        time(upstream.listed_until),
        time(upstream.waiting_since)
    )
}

fn sink_line(sink: &SinkBody) -> String {
    let problem = sink.problem.as_deref().map(|text| one_line(text, REASON_CHARS_MAX)).unwrap_or_default();
    format!(
        "sink {} ({}) | {} due, {} failing, {} done, {} refused runs, {} refused records | {} s behind | {problem}",
        one_line(&sink.name, 80),
        one_line(&sink.kind, 40),
        sink.due,
        sink.failing,
        sink.done,
        sink.dead,
        sink.refused,
        sink.lag_seconds
    )
}
