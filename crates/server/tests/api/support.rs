//! The service in this process, with an archive in a temporary folder, and a clock that only moves when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use runlog_model::wire::admin::{NewTask, NewUser, NewWorkspace};
use runlog_model::workspaces::{Right, Workspace};
use runlog_model::{Clock, Random, TaskId, Timestamp, WorkspaceId};
use runlog_server::{App, ServerSettings, router};
use runlog_store::accounts::CallerKind;
use runlog_store::{Store, StoreSettings};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// The run of most tests.
pub(crate) const RUN: &str = "6c0e5a34-0000-4000-8000-000000000001";

pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at this time. Unit: epoch milliseconds.
    pub(crate) fn at(ms: i64) -> Self {
        Self(AtomicI64::new(ms))
    }

    pub(crate) fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
pub(crate) struct TestRandom(AtomicU64);

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            // SplitMix64: consecutive bytes must not repeat in the same order.
            let number = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (number >> 56) as u8;
        }
    }
}

/// The service, a task, and the administrator's token.
pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) random: Arc<TestRandom>,
    pub(crate) admin: String,
    pub(crate) workspace: WorkspaceId,
    pub(crate) task: TaskId,
    router: Router,
    app: App,
    folder: TempDir,
}

/// A response of the service.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Checks that this is a well-formed error that contains these words.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, words: &[&str]) {
        let text = self.text();
        assert_eq!(self.status.as_u16(), status, "{text}");
        let body = self.json();
        assert_eq!(
            (body["status"].as_u64(), body["requestId"].as_str()),
            (Some(status.into()), Some(self.header("x-request-id")))
        );
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

    /// The same of an error for clients of Loki.
    #[track_caller]
    pub(crate) fn is_plain_error(&self, status: u16, words: &[&str]) {
        let text = self.text();
        let form = (self.status.as_u16(), self.header("content-type"));
        assert_eq!(form, (status, "text/plain; charset=utf-8"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }
}

/// A request with common defaults.
pub(crate) struct Ask<'a> {
    pub(crate) token: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Body,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| (), |_| ()).await
    }

    pub(crate) async fn with(
        change: impl FnOnce(&mut StoreSettings),
        server: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = StoreSettings::in_folder(folder.path());
        change(&mut settings);
        // The clock stands still in these tests, so counted requests would never be forgotten.
        let mut server_settings =
            ServerSettings { requests_per_second: 0, anonymous_requests_per_second: 0, ..ServerSettings::default() };
        server(&mut server_settings);
        let clock = Arc::new(TestClock::at(1_795_434_850_000));
        let random = Arc::new(TestRandom::default());
        let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
        let admin = store.accounts().ensure_administrator().await.unwrap().unwrap();
        let new =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace = store.workspaces().create_workspace(&new, "admin").await.unwrap().id;
        let new = NewTask {
            id: None,
            workspace_id: workspace,
            name: "nightly".to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        let task = store.workspaces().create_task(&new).await.unwrap().id;
        let app = App::new(store.clone(), server_settings, clock.clone(), random.clone()).await.unwrap();
        Self { store, clock, random, admin, workspace, task, router: router(app.clone()), app, folder }
    }

    /// The data folder of the archive.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Number of changes in progress.
    pub(crate) fn changes_in_progress(&self) -> usize {
        self.app.changes_in_progress()
    }

    /// Changes the catalog directly.
    pub(crate) async fn sql(&self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.catalog().await).await.unwrap();
    }

    /// A direct connection to the catalog.
    pub(crate) async fn catalog(&self) -> sqlx::SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("catalog.sqlite"));
        sqlx::ConnectOptions::connect(&options).await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, ask: Ask<'_>) -> Answer {
        let (parts, body) = self.begin(method, path, ask).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request without reading the body of the response.
    pub(crate) async fn begin(&self, method: Method, path: &str, ask: Ask<'_>) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path).header("host", "runlog.test");
        if !ask.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", ask.token));
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        self.router.clone().oneshot(request.body(ask.body).unwrap()).await.unwrap()
    }

    /// Sends a request as the administrator.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.send(method, path, Ask { token: &self.admin, headers: Vec::new(), body: body.into() }).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    /// Starts the run, and pushes these records.
    pub(crate) async fn push(&self, lines: &str) {
        self.start().await;
        let answer = self.post(&format!("/runlog/v1/runs/{RUN}/records"), lines.to_owned()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub(crate) async fn start(&self) {
        self.start_as(RUN).await;
    }

    /// Starts a run with this ID.
    pub(crate) async fn start_as(&self, run: &str) {
        let body = format!(r#"{{"taskId":"{}"}}"#, self.task);
        let answer = self.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), body).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }

    /// Requests a page, builds it, and returns the path and query of its link.
    pub(crate) async fn link(&self, query: &str) -> String {
        let page = self.post(&format!("/monitoring/executions/{RUN}/logs{query}"), "").await.json();
        while self.store.pages().build_next_page().await.unwrap() {}
        let token = page["token"].as_str().unwrap().to_owned();
        let ready = self.post(&format!("/monitoring/executions/{RUN}/logs/status"), token).await.json();
        let link = ready["presignedURL"].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned();
        link.strip_prefix("http://runlog.test").unwrap().to_owned()
    }

    /// Another workspace.
    pub(crate) async fn other_workspace(&self) -> Workspace {
        let name = "other team".to_owned();
        let new = NewWorkspace { id: None, environment_id: None, name, description: None, owner: None };
        self.store.workspaces().create_workspace(&new, "admin").await.unwrap()
    }

    /// A user with these rights in the workspace, and a token.
    pub(crate) async fn user(&self, name: &str, rights: &[Right]) -> String {
        self.user_in(self.workspace, name, rights).await
    }

    /// A user with these rights in a workspace, and a token.
    pub(crate) async fn user_in(&self, workspace: WorkspaceId, name: &str, rights: &[Right]) -> String {
        let user =
            self.store.accounts().create_user(&NewUser { name: name.to_owned(), administrator: false }).await.unwrap();
        let rights = rights.iter().copied().collect();
        self.store.accounts().set_rights(workspace, CallerKind::User, &user.id, rights).await.unwrap();
        self.store.accounts().create_token(&user.id, "test").await.unwrap().token.unwrap()
    }
}

impl<'a> Ask<'a> {
    pub(crate) fn with(headers: &[(&'a str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { token: "", headers, body: Body::empty() }
    }

    pub(crate) fn by(mut self, token: &'a str) -> Self {
        self.token = token;
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }
}

/// Records at these times.
pub(crate) fn lines(times: impl IntoIterator<Item = i64>) -> String {
    times.into_iter().map(|time| format!("{{\"logTimestamp\":{time},\"logMessage\":\"at {time}\"}}\n")).collect()
}

/// The service of a stage on a socket, until it is dropped.
pub(crate) struct Live {
    pub(crate) address: std::net::SocketAddr,
    stop: tokio_util::sync::CancellationToken,
}

impl Live {
    pub(crate) fn start(stage: &Stage, settings: ServerSettings) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let (store, clock, random) = (stage.store.clone(), stage.clock.clone(), stage.random.clone());
        tokio::spawn(runlog_server::serve(listener, store, settings, clock, random, stop.clone()));
        Self { address, stop }
    }

    /// Sends bytes unchanged, and returns everything that is received until the service closes the connection.
    pub(crate) async fn exchange(&self, request: impl Into<Vec<u8>>) -> String {
        let (address, request) = (self.address, request.into());
        let exchanged = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut connection = std::net::TcpStream::connect(address).unwrap();
            // A service that closes the connection early has sent its whole response.
            let _ = connection.write_all(&request);
            let mut answer = Vec::new();
            let _ = connection.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        exchanged.await.unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
