//! Signatures for engines without credentials: which requests to the bucket get one, and that the bucket accepts it.

use std::collections::BTreeMap;

use axum::http::Method;
use runlog_model::workspaces::Right;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backends;
use crate::support::{Answer, Ask, Stage};

fn run(number: u32) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000007{number:02}")
}

const SIGN: &str = "/iceberg/v1/aws/s3/sign";

/// A service whose archive is in a bucket, with the HTTP address of the folder of all objects.
async fn stage_in_bucket() -> (Stage, String) {
    let (url, _) = backends::bucket();
    let stage = Stage::with(
        |settings| {
            settings.lake = true;
            settings.objects = Some(url);
        },
        |server| server.public_url = Some("https://runlog.example.com".to_owned()),
    )
    .await;
    let path = format!("{}/namespaces/team/tables/tasks", stage.prefix().await);
    let headers = [("x-iceberg-access-delegation", "remote-signing")];
    let loaded = stage.send(Method::GET, &path, Ask::with(&headers).by(&stage.admin)).await.json();
    let endpoint = loaded["config"]["s3.endpoint"].as_str().unwrap();
    let (_, path) = loaded["metadata-location"].as_str().unwrap().split_once("s3://").unwrap();
    let folder = format!("{endpoint}/{}", path.split_once("/lake/").unwrap().0);
    (stage, folder)
}

impl Stage {
    async fn sign_as(&self, token: &str, method: &str, uri: &str, headers: Value) -> Answer {
        let body = json!({ "region": "us-east-1", "method": method, "uri": uri, "headers": headers }).to_string();
        self.send(Method::POST, SIGN, Ask::with(&[]).by(token).body(body)).await
    }

    /// The addresses of the objects of a table of a namespace, as an engine finds them: over HTTP, with signatures.
    async fn objects_of(&self, token: &str, namespace: &str, table: &str, folder: &str) -> Vec<String> {
        let namespace = namespace.replace(' ', "%20");
        let path = format!("{}/namespaces/{namespace}/tables/{table}", self.prefix().await);
        let loaded = self.send(Method::GET, &path, Ask::with(&[]).by(token)).await;
        assert_eq!(loaded.status, 200, "{}", loaded.text());
        let key =
            |address: &str| address[address.find("/archive-").unwrap() + 1..].split_once('/').unwrap().1.to_owned();
        let list = key(loaded.json()["metadata"]["snapshots"][0]["manifest-list"].as_str().unwrap());
        let mut objects = vec![format!("{folder}/{list}")];
        let mut at = 0;
        while at < objects.len() {
            let signed = self.sign_as(token, "GET", &objects[at], json!({})).await;
            assert_eq!(signed.status, 200, "{}", signed.text());
            let (status, body) = fetch("GET", &signed.json()).await;
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            if objects[at].ends_with(".avro") {
                let text = String::from_utf8_lossy(&body).into_owned();
                let ends = [".avro", ".parquet"];
                for (start, _) in text.match_indices("s3://bucket/archive-") {
                    let end = ends.iter().filter_map(|end| Some(text[start..].find(end)? + end.len())).min().unwrap();
                    objects.push(format!("{folder}/{}", key(&text[start..start + end])));
                }
            }
            at += 1;
        }
        objects
    }
}

/// Sends a signed request to the bucket, which verifies signatures.
async fn fetch(method: &str, signed: &Value) -> (u16, Vec<u8>) {
    let uri: axum::http::Uri = signed["uri"].as_str().unwrap().parse().unwrap();
    let host = uri.authority().unwrap().as_str();
    let headers: BTreeMap<String, Vec<String>> = serde_json::from_value(signed["headers"].clone()).unwrap();
    let mut request = format!("{method} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", uri.path());
    for (name, values) in headers {
        for value in values {
            request += &format!("{name}: {value}\r\n");
        }
    }
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|some| some == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer.split_off(end + 4))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_accepts_what_is_signed_and_nothing_else() {
    let (stage, folder) = stage_in_bucket().await;
    stage.ended_run(&run(1), stage.task, [1_000, 2_000]).await;
    stage.seal().await;
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    for table in ["records", "runs", "tasks"] {
        let objects = stage.objects_of(&reader, "team", table, &folder).await;
        assert_eq!(objects.len(), 3, "{table}: the list, a manifest and a file: {objects:?}");
    }
    let file = stage.objects_of(&reader, "team", "records", &folder).await.pop().unwrap();

    let ranged = stage.sign_as(&reader, "GET", &file, json!({"Range": ["bytes=0-3"], "User-Agent": ["engine"]})).await;
    assert_eq!(ranged.header("cache-control"), "no-store");
    let signed = ranged.json();
    assert_eq!((signed["uri"].as_str(), &signed["headers"]["user-agent"]), (Some(file.as_str()), &json!(["engine"])));
    assert_eq!(fetch("GET", &signed).await, (206, b"PAR1".to_vec()));
    let head = stage.sign_as(&reader, "HEAD", &file, json!({})).await.json();
    assert_eq!(fetch("HEAD", &head).await.0, 200);

    // A signature is for one method, one object and one range.
    assert_eq!(fetch("GET", &head).await.0, 403);
    assert_eq!(fetch("DELETE", &signed).await.0, 403);
    assert_eq!(fetch("PUT", &signed).await.0, 403);
    let mut wider = signed.clone();
    wider["headers"]["range"] = json!(["bytes=0-9"]);
    assert_eq!(fetch("GET", &wider).await.0, 403);
    let mut other = signed.clone();
    let list = stage.objects_of(&reader, "team", "records", &folder).await.swap_remove(0);
    other["uri"] = json!(list);
    assert_eq!(fetch("GET", &other).await.0, 403);
    let mut unsigned = signed;
    unsigned["headers"].as_object_mut().unwrap().remove("authorization");
    assert_eq!(fetch("GET", &unsigned).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reads_of_objects_of_tables_that_the_caller_may_read_are_signed() {
    let (stage, folder) = stage_in_bucket().await;
    let other = stage.other_workspace().await;
    let task = stage.task_in(other.id).await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.ended_run(&run(2), task, [1_000]).await;
    // A segment that is not sealed is in no table.
    stage.seal().await;
    stage.ended_run(&run(3), stage.task, [1_000]).await;
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let stranger = stage.user_in(other.id, "stranger", &Right::READ_LOGS).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    let objects = stage.objects_of(&reader, "team", "records", &folder).await;
    let theirs = stage.objects_of(&stranger, &other.name, "records", &folder).await;
    let file = objects.last().unwrap().clone();
    let segment: String = sqlx::query_scalar("SELECT object_key FROM segments WHERE merged = 0")
        .fetch_one(&mut stage.catalog().await)
        .await
        .unwrap();
    let refuse = async |token: &str, method: &str, uri: &str, headers: Value| {
        let answer = stage.sign_as(token, method, uri, headers).await;
        assert_eq!(answer.status, 403, "{method} {uri}: {}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "ForbiddenException");
        assert!(!answer.text().contains("Signature"));
        answer.text()
    };
    // Objects of other workspaces are refused like objects that do not exist.
    for object in &objects {
        assert_eq!(stage.sign_as(&reader, "GET", object, json!({})).await.status, 200);
        for token in [&stranger, &viewer] {
            refuse(token, "GET", object, json!({})).await;
        }
    }
    let unknown = format!("{folder}/lake/{}/00000000-0000-4000-8000-000000000000.avro", stage.workspace);
    for object in &theirs {
        let answers =
            (refuse(&reader, "GET", object, json!({})).await, refuse(&reader, "GET", &unknown, json!({})).await);
        let plain = |text: &str| {
            let mut answer: Value = serde_json::from_str(text).unwrap();
            answer["error"].take()
        };
        assert_eq!(plain(&answers.0), plain(&answers.1), "one that is of others is as one that does not exist");
    }
    for method in ["PUT", "DELETE", "POST", "PATCH", "OPTIONS", "get"] {
        refuse(&stage.admin, method, &file, json!({})).await;
    }
    let root = folder.rsplit_once('/').unwrap().0.to_owned();
    let host = folder.split('/').nth(2).unwrap().to_owned();
    for uri in [
        format!("{folder}/{segment}"),
        format!("{file}?acl"),
        format!("{file}?"),
        format!("{file}?versionId=1"),
        format!("{file}?response-content-type=text/html"),
        format!("{file}?uploads"),
        format!("{file}/"),
        format!("{file}/../{}", file.rsplit('/').next().unwrap().replace("parquet", "other")),
        format!("{root}?list-type=2&prefix=sealed/"),
        format!("{root}/"),
        root,
        format!("{folder}/"),
        file.replace(&host, "example.com"),
        file.replace(&host, "127.0.0.1:1"),
        file.replace(&host, &format!("{host}@example.com")),
        file.replace("http://", "https://"),
        file.replace("/bucket/", "/other/"),
        file.replace("/bucket/", "//bucket/"),
        file.replace("sealed/", "sealed%2F"),
        "not a URL".to_owned(),
    ] {
        refuse(&stage.admin, "GET", &uri, json!({})).await;
    }
    for headers in [
        json!({"x-amz-acl": ["public-read"]}),
        json!({"X-Amz-Copy-Source": ["bucket/other"]}),
        json!({"x-amz-server-side-encryption-customer-algorithm": ["AES256"]}),
        json!({"Range": ["bytes=0-1", "bytes=2-3"]}),
    ] {
        refuse(&stage.admin, "GET", &file, headers).await;
    }
    assert_eq!(stage.post(SIGN, "{}").await.status, 400);
    let body = json!({ "method": "GET", "uri": file, "headers": {} }).to_string();
    assert_eq!(stage.send(Method::POST, SIGN, Ask::with(&[]).by("nobody").body(body)).await.status, 401);

    // Revoked rights and deleted logs take effect with the next request.
    let log = format!("/monitoring/executions/{}/logs", run(1));
    let runs = stage.objects_of(&reader, "team", "runs", &folder).await;
    assert_eq!(stage.ask(Method::DELETE, &log, "").await.status, 200);
    refuse(&stage.admin, "GET", &file, json!({})).await;
    for object in &runs {
        refuse(&stage.admin, "GET", object, json!({})).await;
    }
    let text = stage.get("/metrics").await.text();
    assert!(!text.contains(r#"runlog_iceberg_signatures_total{outcome="refused"} 0"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_endpoint_is_announced_to_clients_that_request_it() {
    let (stage, folder) = stage_in_bucket().await;
    let path = format!("{}/namespaces/team/tables/runs", stage.prefix().await);
    let load = async |delegation: &str| {
        let headers = [("x-iceberg-access-delegation", delegation)];
        stage.send(Method::GET, &path, Ask::with(&headers).by(&stage.admin)).await.json()["config"].clone()
    };
    assert_eq!(load("vended-credentials").await, json!({}));
    let config = load("vended-credentials,remote-signing").await;
    assert_eq!(config["s3.remote-signing-enabled"], "true");
    assert_eq!(config["s3.signer.uri"], "https://runlog.example.com/iceberg");
    assert_eq!(config["s3.signer.endpoint"], "v1/aws/s3/sign");
    assert_eq!(config["s3.endpoint"].as_str().unwrap(), folder.split("/bucket/").next().unwrap());
    assert_eq!((&config["s3.region"], &config["s3.path-style-access"]), (&json!("eu-west-1"), &json!("true")));
    assert!(!config.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_nothing_is_signed() {
    let stage = Stage::of_lake().await;
    let path = format!("{}/namespaces/team/tables/runs", stage.prefix().await);
    let headers = [("x-iceberg-access-delegation", "remote-signing")];
    let loaded = stage.send(Method::GET, &path, Ask::with(&headers).by(&stage.admin)).await.json();
    assert_eq!(loaded["config"], json!({}));
    let answer = stage.sign_as(&stage.admin, "GET", loaded["metadata-location"].as_str().unwrap(), json!({})).await;
    assert_eq!(answer.status, 501);
    assert_eq!(answer.json()["error"]["type"], "UnsupportedOperationException");
    let without = Stage::new().await;
    assert_eq!(without.sign_as(&without.admin, "GET", "http://127.0.0.1/a", json!({})).await.status, 501);
}
