//! Slack: an incoming webhook, which takes a message as blocks.
//!
//! Source: "Sending messages using incoming webhooks", "Formatting text for app surfaces" and the reference of Block
//! Kit: at most 50 blocks, 150 characters in a header, 3,000 in the text of a section and 2,000 in each of its ten
//! fields; `&`, `<` and `>` are escaped everywhere, which also disarms mentions such as `<!channel>`.

use serde_json::{Value, json};

use super::message::{Message, Purpose};

const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3_000;
const FIELD_CHARS_MAX: usize = 2_000;
const FIELDS_MAX: usize = 10;
/// Slack truncates a text above 40,000 characters; notifications show one line.
const TEXT_CHARS_MAX: usize = 300;

pub(super) fn body(message: &Message) -> Value {
    let sign = match message.purpose {
        Purpose::Alert => "🔴",
        Purpose::Recovery => "🟢",
    };
    let header = escaped(&format!("{sign} {}", message.kind_text()), HEADER_CHARS_MAX);
    let mut blocks =
        vec![json!({ "type": "header", "text": { "type": "plain_text", "text": header, "emoji": false } })];
    let section = |text: &str| json!({ "type": "section", "text": mrkdwn(escaped(text, SECTION_CHARS_MAX)) });
    blocks.extend(message.texts().iter().filter(|text| !text.is_empty()).map(|text| section(text)));
    blocks.extend(message.more().map(|more| section(&more)));
    let field = |(name, value): &(&str, String)| mrkdwn(format!("*{name}*\n{}", escaped(value, FIELD_CHARS_MAX - 40)));
    let fields: Vec<Value> = message.facts().iter().take(FIELDS_MAX).map(field).collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    // A longer link would not be a link any more once it is cut.
    if let Some(link) = message.link().filter(|link| link.len() < SECTION_CHARS_MAX / 5) {
        let link = escaped(&link.replace('|', "%7C"), SECTION_CHARS_MAX);
        blocks.push(json!({ "type": "section", "text": mrkdwn(format!("<{link}|Open in Runlog>")) }));
    }
    json!({
        "text": escaped(&message.title(), TEXT_CHARS_MAX),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// A text that Slack does not search for links, channels and names.
fn mrkdwn(text: String) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// The text with its three special characters escaped, which has at most this many characters then.
fn escaped(text: &str, chars_max: usize) -> String {
    let mut room = chars_max.saturating_sub(1);
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        let mut buffer = [0; 4];
        let part = match letter {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            letter => letter.encode_utf8(&mut buffer),
        };
        // UTF-16, because the documentation does not define a character.
        let length = part.encode_utf16().count();
        if length > room {
            shown.push('…');
            break;
        }
        room -= length;
        shown.push_str(part);
    }
    shown
}
