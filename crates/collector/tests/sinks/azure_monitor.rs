//! Azure Monitor: what its documents say it takes, and what a sink does with the rest.

use serde_json::{Value, json};

use crate::fake_server::{
    FakeServer, Fault, Kept, REASON, Reply, Request, SECRET, TOKEN_PATH, Taken, Vendor, busy_or_nothing,
};
use crate::stage::{Stage, sink};

pub(crate) const AZURE_MONITOR: Vendor = Vendor {
    kind: "azure_monitor",
    settings: |url| {
        json!({
            "url": url,
            "rule": "dcr-00000000000000000000000000000000",
            "stream": "Custom-Runlog_CL",
            "tenant": "directory",
            "client_id": "application",
            "client_secret": { "env": "SECRET" },
            "login_url": url,
        })
    },
    answer,
    knows_repeats: false,
    has_access_tokens: true,
};

/// "Logs Ingestion API": an array of rows for a stream, from whoever has an access token.
fn answer(kept: &mut Kept, request: &Request<'_>) -> Reply {
    if request.path.ends_with(TOKEN_PATH) {
        return token(kept, request);
    }
    let path = "/dataCollectionRules/dcr-00000000000000000000000000000000/streams/Custom-Runlog_CL";
    if request.path != path || request.is_busy {
        return busy_or_nothing(request);
    }
    assert_eq!(request.query, "api-version=2023-01-01");
    let current = format!("Bearer token-{}", kept.tokens_issued);
    if kept.tokens_ended == kept.tokens_issued || !request.has("authorization", &current) {
        return error(401, "InvalidToken", "the token has expired");
    }
    if !request.has("content-type", "application/json") {
        return error(415, "UnsupportedMediaType", "");
    }
    if request.body.len() > 1_048_576 {
        return error(413, "ContentLengthLimitExceeded", "Maximum allowed content length: 1048576 bytes (1 MB).");
    }
    let rows: Vec<Value> = serde_json::from_slice(request.body).unwrap();
    if rows.iter().any(|row| row["Message"] == "unmappable") && !kept.is_mended {
        return error(400, "InvalidPayload", REASON);
    }
    for row in rows {
        let fields = row.as_object().unwrap();
        assert!(
            fields.values().all(|value| value.to_string().len() <= 65_536 + 2),
            "it would be cut off without a word"
        );
        assert_eq!(row["TimeGenerated"], row["RecordTime"]);
        row["TimeGenerated"].as_str().unwrap().parse::<runlog_model::Timestamp>().unwrap();
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let order = row["Sequence"].as_i64().unwrap();
        kept.take_again(Taken { run: text("RunId"), order, message: text("Message") });
    }
    (204, Vec::new())
}

/// "OAuth 2.0 client credentials flow": a form, and a token that is good for an hour.
fn token(kept: &mut Kept, request: &Request<'_>) -> Reply {
    assert_eq!(request.path, format!("/directory{TOKEN_PATH}"));
    assert!(request.has("content-type", "application/x-www-form-urlencoded"));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(request.body).into_owned().collect();
    let value = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("grant_type"), Some("client_credentials"));
    assert_eq!(value("scope"), Some("https://monitor.azure.com//.default"));
    if (value("client_id"), value("client_secret")) != (Some("application"), Some(SECRET)) {
        return (
            401,
            b"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client secret.\"}".to_vec(),
        );
    }
    kept.tokens_issued += 1;
    let token = format!("token-{}", kept.tokens_issued);
    (200, json!({ "token_type": "Bearer", "expires_in": 3_599, "access_token": token }).to_string().into_bytes())
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    (status, json!({ "error": { "code": code, "message": message } }).to_string().into_bytes())
}

fn settings(server: &FakeServer) -> Value {
    (AZURE_MONITOR.settings)(&server.url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_no_more_bytes_than_azure_monitor_takes() {
    let stage = Stage::new().await;
    let run = stage.run_with_extra(60, 50_000).await;
    let server = FakeServer::start(&AZURE_MONITOR).await;
    let mut settings = settings(&server);
    settings["batch_bytes"] = 1_000_000.into();
    let setup = sink("azure_monitor", settings, stage.clock.clone()).unwrap();
    stage.deliver_all(&stage.deliverer_of(setup)).await;
    assert_eq!(server.messages(run).len(), 60);
    let largest = server.largest_body();
    assert!((900_000..=1_000_000).contains(&largest), "{largest}");
    assert_eq!(server.tokens_issued(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_too_large_there_is_split() {
    let stage = Stage::new().await;
    let run = stage.run(20, &[]).await;
    let server = FakeServer::start(&AZURE_MONITOR).await;
    server.will([Fault::Status(413, None), Fault::Status(413, None)]);
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    stage.deliver_all(&stage.deliverer(to)).await;
    assert_eq!(server.messages(run), stage.messages(run).await);
    assert_eq!(stage.figures().await.refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_fields_are_cut_and_say_so_and_a_row_that_is_too_large_is_a_dead_letter() {
    let stage = Stage::new().await;
    let long = stage.run_with_message(&"m".repeat(200_000)).await;
    let large = stage.run_with_extra(1, 200_000).await;
    let server = FakeServer::start(&AZURE_MONITOR).await;
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    stage.deliver_all(&stage.deliverer(to)).await;
    assert!(server.messages(long)[0].ends_with("of 200000 bytes]"), "{:?}", server.messages(long));
    assert_eq!(server.messages(large).len(), 1, "its further fields are cut as well");
    assert_eq!(stage.figures().await.refused, 0);

    // Forty columns of one long text are too much for a row.
    let mut settings = settings(&server);
    settings["fields"] =
        json!({ "TimeGenerated": "time", "RecordTime": "time", "RunId": "run_id", "Sequence": "sequence" });
    for number in 0..40 {
        settings["fields"][format!("Column{number}")] = "message".into();
    }
    let to = sink("azure_monitor", settings, stage.clock.clone()).unwrap().destination;
    stage.deliver_all(&stage.named_deliverer("wide", to)).await;
    let letters = stage.store.deliveries().dead_letters("wide", 9).await.unwrap();
    assert!(letters.iter().any(|letter| letter.reason.contains("the destination takes 999998 at most")), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_kept_until_shortly_before_its_end_and_replaced_when_it_is_refused() {
    let stage = Stage::new().await;
    let server = FakeServer::start(&AZURE_MONITOR).await;
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    let deliverer = stage.deliverer(to);
    for (minutes, tokens) in [(0, 1), (50, 1), (6, 2)] {
        stage.pass(minutes * 60_000);
        deliverer.check().await.unwrap();
        assert_eq!(server.tokens_issued(), tokens, "after {minutes} more minutes");
    }
    server.end_tokens();
    let run = stage.run(5, &[]).await;
    stage.deliver(&deliverer).await;
    assert_eq!((server.messages(run).len(), server.tokens_issued()), (5, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_azure_monitor_asks_for_is_kept() {
    let stage = Stage::new().await;
    let run = stage.run(5, &[]).await;
    let server = FakeServer::start(&AZURE_MONITOR).await;
    server.will([Fault::Status(429, Some("23"))]);
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    let before = stage.now_ms();
    stage.deliver(&stage.deliverer(to)).await;
    assert_eq!((server.messages(run).len(), stage.now_ms() - before), (5, 23_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_streams_are_reported_without_the_secret() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    // Repeats the secret that it refuses.
    const STRICT: Vendor = Vendor {
        answer: |_, _| {
            let text = format!("AADSTS7000215: Invalid client secret {SECRET}.\r\nTrace ID: 1");
            (401, json!({ "error": "invalid_client", "error_description": text }).to_string().into_bytes())
        },
        ..AZURE_MONITOR
    };
    let server = FakeServer::start(&STRICT).await;
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    assert_eq!(
        to.check().await.unwrap_err().to_string(),
        "no access token for client application: AADSTS7000215: Invalid client secret ***."
    );
    assert_eq!(stage.deliver(&stage.deliverer(to)).await.set_back, 1);
    let figures = stage.figures().await;
    assert_eq!(figures.refused, 0, "a setting is wrong, and no record");
    assert!(!figures.last_error.unwrap().contains(SECRET));

    // Nobody is there who gives tokens: no record is at fault, and none is sent by itself.
    let server = FakeServer::start(&AZURE_MONITOR).await;
    let mut nobody = settings(&server);
    nobody["login_url"] = "http://127.0.0.1:9".into();
    let to = sink("azure_monitor", nobody, stage.clock.clone()).unwrap().destination;
    let problem = stage.deliver(&stage.named_deliverer("nobody", to)).await.problem.unwrap();
    assert!(problem.starts_with("no access token for client application: http://127.0.0.1:9/directory"), "{problem}");
    assert_eq!(server.requests(), 0);

    const WITHOUT_STREAM: Vendor = Vendor {
        answer: |kept, request| match request.path.ends_with(TOKEN_PATH) {
            true => token(kept, request),
            false => error(400, "InvalidStream", "The stream is not configured in the data collection rule."),
        },
        ..AZURE_MONITOR
    };
    let server = FakeServer::start(&WITHOUT_STREAM).await;
    let to = sink("azure_monitor", settings(&server), stage.clock.clone()).unwrap().destination;
    assert!(to.check().await.unwrap_err().to_string().contains("InvalidStream"));
    assert_eq!(stage.deliver(&stage.named_deliverer("other", to)).await.set_back, 1);
    assert!(stage.store.deliveries().dead_letters("other", 9).await.unwrap().is_empty());
}
