//! A message in the form common to all destinations: one or several events, with the text and facts of each.

use runlog_model::printable::is_control;
use serde_json::{Value, json};

/// Maximum number of events of a message that are described; the others are counted.
pub(super) const EVENTS_SHOWN_MAX: usize = 10;

/// The purpose of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Something happened.
    Alert,
    /// The reported condition has ended.
    Recovery,
}

/// One event or several of a rule, for one destination.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The ID of the message, equal for each attempt to send it.
    pub(super) id: String,
    /// The ID of the subject, equal for all messages about it up to the one that reports its end.
    pub(super) subject_id: String,
    pub(super) purpose: Purpose,
    /// The bodies of at most [`EVENTS_SHOWN_MAX`] events, at least one.
    events: Vec<Value>,
    /// Number of further events.
    more: usize,
}

impl Message {
    /// A message about events, whose bodies are JSON; bodies that do not decode are left out.
    pub(super) fn new<'a>(
        id: String,
        subject_id: String,
        purpose: Purpose,
        bodies: impl ExactSizeIterator<Item = &'a str>,
    ) -> Self {
        let more = bodies.len().saturating_sub(EVENTS_SHOWN_MAX);
        let events = bodies.take(EVENTS_SHOWN_MAX).filter_map(|body| serde_json::from_str(body).ok()).collect();
        Self { id, subject_id, purpose, events, more }
    }

    /// Returns a message for testing a destination.
    pub(super) fn test(id: &str, purpose: Purpose, rule: &str) -> Self {
        let text = match purpose {
            Purpose::Alert => "runlog: this is a test, alerts arrive here",
            Purpose::Recovery => "runlog: the test is over",
        };
        let events = vec![json!({ "rule": rule, "what": "test", "text": text })];
        Self { id: id.to_owned(), subject_id: id.to_owned(), purpose, events, more: 0 }
    }

    /// The body as JSON: that of the event, or of a list of them.
    pub(super) fn json(&self) -> Value {
        let mut body = match &self.events[..] {
            [one] if self.more == 0 => one.clone(),
            events => json!({
                "rule": self.rule(),
                "what": "several",
                "text": self.title(),
                "events": events,
                "more": self.more,
                "link": self.link(),
            }),
        };
        body["subjectId"] = self.subject_id.as_str().into();
        body
    }

    /// Number of events.
    pub(super) fn count(&self) -> usize {
        self.events.len() + self.more
    }

    /// The first event.
    pub(super) fn event(&self) -> &Value {
        self.events.first().unwrap_or(&Value::Null)
    }

    /// A field of the first event; empty if it has none.
    pub(super) fn field(&self, name: &str) -> &str {
        text_of(self.event(), name)
    }

    /// The rule.
    pub(super) fn rule(&self) -> &str {
        self.field("rule")
    }

    /// The kind of event, such as `run_failed`; of a recovery, that of the event that is over.
    pub(super) fn what(&self) -> &str {
        match self.field("of") {
            "" => self.field("what"),
            of => of,
        }
    }

    /// The kind of event in words, such as `run failed`.
    pub(super) fn kind_text(&self) -> String {
        let what = self.what().replace('_', " ");
        match self.purpose {
            Purpose::Alert => what,
            Purpose::Recovery => format!("resolved: {what}"),
        }
    }

    /// Returns a summary in one line.
    pub(super) fn title(&self) -> String {
        let first = one_line(self.field("text"));
        match self.count() {
            0 | 1 => first,
            count => format!("{count} alerts of {}, the first: {first}", one_line(self.rule())),
        }
    }

    /// Returns one text for each described event, without control characters except line feeds.
    pub(super) fn texts(&self) -> Vec<String> {
        self.events.iter().map(|event| clean(text_of(event, "text"))).collect()
    }

    /// `and 12 more`, if there are more events than are described.
    pub(super) fn more(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", self.more))
    }

    /// Returns further facts about the event; of several events, the facts that they have in common.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let mut add = |name: &'static str, values: Vec<&str>| {
            if let Some(first) =
                values.first().filter(|first| !first.is_empty() && values.iter().all(|it| it == *first))
            {
                facts.push((name, one_line(first)));
            }
        };
        let of = |field: &str| self.events.iter().map(|event| text_of(event, field)).collect::<Vec<_>>();
        add("task", of("taskName"));
        add("workspace", of("workspaceName"));
        add("environment", of("environmentName"));
        add("run", of("runId"));
        add("problem", self.events.iter().map(|event| text_of(&event["problem"], "title")).collect());
        add("problem first seen", self.events.iter().map(|event| text_of(&event["problem"], "firstSeen")).collect());
        add("rule", of("rule"));
        facts
    }

    /// The page of the event, or of the first of several.
    pub(super) fn link(&self) -> Option<&str> {
        Some(self.field("link")).filter(|link| link.starts_with("https://") || link.starts_with("http://"))
    }

    /// When it was found; empty for a test.
    pub(super) fn noted_at(&self) -> &str {
        self.field("notedAt")
    }
}

fn text_of<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

/// A text in one line.
pub(super) fn one_line(text: &str) -> String {
    text.split(is_control).collect::<Vec<_>>().join(" ")
}

/// A text of several lines: other control characters become spaces.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if is_control(letter) && letter != '\n' { ' ' } else { letter }).collect()
}

/// The beginning of a text, with `…` if it is longer. Unit: characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bodies: &[Value]) -> Message {
        let bodies: Vec<String> = bodies.iter().map(Value::to_string).collect();
        Message::new("id".to_owned(), "subjectId".to_owned(), Purpose::Alert, bodies.iter().map(String::as_str))
    }

    #[test]
    fn several_events_are_counted_with_what_they_share() {
        let event = |number: usize| json!({ "rule": "night", "text": format!("run {number}\u{1b}[2J"), "taskName": "load", "runId": number.to_string() });
        let events: Vec<Value> = (0..22).map(event).collect();
        let said = message(&events);
        assert_eq!((said.texts().len(), said.more().as_deref()), (EVENTS_SHOWN_MAX, Some("and 12 more")));
        assert_eq!(said.title(), "22 alerts of night, the first: run 0 [2J");
        assert_eq!(said.facts(), [("task", "load".to_owned()), ("rule", "night".to_owned())]);
        assert_eq!((said.json()["more"].as_u64(), said.json()["what"].as_str()), (Some(12), Some("several")));
        assert_eq!(message(&events[..1]).json()["runId"], "0");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("äöü", 3), cut("äöüß", 3)), ("äöü".to_owned(), "äö…".to_owned()));
    }
}
