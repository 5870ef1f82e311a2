//! Microsoft Teams: a workflow that is started by a webhook and posts an Adaptive Card.
//!
//! Source: "Create incoming webhooks with Workflows", "Adaptive Cards" 1.4: the message is an envelope with one
//! attachment; it has at most 28 KB. Text of logs is shown in text runs, because text blocks and facts interpret
//! Markdown.

use serde_json::{Value, json};

use super::message::{Message, Purpose, cut};
use crate::deliver::http::Answer;

/// The largest message that Teams accepts. Unit: bytes; 28 KB, less some for what Teams adds.
const BYTES_MAX: usize = 27_000;
/// Maximum number of characters of a text; halved until the message is small enough.
const TEXT_CHARS_MAX: usize = 4_000;
const FACT_CHARS_MAX: usize = 400;

/// True for the answer of a connector that could not post the message, which has status 200 as well.
pub(super) fn has_failed(answer: &Answer) -> bool {
    String::from_utf8_lossy(&answer.body).contains("Webhook message delivery failed")
}

pub(super) fn body(message: &Message) -> Value {
    let mut chars_max = TEXT_CHARS_MAX;
    loop {
        let body = body_of(message, chars_max);
        if body.to_string().len() <= BYTES_MAX || chars_max == 0 {
            return body;
        }
        chars_max /= 2;
    }
}

fn body_of(message: &Message, chars_max: usize) -> Value {
    let color = match message.purpose {
        Purpose::Alert => "attention",
        Purpose::Recovery => "good",
    };
    let head = [json!({ "type": "TextRun", "text": plain(&message.kind_text(), FACT_CHARS_MAX), "weight": "bolder",
                       "size": "large", "color": color })];
    let mut rows = vec![rich(&head)];
    let texts = message.texts().into_iter().chain(message.more());
    rows.extend(texts.map(|text| rich(&[json!({ "type": "TextRun", "text": plain(&text, chars_max) })])));
    for (name, value) in message.facts() {
        let value = plain(&value, FACT_CHARS_MAX.min(chars_max));
        rows.push(rich(&[
            json!({ "type": "TextRun", "text": format!("{name}: "), "weight": "bolder" }),
            json!({ "type": "TextRun", "text": value }),
        ]));
    }
    let link = message.link().filter(|link| link.len() < FACT_CHARS_MAX * 2);
    let actions: Vec<Value> = link
        .map(|link| json!({ "type": "Action.OpenUrl", "title": "Open in Runlog", "url": link }))
        .into_iter()
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": plain(&message.title(), FACT_CHARS_MAX.min(chars_max)),
                "body": rows,
                "actions": actions,
                "msteams": { "width": "Full" },
            },
        }],
    })
}

fn rich(runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

/// A text that no client evaluates: `{{DATE(…)}}` and `${…}` are the only forms that are replaced in a text run.
fn plain(text: &str, chars_max: usize) -> String {
    let text = cut(text, chars_max).replace("{{", "{\u{2060}{").replace("${", "$\u{2060}{");
    // A run without text is not valid.
    if text.is_empty() { "–".to_owned() } else { text }
}
