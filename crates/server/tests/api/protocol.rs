//! Unusual but valid requests of clients.

use std::time::Duration;

use crate::support::{Ask, Live, RUN, Stage, lines};
use axum::http::Method;
use runlog_server::{Bounds, ServerSettings};

fn logs() -> String {
    format!("/monitoring/executions/{RUN}/logs")
}

#[tokio::test]
async fn methods_that_a_path_does_not_have_are_refused_with_those_that_it_has() {
    let stage = Stage::new().await;
    for method in [Method::OPTIONS, Method::TRACE, Method::PATCH, Method::from_bytes(b"BREW").unwrap()] {
        let answer = stage.ask(method, &logs(), "").await;
        answer.is_error(405, &[]);
        let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST"]);
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let link = stage.link("").await;
    for path in [logs(), link, "/orchestration/workspaces".to_owned(), "/healthz".to_owned()] {
        let (get, head) = (stage.get(&path).await, stage.ask(Method::HEAD, &path, "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    assert_eq!(stage.send(Method::HEAD, &logs(), Ask::with(&[])).await.status, 401);
}

#[tokio::test]
async fn headers_that_say_nothing_new_change_nothing() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let token = |form: &str| format!("{form}{}", stage.admin);
    for form in ["Bearer ", "bearer ", "BEARER ", "Bearer   "] {
        let headers = [("authorization", token(form))];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(stage.send(Method::GET, &logs(), Ask::with(&headers)).await.status, 200, "{form:?}");
    }
    for (name, value) in [
        ("talend-version", "2021-03"),
        ("talend-version", "1999-01"),
        ("accept", "text/html"),
        ("accept", "nonsense"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept-encoding", "br;q=1, *;q=0"),
        ("if-none-match", "*"),
        ("range", "bytes=0-1"),
        ("origin", "https://elsewhere.example"),
    ] {
        let answer = stage.send(Method::POST, &logs(), Ask::with(&[(name, value)]).by(&stage.admin)).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
        assert!(answer.header("access-control-allow-origin").is_empty());
    }
}

#[tokio::test]
async fn parameters_are_read_as_clients_write_them() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000, 2_000, 3_000])).await;
    let size = |query: &'static str| {
        let stage = &stage;
        async move {
            let answer = stage.get(&format!("{}{query}", logs())).await;
            answer.json()["size"].as_u64().ok_or(answer.status.as_u16())
        }
    };
    for (query, expected) in [
        ("?", Ok(3)),
        ("?count=2", Ok(2)),
        ("?count=2.0", Ok(2)),
        ("?count=2.000", Ok(2)),
        ("?count=0", Ok(0)),
        ("?count=", Ok(3)),
        ("?count=%202", Ok(2)),
        ("?count=1&count=2", Ok(1)),
        ("?COUNT=1", Ok(3)),
        ("?id=x&talendVersion=2021-03&severity=ERROR&a[]=1&&=&b", Ok(3)),
        ("?order=asc", Ok(3)),
        ("?order=ASC&count=200", Ok(3)),
        ("?startTime=1970-01-01T00:00:02Z", Ok(2)),
        ("?startTime=1970-01-01T02:00:02.000%2B02:00", Ok(2)),
        ("?startTime=1970-01-01T02:00:02+02:00", Ok(2)),
        ("?endTime=1970-01-01T00:00:01.999999Z", Ok(1)),
        ("?count=-1", Err(400)),
        ("?count=201", Err(400)),
        ("?count=633.92", Err(400)),
        ("?count=abc", Err(400)),
        ("?count=1e1", Err(400)),
        ("?startIndex=-1", Err(400)),
        ("?order=sideways", Err(400)),
        ("?startTime=yesterday", Err(400)),
        ("?startTime=1970-01-01", Err(400)),
        ("?startTime=1970-01-02T00:00:00Z&endTime=1970-01-01T00:00:00Z", Err(400)),
    ] {
        assert_eq!(size(query).await, expected, "{query}");
    }
    assert_eq!(stage.get(&format!("/{}/", logs())).await.status, 200, "clients put addresses together");
    assert_eq!(stage.get(&logs().replace("logs", "%6Cogs")).await.status, 404);
    assert_eq!(stage.get(&logs().replace("6c0e", "6C0E")).await.status, 200);
}

#[tokio::test]
async fn a_field_that_is_not_known_is_named() {
    let stage = Stage::new().await;
    let body = format!(r#"{{"taskId":"{}","colour":"red"}}"#, stage.task);
    let path = format!("/runlog/v1/runs/{RUN}");
    stage.ask(Method::PUT, &path, body).await.is_error(400, &["colour"]);
    let known = format!(r#"{{"taskId":"{}","planId":null,"artifactName":"x"}}"#, stage.task);
    assert_eq!(stage.ask(Method::PUT, &path, known).await.status, 201);
}

#[tokio::test]
async fn old_and_new_http_are_spoken() {
    let stage = Stage::new().await;
    let live = Live::start(&stage, ServerSettings::default());
    let plain = live.exchange("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.0 200 OK\r\n") && plain.ends_with("\r\n\r\nok\n"), "{plain}");
    let kept = "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n";
    let kept = live.exchange(kept).await;
    assert!(kept.contains("ok\n") && kept.ends_with("ready\n"), "{kept}");
    let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(live.exchange(twice).await.matches("ok\n").count(), 2);
    let chunks = format!(
        "PUT /runlog/v1/runs/{RUN} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         C\r\n{{\"taskId\": \"\r\n1A\r\n{}\"}}\r\n0\r\n\r\n",
        stage.admin, stage.task
    );
    let begun = live.exchange(chunks).await;
    assert!(begun.starts_with("HTTP/1.1 201 Created"), "{begun}");

    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(format!("http://{}/healthz", live.address)).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

/// Sixteen clients that asked for a whole log and read nothing of it kept all turns for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_releases_its_slot() {
    use std::io::{Read, Write};
    let stage = Stage::new().await;
    stage.start().await;
    // More than what the system keeps for a connection.
    let megabyte = format!("{{\"logTimestamp\":1000,\"logMessage\":\"{}\"}}\n", "x".repeat(1 << 20));
    for _ in 0..24 {
        let answer = stage.post(&format!("/runlog/v1/runs/{RUN}/records"), megabyte.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let bounds = Bounds {
        body_silence_max: Duration::from_secs(2),
        downloads_max: 1,
        turn_wait_max: Duration::from_secs(300),
        ..Bounds::default()
    };
    let live = Live::start(&stage, ServerSettings { bounds, ..ServerSettings::default() });
    let request = format!(
        "GET /runlog/v1/runs/{RUN}/log HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        stage.admin
    );
    let mut idle = std::net::TcpStream::connect(live.address).unwrap();
    idle.write_all(request.as_bytes()).unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let answer = live.exchange(request.clone()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 24 << 20, "{} bytes", answer.len());
    drop(idle);
    // The same for a stream of HTTP/2, whose connection goes on.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let log = format!("http://{}/runlog/v1/runs/{RUN}/log", live.address);
    let idle = client.get(log).bearer_auth(&stage.admin).send().await.unwrap();
    assert_eq!((idle.version(), idle.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    let answer = live.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{} bytes", answer.len());
    drop(idle);
}

#[tokio::test]
async fn a_non_http_connection_is_refused_and_the_next_is_served() {
    let stage = Stage::new().await;
    let bounds = Bounds { head_time_max: Duration::from_millis(300), ..Bounds::default() };
    let live = Live::start(&stage, ServerSettings { bounds, ..ServerSettings::default() });
    for nonsense in [
        "\r\n\r\n\r\n",
        "HELLO\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
    ] {
        let answer = live.exchange(format!("{nonsense}\r\n\r\n")).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{nonsense:?}: {answer}");
    }
    let both = "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n";
    let answer = live.exchange(both).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(live.exchange("GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
}
