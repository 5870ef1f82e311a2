//! Messages of syslog (RFC 5424 and RFC 3164), as written by an appender of an engine: converts each to an event.

use jiff::civil::DateTime;
use runlog_model::{LogTime, LogZone, StructuredData, Timestamp};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// The event of a line `<11>1 2021-04-21T15:29:11.115Z host app 7 - [my_mdc@18060 flowExecutionId="…"] text`; none for
/// any other. Elements of its structured data that are not well-formed are part of the text.
pub(crate) fn read(line: &str) -> Option<Object> {
    let (priority, rest) = priority(line)?;
    let rest = rest.strip_prefix("1 ")?;
    let mut parts = rest.splitn(6, ' ');
    let mut part = || parts.next();
    let (time, host, app, process, message_id, rest) = (part()?, part()?, part()?, part()?, part()?, part()?);
    if !rest.starts_with(['-', '[']) {
        return None;
    }
    let mut event = Object::new();
    add_priority(&mut event, priority);
    for (name, text) in
        [("timestamp", time), ("host", host), ("app_name", app), ("proc_id", process), ("msg_id", message_id)]
    {
        if text != "-" {
            event.insert(name.to_owned(), text.into());
        }
    }
    let StructuredData { elements, malformed, rest: text } = StructuredData::read_before_message(rest);
    event.extend(elements);
    event.insert("message".to_owned(), [malformed.as_str(), text].concat().into());
    Some(event)
}

/// The event of a message of any form, without its line break. A message of RFC 3164 names neither the year of its time nor
/// the zone: the year is the last one in which it is not in the future, the zone is `zone`, and a field of the event says
/// so. A message without a priority has that of `user.notice`; one without a known time or sender is all text.
pub(crate) fn read_any(message: &str, now: Timestamp, zone: &LogZone) -> Object {
    if let Some(event) = read(message) {
        return event;
    }
    let (priority, rest) = priority(message).unwrap_or((DEFAULT_PRIORITY, message));
    let mut event = Object::new();
    add_priority(&mut event, priority);
    let Some(Stamped { time, is_guessed, rest }) = stamped(rest, now, zone) else {
        event.insert("message".to_owned(), rest.into());
        return event;
    };
    event.insert("timestamp".to_owned(), time.into());
    if is_guessed {
        event.insert("time_guessed".to_owned(), "year and zone".into());
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    // Local messages have no host.
    let (host, rest) = if first.contains([':', '[']) { (None, rest) } else { (Some(first), after) };
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        event.insert("host".to_owned(), host.into());
    }
    let text = match tag(rest) {
        Some((app, process, text)) => {
            event.insert("app_name".to_owned(), app.into());
            if let Some(process) = process {
                event.insert("proc_id".to_owned(), process.into());
            }
            text
        }
        None => rest,
    };
    event.insert("message".to_owned(), text.into());
    event
}

/// True for the first line of a message, as opposed to one that continues the message before.
pub(crate) fn begins_message(line: &str, now: Timestamp, zone: &LogZone) -> bool {
    line.starts_with(['<', '{']) || stamped(line, now, zone).is_some()
}

/// The priority of a message without one: `user.notice` (RFC 3164, 4.3.3).
const DEFAULT_PRIORITY: u8 = 13;

/// The largest priority: facility 23, severity 7.
const PRIORITY_MAX: u8 = 191;

fn priority(message: &str) -> Option<(u8, &str)> {
    let (priority, rest) = message.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&priority.len()) && priority.bytes().all(|byte| byte.is_ascii_digit());
    let priority = priority.parse().ok().filter(|priority| is_number && *priority <= PRIORITY_MAX)?;
    Some((priority, rest))
}

fn add_priority(event: &mut Object, priority: u8) {
    event.insert("level".to_owned(), (priority % 8).into());
    event.insert("facility".to_owned(), (priority / 8).into());
}

/// The time at the beginning of a message, as text.
struct Stamped<'a> {
    time: String,
    /// True if the message names no year and no zone.
    is_guessed: bool,
    rest: &'a str,
}

/// `Oct 11 22:14:15 …`, or a time of RFC 3339, which newer senders write in its place.
fn stamped<'a>(text: &'a str, now: Timestamp, zone: &LogZone) -> Option<Stamped<'a>> {
    if let Some((time, rest)) = text.split_once(' ')
        && time.as_bytes().get(10) == Some(&b'T')
        && LogTime::read_text(time, zone).is_some()
    {
        return Some(Stamped { time: time.to_owned(), is_guessed: false, rest });
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (head, rest) = (text.get(..15)?, text.get(15..)?);
    let rest = rest.strip_prefix(' ').or_else(|| rest.strip_prefix(": ")).or(rest.is_empty().then_some(rest))?;
    let month = MONTHS.iter().position(|month| head.starts_with(month))? + 1;
    let day: u8 = head.get(4..6)?.trim_start().parse().ok()?;
    let clock = head.get(7..)?;
    let latest = zone.civil(now.plus_millis(86_400_000));
    let guessed = |year: i16| {
        let time: DateTime = format!("{year:04}-{month:02}-{day:02}T{clock}").parse().ok()?;
        (time <= latest).then_some(time)
    };
    // Four years: 29 February.
    let time = (0..=4).find_map(|back| guessed(latest.year() - back))?;
    Some(Stamped { time: time.to_string(), is_guessed: true, rest })
}

/// The application, its process and the text of `app[7]: text`.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find([':', '[', ' '])?;
    let (app, after) = text.split_at(end);
    if app.is_empty() || app.len() > 48 {
        return None;
    }
    let (process, after) = match after.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((process, after)) => (Some(process), after),
        None => (None, after),
    };
    let text = after.strip_prefix(':')?;
    Some((app, process, text.strip_prefix(' ').unwrap_or(text)))
}

/// Structured data, `[my_mdc@18060 a="b"][other@1 c="d"]`, as an object of its elements. What is not well-formed is a field
/// `text` of it.
pub(crate) fn structured_data(text: &str) -> Option<Object> {
    let text = text.trim();
    let StructuredData { mut elements, malformed, rest } = StructuredData::read(text);
    if elements.is_empty() {
        return None;
    }
    if !malformed.is_empty() || !rest.is_empty() {
        elements.insert("text".to_owned(), [malformed.as_str(), rest].concat().into());
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_syslog_is_an_event_with_its_structured_data() {
        let line =
            r#"<11>1 2021-04-21T15:29:11.115Z host app 7 - [my_mdc@18060 a="b \"c\\ \]" d="e"][x@1 f=""] no  price"#;
        let event = Value::Object(read(line).unwrap());
        assert_eq!(event["my_mdc@18060"], serde_json::json!({"a": r#"b "c\ ]"#, "d": "e"}));
        assert_eq!((event["level"].as_u64(), event["message"].as_str()), (Some(3), Some("no  price")));
        assert_eq!(read("<11>1 - - - - - - text").unwrap()["message"], "text");
        assert_eq!(event["facility"], 1);
        for line in ["<11>", "<11>1 a b", "text", "<300>1 - - - - - - x", "<11>1 - - - - - text"] {
            assert!(read(line).is_none(), "{line}");
        }
    }

    #[test]
    fn structured_data_that_is_not_well_formed_hides_neither_the_header_nor_the_other_elements() {
        let line = r#"<11>1 2021-04-21T15:29:11.115Z host app 7 - [a b=c][my_mdc@18060 flowExecutionId="x"] text"#;
        let event = Value::Object(read(line).unwrap());
        assert_eq!((&event["host"], &event["message"]), (&"host".into(), &"[a b=c] text".into()));
        assert_eq!(event["my_mdc@18060"], serde_json::json!({"flowExecutionId": "x"}));
        let cut = read(r#"<1>1 - - app - - [a b="c"#).unwrap();
        assert_eq!((&cut["app_name"], &cut["message"]), (&"app".into(), &r#"[a b="c"#.into()));
        let shipped = structured_data(r#"[a@1 b="c"][d e] "#).unwrap();
        assert_eq!(Value::Object(shipped), serde_json::json!({"a@1": {"b": "c"}, "text": "[d e]"}));
    }

    fn read_at(message: &str, now: &str) -> Value {
        let now = LogTime::read_text(now, &LogZone::default()).unwrap().time;
        Value::Object(read_any(message, now, &LogZone::default()))
    }

    #[test]
    fn a_message_of_old_devices_has_the_last_possible_year_which_is_marked() {
        let event = read_at("<34>Oct 11 22:14:15 mymachine su[7]: 'su root' failed", "2026-11-30T00:00:00Z");
        assert_eq!(
            event,
            serde_json::json!({"level": 2, "facility": 4, "timestamp": "2026-10-11T22:14:15", "host": "mymachine",
                "time_guessed": "year and zone", "app_name": "su", "proc_id": "7", "message": "'su root' failed"})
        );
        let year =
            |now: &str| read_at("<34>Dec 31 23:59:59 h a: x", now)["timestamp"].as_str().unwrap()[..4].to_owned();
        assert_eq!((year("2027-01-01T00:00:01Z"), year("2026-12-31T23:59:00Z")), ("2026".into(), "2026".into()));
        assert_eq!(read_at("<34>Feb 29 01:02:03 h a: x", "2027-03-01T00:00:00Z")["timestamp"], "2024-02-29T01:02:03");
        let event = read_at("<13>2026-11-30T10:00:00.123456+01:00 h cron: done", "2026-11-30T10:00:00Z");
        assert_eq!(
            (&event["timestamp"], &event["time_guessed"]),
            (&"2026-11-30T10:00:00.123456+01:00".into(), &Value::Null)
        );
    }

    #[test]
    fn a_message_in_no_known_form_is_kept_as_text() {
        let of = |message: &str| {
            let event = read_at(message, "2026-11-30T10:00:00Z");
            (event["message"].clone(), event["level"].clone(), event["app_name"].clone(), event["host"].clone())
        };
        let null = Value::Null;
        assert_eq!(of("plain text"), ("plain text".into(), 5.into(), null.clone(), null.clone()));
        assert_eq!(
            of("<189>29: *Mar 1 00:00: %SYS-5: x"),
            ("29: *Mar 1 00:00: %SYS-5: x".into(), 5.into(), null.clone(), null.clone())
        );
        assert_eq!(of("<999>x"), ("<999>x".into(), 5.into(), null.clone(), null.clone()));
        assert_eq!(of("<3>Oct 11 22:14:15 user: hello"), ("hello".into(), 3.into(), "user".into(), null.clone()));
        assert_eq!(of("<3>Oct 11 22:14:15 h no tag"), ("no tag".into(), 3.into(), null.clone(), "h".into()));
        assert_eq!(of("<3>Oct 11 22:14:15"), ("".into(), 3.into(), null.clone(), null));
        // Letters of several bytes where a time could be.
        for text in ["Oct 11 22:14:1é x", "é", "<3>ééééééééééééééé", "<3>Oct 41 22:14:15 h a: x", "<>", "<3", ""]
        {
            of(text);
        }
    }
}
