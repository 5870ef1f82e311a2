//! Sign-in with an identity provider: a strict provider on loopback, whose accounts, keys and behaviour the tests
//! change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use runlog_model::Clock;
use runlog_model::workspaces::Right;
use runlog_server::{AccessRule, OidcSettings};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Ask, Stage, TestClock};

const START: &str = "/runlog/v1/sign-in/oidc";
const SESSION: &str = "/runlog/v1/session";
const PUBLIC_URL: &str = "https://runlog.example.com";

/// A key that signs tokens.
struct Key {
    /// None if it is empty.
    id: String,
    pair: EcdsaKeyPair,
    secret: EncodingKey,
}

impl Key {
    fn new(id: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { id: id.to_owned(), pair, secret: EncodingKey::from_ec_der(document.as_ref()) }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut public = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "x": part(&point[1..33]), "y": part(&point[33..65]),
        });
        if let Some(id) = self.id() {
            public["kid"] = json!(id);
        }
        public
    }

    fn id(&self) -> Option<String> {
        Some(self.id.clone()).filter(|id| !id.is_empty())
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: self.id(), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.secret).unwrap()
    }
}

/// The data and the behaviour of the provider.
struct ProviderBehaviour {
    key: Key,
    /// The claims of the account that signs in.
    account: Value,
    /// Refresh tokens that are valid, each once.
    refresh_tokens: Vec<String>,
    /// Codes: the nonce and the challenge that they were made for.
    codes: HashMap<String, (String, String)>,
    made: u64,
    is_away: bool,
    /// The account is disabled.
    is_disabled: bool,
    gives_refresh_tokens: bool,
    /// The user has approved the device.
    is_approved: bool,
    /// Changes the claims of ID tokens.
    alter: fn(&mut Value),
}

struct Provider {
    issuer: String,
    clock: Arc<TestClock>,
    behaviour: Mutex<ProviderBehaviour>,
}

impl Provider {
    /// A token response for the account.
    fn tokens(&self, behaviour: &mut ProviderBehaviour, nonce: Option<&str>) -> Value {
        let now = self.clock.now().as_millis() / 1_000;
        let mut claims = behaviour.account.clone();
        for (name, value) in
            [("iss", json!(self.issuer)), ("aud", json!("runlog")), ("iat", json!(now)), ("exp", json!(now + 300))]
        {
            claims[name] = value;
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        (behaviour.alter)(&mut claims);
        let mut answer = json!({ "access_token": "access", "token_type": "Bearer", "expires_in": 300, "id_token": behaviour.key.sign(&claims) });
        if behaviour.gives_refresh_tokens {
            behaviour.made += 1;
            let token = format!("refresh-{}", behaviour.made);
            behaviour.refresh_tokens.push(token.clone());
            answer["refresh_token"] = json!(token);
        }
        answer
    }
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code }))).into_response()
}

async fn document(State(provider): State<Arc<Provider>>) -> Response {
    if provider.behaviour.lock().unwrap().is_away {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"), "device_authorization_endpoint": at("/device"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic"], "response_types_supported": ["code"],
    }))
    .into_response()
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    // A key of another kind stands beside it.
    Json(json!({ "keys": [{ "kty": "future", "kid": "x" }, provider.behaviour.lock().unwrap().key.public()] }))
}

async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<String, String> = serde_urlencoded::from_str(&body).unwrap();
    let mut behaviour = provider.behaviour.lock().unwrap();
    if behaviour.is_away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    // The secret is encoded as in a form (RFC 6749, 2.3.1).
    let expected = format!("Basic {}", STANDARD.encode("runlog:a%20secret%2B"));
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&expected) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let nonce = match field("grant_type") {
        "authorization_code" => {
            let Some((nonce, challenge)) = behaviour.codes.remove(field("code")) else {
                return refused(StatusCode::BAD_REQUEST, "invalid_grant");
            };
            let is_own = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))) == challenge;
            if !is_own || field("redirect_uri") != format!("{PUBLIC_URL}{START}/callback") {
                return refused(StatusCode::BAD_REQUEST, "invalid_grant");
            }
            Some(nonce)
        }
        "refresh_token" => {
            let index = behaviour.refresh_tokens.iter().position(|token| token == field("refresh_token"));
            let Some(index) = index.filter(|_| !behaviour.is_disabled) else {
                return refused(StatusCode::BAD_REQUEST, "invalid_grant");
            };
            behaviour.refresh_tokens.remove(index);
            None
        }
        "urn:ietf:params:oauth:grant-type:device_code" if field("device_code") != "device-1" => {
            return refused(StatusCode::BAD_REQUEST, "expired_token");
        }
        "urn:ietf:params:oauth:grant-type:device_code" if !behaviour.is_approved => {
            return refused(StatusCode::BAD_REQUEST, "authorization_pending");
        }
        "urn:ietf:params:oauth:grant-type:device_code" => None,
        _ => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    Json(provider.tokens(&mut behaviour, nonce.as_deref())).into_response()
}

async fn device(body: String) -> Response {
    let form: HashMap<String, String> = serde_urlencoded::from_str(&body).unwrap();
    if form.get("client_id").map(String::as_str) != Some("runlog") || !form["scope"].split(' ').any(|it| it == "openid")
    {
        return refused(StatusCode::BAD_REQUEST, "invalid_scope");
    }
    Json(json!({
        "device_code": "device-1", "user_code": "WDJB-MJHT", "verification_uri": "https://login.example.com/device",
        "expires_in": 600, "interval": 1,
    }))
    .into_response()
}

/// The service with the provider, in which the group `oncall` may read the logs of `team`.
struct Place {
    stage: Stage,
    provider: Arc<Provider>,
}

impl Place {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut OidcSettings)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let rule = |group: &str, rights: &[Right], administrator| AccessRule {
            claim: "groups".to_owned(),
            values: vec![group.to_owned()],
            administrator,
            workspaces: vec!["team".to_owned()],
            rights: rights.to_vec(),
            ..AccessRule::default()
        };
        let mut settings = OidcSettings {
            name: "Example".to_owned(),
            issuer: issuer.clone(),
            client_id: "runlog".to_owned(),
            client_secret: Some("a secret+".to_owned().into()),
            scopes: vec!["openid".to_owned(), "profile".to_owned()],
            name_claim: None,
            groups_claim: "groups".to_owned(),
            access: vec![rule("oncall", &Right::READ_LOGS, false), rule("platform", &[], true)],
            session_life: Duration::from_secs(12 * 3_600),
            check_every: Duration::from_secs(900),
            token_life: Duration::from_secs(7 * 86_400),
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
        };
        change(&mut settings);
        let stage = Stage::with(
            |_| (),
            |server| {
                server.oidc = Some(settings);
                server.public_url = Some(PUBLIC_URL.to_owned());
            },
        )
        .await;
        let behaviour = ProviderBehaviour {
            key: Key::new("key-1"),
            account: json!({ "sub": "248289761001", "preferred_username": "kim", "groups": ["oncall"], "sid": "session-1" }),
            refresh_tokens: Vec::new(),
            codes: HashMap::new(),
            made: 0,
            is_away: false,
            is_disabled: false,
            gives_refresh_tokens: true,
            is_approved: false,
            alter: |_| (),
        };
        let provider = Arc::new(Provider { issuer, clock: Arc::clone(&stage.clock), behaviour: Mutex::new(behaviour) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/device", post(device))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { stage, provider }
    }

    fn behaviour(&self) -> std::sync::MutexGuard<'_, ProviderBehaviour> {
        self.provider.behaviour.lock().unwrap()
    }

    /// Begins a sign-in. Returns the browser's cookie and the parameters that the provider receives.
    async fn start(&self, to: &str) -> (String, HashMap<String, String>) {
        let answer = self.stage.send(Method::GET, &format!("{START}?to={to}"), Ask::with(&[])).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with("__Host-") && cookie.contains("HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let url: reqwest::Url = answer.header("location").parse().unwrap();
        assert!(url.as_str().starts_with(&format!("{}/authorize?", self.provider.issuer)), "{url}");
        (cookie.split(';').next().unwrap().to_owned(), url.query_pairs().into_owned().collect())
    }

    /// The provider's part: the user signs in, and gets a code.
    fn approve(&self, parameters: &HashMap<String, String>) -> String {
        assert_eq!(parameters["response_type"], "code");
        assert_eq!(parameters["client_id"], "runlog");
        assert_eq!(parameters["redirect_uri"], format!("{PUBLIC_URL}{START}/callback"));
        assert_eq!(parameters["scope"], "openid profile");
        assert_eq!(parameters["code_challenge_method"], "S256");
        let mut behaviour = self.behaviour();
        behaviour.made += 1;
        let code = format!("code-{}", behaviour.made);
        let made_for = (parameters["nonce"].clone(), parameters["code_challenge"].clone());
        behaviour.codes.insert(code.clone(), made_for);
        code
    }

    async fn callback(&self, cookie: &str, query: &str) -> Answer {
        self.stage.send(Method::GET, &format!("{START}/callback?{query}"), Ask::with(&[("cookie", cookie)])).await
    }

    /// Signs in, and returns the last response.
    async fn sign_in(&self) -> Answer {
        let (cookie, parameters) = self.start("/runs/1").await;
        let (code, state) = (self.approve(&parameters), &parameters["state"]);
        self.callback(&cookie, &format!("code={code}&state={state}")).await
    }

    /// The session cookie of a browser that signs in.
    async fn session(&self) -> String {
        let answer = self.sign_in().await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/runs/1"));
        session_cookie(&answer).unwrap()
    }

    /// Signs in, which must fail, and returns the address of the redirect, which names the error.
    async fn fails(&self) -> String {
        let answer = self.sign_in().await;
        assert_eq!(answer.status, 303);
        assert!(session_cookie(&answer).is_none());
        answer.header("location").to_owned()
    }

    async fn who(&self, cookie: &str) -> Answer {
        self.stage.send(Method::GET, SESSION, Ask::with(&[("cookie", cookie)])).await
    }

    async fn audit(&self) -> String {
        self.stage.get("/runlog/v1/audit").await.text()
    }
}

fn session_cookie(answer: &Answer) -> Option<String> {
    let mut cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = cookies.find(|cookie| cookie.starts_with("__Host-runlog_session="))?;
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test]
async fn the_groups_of_an_account_are_its_rights() {
    let place = Place::new().await;
    let ways = place.stage.send(Method::GET, "/runlog/v1/sign-in", Ask::with(&[])).await.json();
    assert_eq!(ways["identityProvider"], json!({ "name": "Example", "path": START }));
    let cookie = place.session().await;
    let who = place.who(&cookie).await.json();
    assert_eq!((who["name"].as_str(), who["administrator"].as_bool()), (Some("kim"), Some(false)));
    assert_eq!(who["workspaces"][0]["rights"], json!(["AUTHOR", "EXECUTE", "VIEW"]));
    assert!(place.audit().await.contains("sign in"));

    // The next sign-in is the same user with other rights.
    place.behaviour().account["groups"] = json!("platform");
    let again = place.who(&place.session().await).await.json();
    assert_eq!((again["id"].clone(), again["administrator"].as_bool()), (who["id"].clone(), Some(true)));
    let users = place.stage.get("/runlog/v1/users").await.json();
    assert_eq!(users.as_array().unwrap().len(), 2);
    assert_eq!(users[1]["identityProvider"], json!(place.provider.issuer));
}

#[tokio::test]
async fn access_that_follows_the_provider_is_not_changed_by_hand() {
    let place = Place::new().await;
    let who = place.who(&place.session().await).await.json();
    let id = who["id"].as_str().unwrap();
    let change = json!({ "name": "kim", "administrator": true }).to_string();
    let answer = place.stage.ask(Method::PUT, &format!("/runlog/v1/users/{id}"), change).await;
    answer.is_error(409, &["[[oidc.access]]"]);
    let path = format!("/security/workspaces/{}/users/{id}/permissions", place.stage.workspace);
    place.stage.ask(Method::PUT, &path, r#"["MANAGE"]"#).await.is_error(409, &["[[oidc.access]]"]);
    // It can be deleted.
    assert_eq!(place.stage.ask(Method::DELETE, &format!("/runlog/v1/users/{id}"), "").await.status, 204);
    let new = place.who(&place.session().await).await.json();
    assert_ne!(new["id"], who["id"]);
}

#[tokio::test]
async fn an_account_without_a_rule_has_no_access() {
    let place = Place::new().await;
    place.behaviour().account["groups"] = json!(["guests"]);
    assert_eq!(place.fails().await, "/?sign_in=no-access");
    let audit = place.audit().await;
    assert!(audit.contains("\"status\":403") && audit.contains("kim"), "{audit}");
    assert_eq!(place.stage.get("/runlog/v1/users").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_account_never_takes_over_an_existing_user() {
    let place = Place::new().await;
    place.behaviour().account["preferred_username"] = json!("admin");
    assert_eq!(place.fails().await, "/?sign_in=name-taken");
    // Nor does an account that takes the name of another one later.
    place.behaviour().account["preferred_username"] = json!("kim");
    let first = place.session().await;
    place.behaviour().account["sub"] = json!("another");
    assert_eq!(place.fails().await, "/?sign_in=name-taken");
    assert_eq!(place.who(&first).await.json()["name"], "kim");
}

#[tokio::test]
async fn an_invalid_id_token_is_rejected() {
    let place = Place::new().await;
    type Alteration = fn(&mut Value);
    let alterations: [(&str, Alteration); 10] = [
        ("another issuer", |claims| claims["iss"] = json!("https://evil.example")),
        ("another client", |claims| claims["aud"] = json!("other")),
        ("several clients without azp", |claims| claims["aud"] = json!(["runlog", "other"])),
        ("issued to another client", |claims| claims["azp"] = json!("other")),
        ("expired", |claims| claims["exp"] = json!(1_000)),
        ("no end", |claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ("from the future", |claims| claims["iat"] = json!(4_000_000_000_u64)),
        ("another nonce", |claims| claims["nonce"] = json!("x")),
        ("no nonce", |claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("no subject", |claims| drop(claims.as_object_mut().unwrap().remove("sub"))),
    ];
    for (what, alter) in alterations {
        place.behaviour().alter = alter;
        assert_eq!(place.fails().await, "/?sign_in=failed", "{what}");
    }
    place.behaviour().alter = |claims| claims["aud"] = json!(["runlog"]);
    place.session().await;
}

#[tokio::test]
async fn keys_may_be_rotated_at_any_time() {
    let place = Place::new().await;
    place.session().await;
    place.behaviour().key = Key::new("key-2");
    place.session().await;
    // The keys are not read again and again.
    place.behaviour().key = Key::new("key-3");
    assert_eq!(place.fails().await, "/?sign_in=failed");
    place.stage.clock.advance_ms(11_000);
    place.session().await;
}

/// A provider with a single key need not give it an ID: for an hour, nobody could sign in.
#[tokio::test]
async fn a_key_without_an_id_may_be_rotated() {
    let place = Place::new().await;
    place.behaviour().key = Key::new("");
    place.session().await;
    place.behaviour().key = Key::new("");
    place.session().await;
}

#[tokio::test]
async fn a_sign_in_ends_in_the_browser_that_began_it() {
    let place = Place::new().await;
    let (cookie, parameters) = place.start("//evil.example/").await;
    let (code, state) = (place.approve(&parameters), parameters["state"].clone());
    for (cookie, state) in [("", state.as_str()), (cookie.as_str(), "other"), ("__Host-runlog_sign_in=a.b.c.d", "a")] {
        let answer = place.callback(cookie, &format!("code={code}&state={state}")).await;
        let location = answer.header("location");
        assert!(["/?sign_in=expired", "/?sign_in=failed"].contains(&location), "{location}");
        assert!(session_cookie(&answer).is_none());
    }
    let (cookie, parameters) = place.start("//evil.example/").await;
    let (code, state) = (place.approve(&parameters), &parameters["state"]);
    let answer = place.callback(&cookie, &format!("code={code}&state={state}")).await;
    assert_eq!(answer.header("location"), "/", "it does not lead to another host");
    assert!(session_cookie(&answer).is_some());
    // A code is valid once.
    let answer = place.callback(&cookie, &format!("code={code}&state={state}")).await;
    assert_eq!(answer.header("location"), "/?sign_in=failed");
    let (cookie, parameters) = place.start("/").await;
    let answer = place.callback(&cookie, &format!("error=access_denied&state={}", parameters["state"])).await;
    assert_eq!(answer.header("location"), "/?sign_in=denied");
}

#[tokio::test]
async fn a_session_ends_with_its_account() {
    let place = Place::new().await;
    let cookie = place.session().await;
    for _ in 0..3 {
        // Each check gets a new refresh token, and the earlier one is no longer valid.
        place.stage.clock.advance_ms(901_000);
        assert_eq!(place.who(&cookie).await.status, 200);
    }
    assert_eq!(place.behaviour().refresh_tokens.len(), 1);
    place.behaviour().is_disabled = true;
    assert_eq!(place.who(&cookie).await.status, 200, "a check is not due yet");
    place.stage.clock.advance_ms(901_000);
    place.who(&cookie).await.is_error(401, &["this session has ended"]);
    place.behaviour().is_disabled = false;
    place.who(&cookie).await.is_error(401, &["this session has ended"]);
}

#[tokio::test]
async fn rights_change_with_the_groups_during_a_session() {
    let place = Place::new().await;
    let cookie = place.session().await;
    place.behaviour().account["groups"] = json!(["platform"]);
    place.stage.clock.advance_ms(901_000);
    assert_eq!(place.who(&cookie).await.json()["administrator"], true);
    assert!(place.audit().await.contains("change access"));
    // So does the access of tokens, and of sessions that were opened with them.
    let id = place.who(&cookie).await.json()["id"].as_str().unwrap().to_owned();
    let token = place.stage.store.accounts().create_token(&id, "laptop").await.unwrap().token.unwrap();
    let json = [("content-type", "application/json")];
    let body = json!({ "token": token }).to_string();
    let opened = place.stage.send(Method::POST, SESSION, Ask::with(&json).body(body)).await;
    let by_token = session_cookie(&opened).unwrap();
    assert_eq!(place.who(&by_token).await.status, 200);
    place.behaviour().account["groups"] = json!(["guests"]);
    place.stage.clock.advance_ms(901_000);
    place.who(&cookie).await.is_error(401, &["this session has ended"]);
    place.who(&by_token).await.is_error(401, &["this session has ended"]);
    place.stage.send(Method::GET, SESSION, Ask::with(&[]).by(&token)).await.is_error(401, &["unknown, or was revoked"]);
    assert!(place.audit().await.contains("revoke access"));
    // A user who regains access has it from the next sign-in on.
    place.behaviour().account["groups"] = json!(["oncall"]);
    assert_eq!(
        place.who(&place.session().await).await.json()["workspaces"][0]["rights"],
        json!(["AUTHOR", "EXECUTE", "VIEW"])
    );
}

#[tokio::test]
async fn a_session_of_a_token_ends_when_the_account_was_not_confirmed_for_long() {
    let place = Place::with(|oidc| oidc.token_life = Duration::from_secs(3_600)).await;
    let id = place.who(&place.session().await).await.json()["id"].as_str().unwrap().to_owned();
    let token = place.stage.store.accounts().create_token(&id, "laptop").await.unwrap().token.unwrap();
    let json = [("content-type", "application/json")];
    let body = json!({ "token": token }).to_string();
    let opened = place.stage.send(Method::POST, SESSION, Ask::with(&json).body(body)).await;
    let by_token = session_cookie(&opened).unwrap();
    place.stage.clock.advance_ms(3_500_000);
    assert_eq!(place.who(&by_token).await.status, 200);
    place.stage.clock.advance_ms(101_000);
    place.who(&by_token).await.is_error(401, &["this session has ended"]);
}

#[tokio::test]
async fn sessions_survive_an_hour_without_the_provider() {
    let place = Place::new().await;
    let cookie = place.session().await;
    place.behaviour().is_away = true;
    place.stage.clock.advance_ms(901_000);
    assert_eq!(place.who(&cookie).await.status, 200);
    place.stage.clock.advance_ms(3_500_000);
    assert_eq!(place.who(&cookie).await.status, 200);
    place.stage.clock.advance_ms(200_000);
    // Not only once.
    for _ in 0..3 {
        place.who(&cookie).await.is_error(503, &["cannot be checked"]);
        place.stage.clock.advance_ms(20_000);
    }
    place.behaviour().is_away = false;
    place.stage.clock.advance_ms(61_000);
    assert_eq!(place.who(&cookie).await.status, 200);
}

#[tokio::test]
async fn a_service_starts_without_its_provider() {
    let place = Place::new().await;
    let start = async || place.stage.send(Method::GET, START, Ask::with(&[])).await.header("location").to_owned();
    place.behaviour().is_away = true;
    assert_eq!(start().await, "/?sign_in=unavailable");
    place.behaviour().is_away = false;
    assert_eq!(start().await, "/?sign_in=unavailable", "it is not asked at each request");
    place.stage.clock.advance_ms(11_000);
    place.session().await;
}

#[tokio::test]
async fn many_requests_check_a_session_once() {
    let place = Place::new().await;
    let cookie = place.session().await;
    place.stage.clock.advance_ms(901_000);
    // A second use of a refresh token would be refused, and end the session.
    let answers = futures::future::join_all((0..20).map(|_| place.who(&cookie))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn without_a_refresh_token_a_session_lasts_an_hour() {
    let place = Place::new().await;
    place.behaviour().gives_refresh_tokens = false;
    let cookie = place.session().await;
    place.stage.clock.advance_ms(3_500_000);
    assert_eq!(place.who(&cookie).await.status, 200);
    place.stage.clock.advance_ms(101_000);
    place.who(&cookie).await.is_error(401, &["this session has ended"]);
}

#[tokio::test]
async fn the_provider_can_end_sessions() {
    let place = Place::new().await;
    let first = place.session().await;
    place.behaviour().account["sid"] = json!("session-2");
    let second = place.session().await;
    let now = place.stage.clock.now().as_millis() / 1_000;
    let logout = |changes: Value| {
        let mut claims = json!({
            "iss": place.provider.issuer, "aud": "runlog", "iat": now, "jti": "1", "sub": "248289761001", "sid": "session-1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        format!("logout_token={}", place.behaviour().key.sign(&claims))
    };
    let path = format!("{START}/logout");
    let send = async |body: String| place.stage.send(Method::POST, &path, Ask::with(&[]).body(body)).await;
    for wrong in [json!({ "events": {} }), json!({ "nonce": "n" }), json!({ "aud": "other" }), json!({ "iss": "x" })] {
        send(logout(wrong)).await.is_error(400, &["logout_token"]);
    }
    send(String::new()).await.is_error(400, &["logout_token is missing"]);
    assert_eq!(place.who(&first).await.status, 200);
    assert_eq!(send(logout(json!({}))).await.status, 204);
    place.who(&first).await.is_error(401, &["this session has ended"]);
    assert_eq!(place.who(&second).await.status, 200);
    assert_eq!(send(logout(json!({ "sid": null }))).await.status, 204);
    place.who(&second).await.is_error(401, &["this session has ended"]);
}

#[tokio::test]
async fn a_device_gets_a_token_that_lasts_as_long_as_the_account_is_confirmed() {
    let place = Place::new().await;
    let post = async |path: &str, body: Value| {
        let json = [("content-type", "application/json")];
        place.stage.send(Method::POST, path, Ask::with(&json).body(body.to_string())).await
    };
    let begun = post("/runlog/v1/sign-in/device", json!({})).await.json();
    assert_eq!((begun["userCode"].as_str(), begun["interval"].as_u64()), (Some("WDJB-MJHT"), Some(1)));
    let request = |code: &str| json!({ "deviceCode": code, "name": "laptop" });
    let path = "/runlog/v1/sign-in/device/token";
    assert_eq!(post(path, request("device-1")).await.json(), json!({ "pending": true, "slowDown": false }));
    post(path, request("device-2")).await.is_error(401, &["expired"]);
    place.behaviour().is_approved = true;
    let given = post(path, request("device-1")).await.json();
    assert_eq!((given["pending"].as_bool(), given["user"].as_str()), (Some(false), Some("kim")));
    let token = given["token"].as_str().unwrap();
    let ask = async || place.stage.send(Method::GET, SESSION, Ask::with(&[]).by(token)).await;
    assert_eq!(ask().await.json()["name"], "kim");

    // A token for longer is accepted for as long as the account was confirmed.
    let id = ask().await.json()["id"].as_str().unwrap().to_owned();
    let long = place.stage.store.accounts().create_token(&id, "for good").await.unwrap().token.unwrap();
    let by_long = async || place.stage.send(Method::GET, SESSION, Ask::with(&[]).by(&long)).await;
    place.stage.clock.advance_ms(6 * 86_400_000);
    assert_eq!(by_long().await.status, 200);
    place.session().await;
    place.stage.clock.advance_ms(2 * 86_400_000);
    assert_eq!(by_long().await.status, 200, "a sign-in confirms the account");
    ask().await.is_error(401, &["unknown, or was revoked"]);
    place.stage.clock.advance_ms(6 * 86_400_000);
    by_long().await.is_error(401, &["unknown, or was revoked"]);
    place.behaviour().account["groups"] = json!(["guests"]);
    post(path, request("device-1")).await.is_error(403, &["no access"]);
}

#[tokio::test]
async fn an_archive_keeps_no_refresh_token_that_its_readers_could_use() {
    let place = Place::new().await;
    place.session().await;
    let mut catalog = place.stage.catalog().await;
    let (kept,): (String,) =
        sqlx::query_as("SELECT refresh_token FROM sessions").fetch_one(&mut catalog).await.unwrap();
    let bytes = STANDARD.decode(&kept).unwrap();
    assert!(!kept.contains("refresh") && !bytes.windows(7).any(|window| window == b"refresh"), "{kept}");
}

#[tokio::test]
async fn without_a_provider_only_tokens_are_accepted() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/runlog/v1/sign-in").await.json(), json!({}));
    stage.get(START).await.is_error(404, &["not set up"]);
    stage.post("/runlog/v1/sign-in/device", "{}").await.is_error(404, &["not set up"]);
}
