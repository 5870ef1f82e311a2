//! Every route, and what its caller needs. The router is built from this list and from nothing else.

mod accounts;
mod admin;
mod audit;
mod downloads;
mod executions;
mod health;
mod json;
mod logs;
mod metrics;
mod oauth;
mod otlp;
mod permissions;
mod places;
mod records;
mod runs;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::app::App;
use crate::audit::{Audited, write_down};
use crate::error::ApiError;
use crate::{auth, request};

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}` for its parts that vary.
    pub path: &'static str,
    /// What the caller needs.
    pub access: Access,
    /// What it is called in the audit log; none for what is not written down.
    pub audited: Option<&'static str>,
    handler: MethodRouter<App>,
}

/// What the caller of a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// The signature in the link.
    SignedLink,
    /// Client id and secret.
    ClientSecret,
    /// A personal token or an access token; rights are checked by the handler, which knows the workspace.
    Token,
    /// A token of an administrator.
    Administrator,
}

use Access::{Administrator, ClientSecret, Public, SignedLink, Token};

/// What is written down in the audit log: reading and changing logs, and changing who may.
const AUDITED: &[(Method, &str, &str)] = &[
    (Method::POST, "/monitoring/executions/{id}/logs", "request page"),
    (Method::GET, "/monitoring/executions/{id}/logs", "read log"),
    (Method::DELETE, "/monitoring/executions/{id}/logs", "delete log"),
    (Method::GET, "/runlog/v1/downloads/{key}/{file_name}", "download page"),
    (Method::PUT, "/runlog/v1/runs/{id}", "start run"),
    (Method::POST, "/runlog/v1/runs/{id}/finish", "finish run"),
    (Method::POST, "/account/service-accounts", "create service account"),
    (Method::PUT, "/account/service-accounts/{id}", "change service account"),
    (Method::DELETE, "/account/service-accounts/{id}", "delete service account"),
    (Method::POST, permissions::OF_USER, "grant rights"),
    (Method::PUT, permissions::OF_USER, "grant rights"),
    (Method::DELETE, permissions::OF_USER, "revoke rights"),
    (Method::POST, permissions::OF_ACCOUNT, "grant rights"),
    (Method::PUT, permissions::OF_ACCOUNT, "grant rights"),
    (Method::DELETE, permissions::OF_ACCOUNT, "revoke rights"),
    (Method::POST, "/runlog/v1/users", "create user"),
    (Method::POST, "/runlog/v1/tokens", "create token"),
    (Method::DELETE, "/runlog/v1/tokens/{id}", "revoke token"),
];

/// Every route of the service.
pub fn routes() -> Vec<Route> {
    let route = |method: Method, path, access, handler| {
        let audited =
            AUDITED.iter().find(|(known, at, _)| method == *known && path == *at).map(|(_, _, action)| *action);
        Route { method, path, access, audited, handler }
    };
    vec![
        // The run-log API of Talend Cloud.
        route(Method::POST, "/monitoring/executions/{id}/logs", Token, post(logs::generate)),
        route(Method::POST, "/monitoring/executions/{id}/logs/status", Token, post(logs::status)),
        route(Method::GET, "/monitoring/executions/{id}/logs", Token, get(logs::live)),
        route(Method::DELETE, "/monitoring/executions/{id}/logs", Token, delete(logs::delete)),
        route(Method::GET, "/processing/executables/tasks", Token, get(places::tasks)),
        route(Method::GET, "/processing/executables/tasks/executions", Token, get(executions::of_all_tasks)),
        route(Method::POST, "/processing/executables/tasks/executions", Token, post(executions::search)),
        route(Method::GET, "/processing/executables/tasks/{id}/executions", Token, get(executions::of_task)),
        route(Method::GET, "/processing/executions/{id}", Token, get(executions::one)),
        route(Method::POST, "/processing/executions", Token, post(executions::start)),
        route(Method::GET, "/orchestration/environments", Token, get(places::environments)),
        route(Method::GET, "/orchestration/workspaces", Token, get(places::workspaces)),
        route(Method::GET, "/orchestration/executables/tasks", Token, get(places::tasks)),
        route(Method::POST, "/orchestration/executables/tasks/search", Token, post(places::search)),
        route(Method::GET, "/orchestration/executables/tasks/{id}", Token, get(places::task)),
        route(Method::GET, "/orchestration/executables/plans", Token, get(places::plans)),
        route(Method::POST, "/security/oauth/token", ClientSecret, post(oauth::token)),
        route(Method::GET, "/account/service-accounts", Token, get(accounts::list)),
        route(Method::POST, "/account/service-accounts", Token, post(accounts::create)),
        route(Method::GET, "/account/service-accounts/count", Token, get(accounts::count)),
        route(Method::GET, "/account/service-accounts/permissions", Token, get(accounts::permissions)),
        route(Method::PUT, "/account/service-accounts/{id}", Token, put(accounts::update)),
        route(Method::GET, "/account/service-accounts/{id}", Token, get(accounts::one)),
        route(Method::DELETE, "/account/service-accounts/{id}", Token, delete(accounts::remove)),
        route(Method::GET, permissions::OF_USER, Token, get(permissions::of_user)),
        route(Method::POST, permissions::OF_USER, Token, post(permissions::grant_user)),
        route(Method::PUT, permissions::OF_USER, Token, put(permissions::replace_user)),
        route(Method::DELETE, permissions::OF_USER, Token, delete(permissions::revoke_user)),
        route(Method::GET, permissions::OF_ACCOUNT, Token, get(permissions::of_account)),
        route(Method::POST, permissions::OF_ACCOUNT, Token, post(permissions::grant_account)),
        route(Method::PUT, permissions::OF_ACCOUNT, Token, put(permissions::replace_account)),
        route(Method::DELETE, permissions::OF_ACCOUNT, Token, delete(permissions::revoke_account)),
        // Runlog's own.
        route(Method::GET, "/runlog/v1/downloads/{key}/{file_name}", SignedLink, get(downloads::download)),
        route(Method::POST, "/v1/logs", Token, post(otlp::export)),
        route(Method::PUT, "/runlog/v1/runs/{id}", Token, put(runs::start)),
        route(Method::GET, "/runlog/v1/runs/{id}", Token, get(runs::one)),
        route(Method::POST, "/runlog/v1/runs/{id}/records", Token, post(records::push)),
        route(Method::POST, "/runlog/v1/runs/{id}/finish", Token, post(runs::finish)),
        route(Method::GET, "/runlog/v1/environments", Administrator, get(admin::environments)),
        route(Method::POST, "/runlog/v1/environments", Administrator, post(admin::create_environment)),
        route(Method::GET, "/runlog/v1/workspaces", Administrator, get(admin::workspaces)),
        route(Method::POST, "/runlog/v1/workspaces", Administrator, post(admin::create_workspace)),
        route(Method::GET, "/runlog/v1/tasks", Administrator, get(admin::tasks)),
        route(Method::POST, "/runlog/v1/tasks", Administrator, post(admin::create_task)),
        route(Method::GET, "/runlog/v1/users", Administrator, get(admin::users)),
        route(Method::POST, "/runlog/v1/users", Administrator, post(admin::create_user)),
        route(Method::GET, "/runlog/v1/tokens", Token, get(admin::tokens)),
        route(Method::POST, "/runlog/v1/tokens", Token, post(admin::create_token)),
        route(Method::DELETE, "/runlog/v1/tokens/{id}", Token, delete(admin::revoke_token)),
        route(Method::GET, "/runlog/v1/audit", Administrator, get(audit::list)),
        route(Method::GET, "/metrics", Token, get(metrics::show)),
        route(Method::GET, "/healthz", Public, get(health::alive)),
        route(Method::GET, "/readyz", Public, get(health::ready)),
        route(Method::GET, "/", Public, get(health::about)),
    ]
}

/// The service as a router.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let handler = match route.audited {
            None => route.handler,
            Some(action) => {
                let audited = Audited { app: app.clone(), action };
                route.handler.route_layer(middleware::from_fn_with_state(audited, write_down))
            }
        };
        let handler = match route.access {
            Public | SignedLink => handler,
            ClientSecret => handler.route_layer(middleware::from_fn_with_state(app.clone(), auth::limit_strangers)),
            Token => handler.route_layer(middleware::from_fn_with_state(app.clone(), auth::require_token)),
            Administrator => handler
                .route_layer(middleware::from_fn(auth::require_administrator))
                .route_layer(middleware::from_fn_with_state(app.clone(), auth::require_token)),
        };
        router = router.route(route.path, handler);
    }
    router.fallback(nothing_here).layer(middleware::from_fn_with_state(app.clone(), request::surround)).with_state(app)
}

async fn nothing_here() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this address; GET / lists what there is")
}
