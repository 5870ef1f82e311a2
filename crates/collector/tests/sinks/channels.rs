//! Destinations of alerts: fake servers that refuse what the vendor's documentation does not allow.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use runlog_client::TlsSettings;
use runlog_collector::alerts::{AlertRule, Alerts, ChannelSettings, Condition, Destination, SearchScope};
use runlog_collector::settings::{SecretReader, SecretSource};
use runlog_model::Clock;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::delivered::rule;
use crate::stage::Stage;

/// The secret of every destination, which nothing may repeat.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The secret that replaces it.
const ROTATED: &str = "fedcba9876543210fedcba9876543210";

/// A hostile text of a log: mentions, links and formulas of every format, and excessive length.
fn hostile() -> String {
    format!(
        "<!channel> <@U1> </at> & *bold* `x` [a](javascript:b) {{{{DATE(2017-02-14,SHORT)}}}} ${{x}} \u{1b}[2J\u{202e}\n{}",
        "<&>ä😀".repeat(9_000)
    )
}

type RequestCheck = fn(&Uri, &HeaderMap, &Value, usize) -> Result<StatusCode, String>;

/// A vendor on loopback.
pub(crate) struct Vendor {
    url: String,
    /// What it accepted.
    pub(crate) took: Arc<Mutex<Vec<Value>>>,
    /// The response to the next request instead: a status and a `Retry-After` in seconds.
    pub(crate) says: Arc<Mutex<Option<(u16, u64)>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Behind {
    judge: RequestCheck,
    took: Arc<Mutex<Vec<Value>>>,
    says: Arc<Mutex<Option<(u16, u64)>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Vendor {
    pub(crate) async fn start(judge: RequestCheck) -> Self {
        let behind = Behind { judge, took: Arc::default(), says: Arc::default(), refused: Arc::default() };
        let Behind { took, says, refused, .. } = behind.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(behind);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, took, says, refused }
    }

    /// A destination there.
    pub(crate) fn destination(&self, stage: &Stage, mut settings: Value) -> Destination {
        settings["url"] = format!("{}{}", self.url, settings["url"].as_str().unwrap_or_default()).into();
        let settings = ChannelSettings::read(settings.as_object().unwrap().clone()).unwrap();
        let clock: Arc<dyn Clock> = stage.clock.clone();
        ChannelSettings::build_all(&[settings], "night-shift", &TlsSettings::default(), &Keys, &clock)
            .unwrap()
            .remove(0)
    }

    pub(crate) fn took(&self) -> Vec<Value> {
        assert_eq!(*self.refused.lock().unwrap(), Vec::<String>::new());
        self.took.lock().unwrap().clone()
    }
}

struct Keys;

impl SecretReader for Keys {
    fn read(&self, source: &SecretSource, _: &str) -> Result<SecretString, Box<dyn std::error::Error + Send + Sync>> {
        let is_rotated = matches!(source, SecretSource::Environment(from) if from.env == "ROTATED");
        Ok(SecretString::from(if is_rotated { ROTATED } else { KEY }))
    }
}

async fn answer(
    State(behind): State<Behind>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, String); 1], String) {
    let (none, what) = ([("x-nothing", String::new())], format!("{uri} {headers:?} {KEY}"));
    if let Some((status, after)) = behind.says.lock().unwrap().take() {
        return (StatusCode::from_u16(status).unwrap(), [("retry-after", after.to_string())], what);
    }
    let judged = serde_json::from_slice(&body).map_err(|error| error.to_string()).and_then(|said: Value| {
        needs(headers["content-type"] == "application/json", "the content type")?;
        let status = (behind.judge)(&uri, &headers, &said, body.len())?;
        behind.took.lock().unwrap().push(json!({ "path": uri.to_string(), "body": said }));
        Ok(status)
    });
    match judged {
        Ok(status) => (status, none, "ok".to_owned()),
        Err(error) => {
            behind.refused.lock().unwrap().push(error.clone());
            (StatusCode::BAD_REQUEST, none, error)
        }
    }
}

fn needs(holds: bool, what: impl std::fmt::Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("invalid: {what}")) }
}

/// A text with at least one and at most this many characters.
fn text(value: &Value, chars_max: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or_else(|| format!("invalid: {value} is no text"))?;
    needs(!text.is_empty() && text.encode_utf16().count() <= chars_max, format!("{} characters", text.len()))?;
    Ok(text)
}

fn only(value: &Value, known: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or("invalid: it is no object")?;
    needs(object.keys().all(|key| known.contains(&key.as_str())), format!("a field of {object:?}"))
}

/// An incoming webhook of Slack.
pub(crate) fn slack(uri: &Uri, _: &HeaderMap, said: &Value, _: usize) -> Result<StatusCode, String> {
    needs(uri.path() == "/services/T0/B0/0123456789abcdef", "no_service")?;
    only(said, &["text", "blocks", "unfurl_links", "unfurl_media"])?;
    let mrkdwn = |value: &Value, most: usize| {
        only(value, &["type", "text", "verbatim"])?;
        let text = text(value.get("text").unwrap_or(&Value::Null), most)?;
        // The only markup in angle brackets is the link of the message itself.
        let rest = text.replace("|Open in Runlog>", "").replacen("<https://runlog.example.com/", "", 1);
        needs(!rest.contains(['<', '>', '\u{1b}', '\u{202e}']), format!("an unescaped text: {rest:.99}"))?;
        let entities = ["&amp;", "&lt;", "&gt;"].iter().fold(rest, |rest, entity| rest.replace(entity, ""));
        needs(!entities.contains('&'), "an incomplete entity")
    };
    needs(!said["text"].as_str().unwrap_or("<").contains('<'), "text")?;
    let blocks = said["blocks"].as_array().ok_or("invalid: blocks")?;
    needs((1..=50).contains(&blocks.len()), "the number of blocks")?;
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => {
                needs(block["text"]["type"] == "plain_text", "header")?;
                text(&block["text"]["text"], 150)?;
            }
            Some("section") => {
                only(block, &["type", "text", "fields"])?;
                let fields = block["fields"].as_array();
                needs(fields.is_some() != block.get("text").is_some(), "a section")?;
                needs(fields.is_none_or(|fields| (1..=10).contains(&fields.len())), "fields")?;
                fields.into_iter().flatten().try_for_each(|field| mrkdwn(field, 2_000))?;
                block.get("text").into_iter().try_for_each(|text| mrkdwn(text, 3_000))?;
            }
            other => return Err(format!("invalid_blocks: {other:?}")),
        }
    }
    Ok(StatusCode::OK)
}

/// A workflow of Microsoft Teams.
pub(crate) fn teams(uri: &Uri, _: &HeaderMap, said: &Value, bytes: usize) -> Result<StatusCode, String> {
    needs(uri.query() == Some("sig=0123456789abcdef"), "the signature")?;
    needs(bytes <= 28 * 1_024, format!("{bytes} bytes"))?;
    only(said, &["type", "attachments"])?;
    needs(said["type"] == "message" && said["attachments"].as_array().is_some_and(|all| all.len() == 1), "envelope")?;
    let attachment = &said["attachments"][0];
    only(attachment, &["contentType", "contentUrl", "content"])?;
    needs(attachment["contentType"] == "application/vnd.microsoft.card.adaptive", "contentType")?;
    let card = &attachment["content"];
    only(card, &["$schema", "type", "version", "fallbackText", "body", "actions", "msteams"])?;
    needs(card["type"] == "AdaptiveCard" && card["version"] == "1.4", "card")?;
    let rows = card["body"].as_array().ok_or("invalid: body")?;
    needs(!rows.is_empty(), "an empty card")?;
    for row in rows {
        // Text blocks and facts interpret Markdown.
        needs(row["type"] == "RichTextBlock", "a row that interprets Markdown")?;
        for run in row["inlines"].as_array().ok_or("invalid: inlines")? {
            only(run, &["type", "text", "weight", "size", "color"])?;
            let text = text(&run["text"], usize::MAX)?;
            needs(run["type"] == "TextRun" && !["{{", "${", "\u{1b}"].iter().any(|it| text.contains(it)), "a text")?;
        }
    }
    for action in card["actions"].as_array().into_iter().flatten() {
        needs(action["type"] == "Action.OpenUrl", "an action")?;
        text(&action["title"], 100)?;
        needs(action["url"].as_str().is_some_and(|url| url.starts_with("https://")), "a URL")?;
    }
    Ok(StatusCode::ACCEPTED)
}

/// The Events API of PagerDuty.
pub(crate) fn pagerduty(uri: &Uri, _: &HeaderMap, said: &Value, bytes: usize) -> Result<StatusCode, String> {
    needs(uri.path() == "/v2/enqueue" && bytes <= 512 << 10, "the request")?;
    only(said, &["routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"])?;
    needs(
        text(&said["routing_key"], 32)?.len() == 32,
        "Length of 'routing_key' is incorrect (should be 32 characters)",
    )?;
    let key = said.get("dedup_key").map(|key| text(key, 255)).transpose()?;
    match said["event_action"].as_str() {
        Some("trigger") => {
            let payload = &said["payload"];
            let known = ["summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"];
            only(payload, &known)?;
            text(&payload["summary"], 2_048)?;
            needs(payload["summary"].as_str().unwrap_or_default().chars().count() <= 1_024, "summary")?;
            text(&payload["source"], 255)?;
            let severity = payload["severity"].as_str().unwrap_or_default();
            needs(["critical", "error", "warning", "info"].contains(&severity), "severity")?;
            let time = payload.get("timestamp").and_then(Value::as_str).map(str::parse::<runlog_model::Timestamp>);
            needs(time.is_none_or(|time| time.is_ok()), "timestamp")?;
            needs(payload["custom_details"].is_object(), "custom_details")?;
            for link in said["links"].as_array().into_iter().flatten() {
                only(link, &["href", "text"])?;
                needs(link["href"].as_str().is_some_and(|href| href.starts_with("https://")), "href")?;
            }
        }
        Some("resolve" | "acknowledge") => needs(key.is_some() && said.get("payload").is_none(), "dedup_key")?,
        other => return Err(format!("invalid: event_action {other:?}")),
    }
    Ok(StatusCode::ACCEPTED)
}

/// The Alert API of Opsgenie.
pub(crate) fn opsgenie(uri: &Uri, headers: &HeaderMap, said: &Value, _: usize) -> Result<StatusCode, String> {
    let is_key = |key: &str| headers["authorization"] == format!("GenieKey {key}");
    needs(is_key(KEY) || is_key(ROTATED), "the key")?;
    let chars = |value: &Value, most: usize| {
        let text = value.as_str().ok_or_else(|| format!("invalid: {value} is no text"))?;
        needs(!text.is_empty() && text.chars().count() <= most, format!("{} characters", text.chars().count()))
    };
    if uri.path() == "/v2/alerts" {
        let known =
            ["message", "alias", "description", "priority", "source", "tags", "details", "responders", "entity"];
        only(said, &known)?;
        for (field, most) in [("message", 130), ("alias", 512), ("description", 15_000), ("source", 100)] {
            chars(&said[field], most)?;
        }
        said.get("entity").into_iter().try_for_each(|entity| chars(entity, 512))?;
        needs(["P1", "P2", "P3", "P4", "P5"].contains(&said["priority"].as_str().unwrap_or_default()), "priority")?;
        let tags = said["tags"].as_array().ok_or("invalid: tags")?;
        needs(tags.len() <= 20, "tags")?;
        tags.iter().try_for_each(|tag| chars(tag, 50))?;
        let details = said["details"].as_object().ok_or("invalid: details")?;
        needs(details.values().all(Value::is_string), "details")?;
        let length = |(key, value): (&String, &Value)| key.len() + value.as_str().unwrap_or_default().chars().count();
        needs(details.iter().map(length).sum::<usize>() <= 8_000, "details")?;
        for responder in said["responders"].as_array().into_iter().flatten() {
            needs(responder["type"] == "team" && responder["name"].is_string(), "responders")?;
        }
        return Ok(StatusCode::ACCEPTED);
    }
    let alias = uri.path().strip_prefix("/v2/alerts/").and_then(|rest| rest.strip_suffix("/close"));
    needs(alias.is_some_and(|alias| !alias.contains('/')), "the path")?;
    needs(uri.query() == Some("identifierType=alias"), "identifierType")?;
    only(said, &["source", "note", "user"])?;
    chars(&said["note"], 25_000)?;
    Ok(StatusCode::ACCEPTED)
}

/// Each vendor, and the settings of a destination there.
pub(crate) fn vendors() -> [(RequestCheck, Value); 4] {
    let key = json!({ "env": "KEY" });
    [
        (slack as RequestCheck, json!({ "kind": "slack", "url": "/services/T0/B0/0123456789abcdef" })),
        (teams, json!({ "kind": "teams", "url": "/workflows/1?sig=0123456789abcdef" })),
        (pagerduty, json!({ "kind": "pagerduty", "url": "/v2/enqueue", "routing_key": key, "severity": "critical" })),
        (opsgenie, json!({ "kind": "opsgenie", "api_key": key, "priority": "P1", "teams": ["data"], "tags": ["etl"] })),
    ]
}

/// A rule that reports failed runs to this destination.
pub(crate) fn alerts_to(stage: &Stage, to: Destination) -> Alerts {
    let rule = AlertRule { to: vec![to], ..rule(Condition::RunFailed) };
    Alerts::new(&stage.store, vec![rule], Some("https://runlog.example.com".parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_vendor_accepts_alerts_whatever_the_log_says() {
    for (judge, settings) in vendors() {
        let kind = settings["kind"].clone();
        let (stage, vendor) = (Stage::new().await, Vendor::start(judge).await);
        let to = vendor.destination(&stage, settings);
        let alerts = alerts_to(&stage, to);
        for (_, checked) in alerts.check(stage.clock.now()).await {
            checked.unwrap();
        }
        let checked = vendor.took().len();
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 0);
        stage.failed_run(&hostile()).await;
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 1);
        let sent = alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
        let took = vendor.took();
        assert_eq!((sent, took.len()), (1, checked + 1), "{kind}");
        let told = took.last().unwrap()["body"].to_string();
        assert!(told.contains("https://runlog.example.com/runs/"), "{kind}: {told:.500}");
        assert!(told.contains("ended with execution_failed"), "{kind}: {told:.500}");
    }
}

/// A vendor repeats the address and the key in its answer, and asks to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_asks_to_wait_is_left_alone_and_its_secrets_are_not_recorded() {
    for (judge, settings) in vendors() {
        let kind = settings["kind"].clone();
        let (stage, vendor) = (Stage::new().await, Vendor::start(judge).await);
        let alerts = alerts_to(&stage, vendor.destination(&stage, settings));
        let send = async || alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 0);
        stage.failed_run("no table").await;
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 1);
        *vendor.says.lock().unwrap() = Some((429, 120));
        assert_eq!(send().await, 0, "{kind}");
        let backlog = stage.store.alerts().backlog().await.unwrap().remove(0);
        let recorded = format!("{backlog:?}");
        assert!(recorded.contains("429"), "{kind}: {recorded}");
        for secret in [KEY, "0123456789abcdef", "B0"] {
            assert!(!recorded.contains(secret), "{kind}: {recorded}");
        }
        stage.pass(60_000);
        assert_eq!(send().await, 0, "{kind}: it asked for two minutes");
        stage.pass(61_000);
        assert_eq!(send().await, 1, "{kind}");
        assert_eq!(vendor.took().len(), 1, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_a_rule_leaves_nothing_open() {
    for (judge, settings) in vendors() {
        let kind = settings["kind"].as_str().unwrap().to_owned();
        let (stage, vendor) = (Stage::new().await, Vendor::start(judge).await);
        let rule = AlertRule { to: vec![vendor.destination(&stage, settings)], ..rule(Condition::RunFailed) };
        for (_, tested) in rule.test("runlog-test-1", stage.clock.now()).await {
            tested.unwrap();
        }
        let told = vendor.took();
        match kind.as_str() {
            "pagerduty" => {
                let actions: Vec<_> = told.iter().map(|it| &it["body"]["event_action"]).collect();
                assert_eq!((actions[0], actions[1], actions.len()), (&json!("trigger"), &json!("resolve"), 2));
            }
            "opsgenie" => assert!(told[1]["path"].as_str().unwrap().starts_with("/v2/alerts/runlog-test-1/close")),
            _ => assert_eq!(told.len(), 1, "{kind}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_and_open_alerts_survive_changes_of_a_destination() {
    let rotated = json!({ "env": "ROTATED" });
    let changes = [
        json!({ "url": "/services/T0/B0/0123456789abcdef?rotated" }),
        json!({ "url": "/workflows/2?sig=0123456789abcdef" }),
        json!({ "severity": "info", "routing_key": rotated }),
        json!({ "priority": "P5", "teams": ["night"], "tags": [], "api_key": rotated }),
    ];
    for ((judge, settings), change) in vendors().into_iter().zip(changes) {
        let kind = settings["kind"].clone();
        let (stage, vendor) = (Stage::new().await, Vendor::start(judge).await);
        let alerts = |settings: Value| {
            let to = vec![vendor.destination(&stage, settings)];
            Alerts::new(&stage.store, vec![AlertRule { recovery: true, to, ..rule(Condition::RunFailed) }], None)
        };
        let mut changed = settings.clone();
        changed.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (before, after) = (alerts(settings), alerts(changed));
        let find = async |alerts: &Alerts| alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap();
        let send = async |alerts: &Alerts| alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
        assert_eq!(find(&before).await, 0);
        stage.failed_run("no table").await;
        *vendor.says.lock().unwrap() = Some((503, 0));
        assert_eq!((find(&before).await, send(&before).await), (1, 0));
        stage.pass(60_000);
        assert_eq!((find(&after).await, send(&after).await), (0, 1), "{kind}: what waited is sent");
        stage.good_run().await;
        assert_eq!((find(&after).await, send(&after).await), (1, 1), "{kind}: what is open is closed");
        assert_eq!(vendor.took().len(), 2, "{kind}");
    }
}

async fn page() -> axum::response::Html<&'static str> {
    axum::response::Html("\n<!DOCTYPE html><title>Sign in</title>")
}

/// A proxy that answers everything with a page to sign in.
pub(crate) async fn proxy() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(page);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The page of a proxy counted as delivered, so that no alert reached its destination.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_proxy_is_no_delivery() {
    let url = proxy().await;
    for (judge, settings) in vendors() {
        let kind = settings["kind"].clone();
        let (stage, vendor) = (Stage::new().await, Vendor::start(judge).await);
        let behind = Vendor { url: url.clone(), ..vendor };
        let to = [behind.destination(&stage, settings), crate::delivered::webhook_to(&url)];
        let alerts = Alerts::new(&stage.store, vec![AlertRule { to: to.into(), ..rule(Condition::RunFailed) }], None);
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 0);
        stage.failed_run("no table").await;
        assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 2);
        assert_eq!(alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap(), 0, "{kind}");
        let backlog = stage.store.alerts().backlog().await.unwrap();
        assert_eq!(backlog.len(), 2, "{kind}: {backlog:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_several_rules_is_checked_with_one_message_and_each_destination_has_a_name() {
    let (stage, vendor) = (Stage::new().await, Vendor::start(slack).await);
    let [(_, mut settings), ..] = vendors();
    settings["url"] = format!("{}{}", vendor.url, settings["url"].as_str().unwrap()).into();
    let rule = |name: &str, count: usize| {
        let read = |_| ChannelSettings::read(settings.as_object().unwrap().clone()).unwrap();
        let all: Vec<_> = (0..count).map(read).collect();
        let clock: Arc<dyn Clock> = stage.clock.clone();
        let to = ChannelSettings::build_all(&all, name, &TlsSettings::default(), &Keys, &clock).unwrap();
        AlertRule { name: name.to_owned(), to, ..rule(Condition::RunFailed) }
    };
    let rules = vec![rule("night", 2), rule("day", 1)];
    let names: Vec<String> = rules.iter().flat_map(|rule| &rule.to).map(|to| to.name()).collect();
    assert_eq!(names, ["slack 127.0.0.1 (night)", "slack 127.0.0.1 (night 2)", "slack 127.0.0.1 (day)"]);
    let alerts = Alerts::new(&stage.store, rules, None);
    let checked = alerts.check(stage.clock.now()).await;
    assert_eq!((checked.len(), vendor.took().len()), (1, 1));
}
