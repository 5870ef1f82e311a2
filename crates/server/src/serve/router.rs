//! The router: every route of the list, behind the checks of the access that it requires.

use std::sync::Arc;

use axum::middleware;
use axum::{Extension, Router};
use runlog_mcp::Assistant;
use serde_json::json;
use tower::ServiceExt;

use crate::app::App;
use crate::auth::audit::{Audited, audit_request};
use crate::auth::{links, token};
use crate::http::web::StaticJson;
use crate::http::{grpc, request, unread, web};
use crate::routes::docs::Documents;
use crate::routes::mcp::{self, InProcess};
use crate::routes::{Access, Route, routes};
use crate::serve::openapi::document_text;

/// The service as a router.
pub fn router(app: App) -> Router {
    let routes = routes();
    let about = StaticJson::new(about_text(&routes));
    let documents = Arc::new(Documents { openapi: document_text().into(), about });
    let auth = app.auth();
    let mut router = Router::new();
    for route in routes {
        let handler = match route.audited {
            None => route.handler,
            Some(action) => {
                let audited = Audited { auth: auth.clone(), action, mode: route.audit_mode };
                route.handler.route_layer(middleware::from_fn_with_state(audited, audit_request))
            }
        };
        let handler = match route.access {
            Access::Public => handler,
            Access::SignedLink => {
                handler.route_layer(middleware::from_fn_with_state(auth.clone(), links::require_link))
            }
            Access::ClientSecret | Access::TokenInBody | Access::SignIn => {
                handler.route_layer(middleware::from_fn_with_state(auth.clone(), token::limit_anonymous))
            }
            Access::Token => handler.route_layer(middleware::from_fn_with_state(auth.clone(), token::require_token)),
            Access::Administrator => handler
                .route_layer(middleware::from_fn(token::require_administrator))
                .route_layer(middleware::from_fn_with_state(auth.clone(), token::require_token)),
        };
        // Errors of calls of gRPC are not in JSON.
        let handler = match route.path.starts_with("/opentelemetry.proto.") {
            true => handler.route_layer(middleware::from_fn(grpc::with_status)),
            false => handler,
        };
        router = router.route(&route.path, handler);
    }
    let router = router.fallback(web::answer);
    let endpoint =
        mcp::endpoint(finished(router.clone(), &app), auth.settings(), &app.settings().mcp_hosts, app.clock());
    let router = router.layer(Extension(endpoint));
    let router = router.layer(Extension(documents));
    finished(router, &app)
}

/// The routes with what all of them have in common.
fn finished(router: Router<App>, app: &App) -> Router {
    let context = app.request_context();
    let router = router.layer(middleware::from_fn_with_state(context, request::handle_request));
    let time_max = app.settings().bounds.body_silence_max;
    let router = router.layer(middleware::from_fn_with_state(time_max, unread::give_up_unread));
    let router = router.with_state(app.clone());
    // Paths are normalised before they are matched.
    Router::new().fallback_service(router.map_request(request::with_plain_path))
}

/// Tools for assistants that read an archive directly, on behalf of the operator of this machine.
pub fn local_assistant(app: App) -> Assistant<InProcess> {
    let (settings, clock) = (app.auth().settings().clone(), app.clock());
    Assistant::new(InProcess::new(router(app), settings, true), clock)
}

/// A description of the service with every path, as JSON. It takes some milliseconds to create, so it is created once.
fn about_text(routes: &[Route]) -> String {
    let paths: Vec<String> = routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let about = json!({
        "name": "Runlog",
        "version": env!("CARGO_PKG_VERSION"),
        "about": "An archive of run logs, served through the run-log API of Qlik Talend Cloud",
        "paths": paths,
    });
    about.to_string()
}
