//! Every route, and the access that it requires. The router (`serve/router.rs`) is built from this list only.

mod accounts;
mod admin;
mod alerts;
mod audit;
mod browse;
mod collection;
mod components;
pub(crate) mod docs;
mod downloads;
mod events;
mod executions;
mod health;
mod history;
mod iceberg;
mod logs;
mod loki;
pub(crate) mod mcp;
mod metrics;
mod oauth;
mod otlp;
mod overview;
mod permissions;
mod plan_pages;
mod plans;
mod problems;
mod queries;
mod records;
mod reports;
mod retention;
mod runs;
mod search;
mod session;
mod sign_in;
mod signing_keys;
mod sinks;
mod sql;
mod tenant_audit_logs;
mod workspaces;

use axum::http::Method;
use axum::routing::MethodRouter;
use runlog_store::audit::{DELETE_ENVIRONMENT, DELETE_USER};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Parameter, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::app::App;
use crate::auth::audit::AuditMode;
use crate::http::parameters::query_parameters_of;

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}` for its parameters.
    pub path: String,
    /// The required access.
    pub access: Access,
    /// The action in the audit log; none if requests are not recorded.
    pub audited: Option<&'static str>,
    /// Which requests are recorded, and when.
    pub(crate) audit_mode: AuditMode,
    /// Its description, from the handler.
    pub(crate) operation: PathItem,
    /// The schemas that it refers to.
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    pub(crate) handler: MethodRouter<App>,
}

impl Route {
    /// The route of a handler, whose method and path are in its annotation, and whose query parameters are in the types
    /// of its arguments.
    fn new(access: Access, handler: (UtoipaMethodRouter<App>, Vec<Parameter>)) -> Self {
        let ((schemas, paths, handler), query) = handler;
        let (path, mut operation) = paths.paths.into_iter().next().unwrap_or_default();
        let operations = [&mut operation.get, &mut operation.put, &mut operation.post, &mut operation.delete];
        if let Some(operation) = operations.into_iter().flatten().next().filter(|_| !query.is_empty()) {
            operation.parameters.get_or_insert_default().extend(query.into_iter().map(RefOr::T));
        }
        let method = match &operation {
            PathItem { put: Some(_), .. } => Method::PUT,
            PathItem { post: Some(_), .. } => Method::POST,
            PathItem { delete: Some(_), .. } => Method::DELETE,
            _ => Method::GET,
        };
        Self { method, path, access, audited: None, audit_mode: AuditMode::Change, operation, schemas, handler }
    }

    /// This route with audit entries: changes of logs and of access.
    fn audited(self, action: &'static str) -> Self {
        Self { audited: Some(action), ..self }
    }

    /// The same for a route that reads logs: every read is recorded.
    fn audited_reading(self, action: &'static str) -> Self {
        Self { audit_mode: AuditMode::Read, ..self.audited(action) }
    }

    /// This route with audit entries for what it creates, starts and ends in addition to the records that it stores.
    fn audited_by_part(self) -> Self {
        Self { audit_mode: AuditMode::ChangeByPart, ..self.audited("push records") }
    }

    /// The same for a route that is called repeatedly for one read: only the first request is recorded.
    fn audited_once(self, action: &'static str) -> Self {
        Self { audit_mode: AuditMode::ReadOnce, ..self.audited(action) }
    }
}

/// A handler with its annotation and its query parameters.
macro_rules! handler {
    ($($path:tt)+) => {
        (utoipa_axum::routes!($($path)+), query_parameters_of::<App, _, _>($($path)+))
    };
}

/// The access that a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// The signature in the link.
    SignedLink,
    /// Client ID and secret.
    ClientSecret,
    /// A token in the body, which the handler checks.
    TokenInBody,
    /// Something that the identity provider has given to the client, which the handler checks.
    SignIn,
    /// A personal token or an access token; rights are checked by the handler, which determines the workspace.
    Token,
    /// A token of an administrator.
    Administrator,
}

use Access::{Administrator, ClientSecret, Public, SignIn, SignedLink, Token, TokenInBody};

/// Every route of the service.
pub fn routes() -> Vec<Route> {
    // In parts: a list of all would need more stack than a thread has.
    [talend_routes, extension_routes, loki_routes, iceberg_routes, service_routes]
        .into_iter()
        .flat_map(|routes| routes())
        .collect()
}

/// The run-log API of Talend Cloud.
fn talend_routes() -> Vec<Route> {
    vec![
        Route::new(Token, handler!(logs::generate)).audited_reading("request page"),
        Route::new(Token, handler!(logs::status)),
        Route::new(Token, handler!(logs::live)).audited_reading("read log"),
        Route::new(Token, handler!(logs::delete)).audited("delete log"),
        Route::new(Token, handler!(workspaces::tasks_alias)),
        Route::new(Token, handler!(executions::of_all_tasks)),
        Route::new(Token, handler!(executions::search)),
        Route::new(Token, handler!(executions::of_task)),
        Route::new(Token, handler!(executions::one)),
        Route::new(Token, handler!(executions::start)).audited("ask for run"),
        Route::new(Token, handler!(executions::stop)),
        Route::new(Token, handler!(plans::of_all_plans)),
        Route::new(Token, handler!(plans::of_plan)),
        Route::new(Token, handler!(plans::start)),
        Route::new(Token, handler!(plans::one)),
        Route::new(Token, handler!(plans::steps)),
        Route::new(Token, handler!(plans::step)),
        Route::new(Token, handler!(plans::error_handler)),
        Route::new(Token, handler!(tenant_audit_logs::vendor_list)).audited_once("read tenant audit logs"),
        Route::new(Token, handler!(history::search)),
        Route::new(Token, handler!(history::download)).audited_reading("download history"),
        Route::new(Token, handler!(components::of_run)).audited_reading("read component metrics"),
        Route::new(Token, handler!(components::search)).audited_reading("search component metrics"),
        Route::new(Token, handler!(workspaces::environments)),
        Route::new(Token, handler!(workspaces::workspaces)),
        Route::new(Token, handler!(workspaces::tasks)),
        Route::new(Token, handler!(workspaces::search)),
        Route::new(Token, handler!(workspaces::task)),
        Route::new(Token, handler!(plans::definitions)),
        Route::new(Token, handler!(plans::definition)),
        Route::new(ClientSecret, handler!(oauth::token)),
        Route::new(Token, handler!(accounts::list)),
        Route::new(Token, handler!(accounts::create)).audited("create service account"),
        Route::new(Token, handler!(accounts::count)),
        Route::new(Token, handler!(accounts::permissions)),
        Route::new(Token, handler!(accounts::update)).audited("change service account"),
        Route::new(Token, handler!(accounts::one)),
        Route::new(Token, handler!(accounts::remove)).audited("delete service account"),
        Route::new(Token, handler!(permissions::list_users)),
        Route::new(Token, handler!(permissions::add_users)).audited("grant rights"),
        Route::new(Token, handler!(permissions::set_users)).audited("grant rights"),
        Route::new(Token, handler!(permissions::remove_users)).audited("revoke rights"),
        Route::new(Token, handler!(permissions::list_accounts)),
        Route::new(Token, handler!(permissions::add_accounts)).audited("grant rights"),
        Route::new(Token, handler!(permissions::set_accounts)).audited("grant rights"),
        Route::new(Token, handler!(permissions::remove_accounts)).audited("revoke rights"),
        Route::new(Token, handler!(permissions::of_user)),
        Route::new(Token, handler!(permissions::grant_user)).audited("grant rights"),
        Route::new(Token, handler!(permissions::replace_user)).audited("grant rights"),
        Route::new(Token, handler!(permissions::revoke_user)).audited("revoke rights"),
        Route::new(Token, handler!(permissions::of_account)),
        Route::new(Token, handler!(permissions::grant_account)).audited("grant rights"),
        Route::new(Token, handler!(permissions::replace_account)).audited("grant rights"),
        Route::new(Token, handler!(permissions::revoke_account)).audited("revoke rights"),
    ]
}

/// Extensions of Runlog.
fn extension_routes() -> Vec<Route> {
    vec![
        Route::new(SignedLink, handler!(downloads::download)).audited_reading("download page"),
        Route::new(Token, handler!(otlp::export)).audited_by_part(),
        Route::new(Token, handler!(otlp::export_grpc)).audited_by_part(),
        Route::new(Token, handler!(events::push)).audited_by_part(),
        Route::new(Token, handler!(runs::start)).audited("start run"),
        Route::new(Token, handler!(runs::one)),
        Route::new(Token, handler!(records::push)),
        Route::new(Token, handler!(runs::finish)).audited("finish run"),
        Route::new(Token, handler!(components::put)).audited("store component metrics"),
        Route::new(Token, handler!(reports::patterns)).audited_reading("read report"),
        Route::new(Token, handler!(reports::of_run)).audited_reading("read report"),
        Route::new(Token, handler!(reports::diff)).audited_reading("read report"),
        Route::new(Token, handler!(reports::of_task)).audited_reading("read report"),
        Route::new(Token, handler!(reports::of_workspace)).audited_reading("read report"),
        Route::new(Token, handler!(problems::list)).audited_once("list problems"),
        Route::new(Token, handler!(problems::one)).audited_once("look at problem"),
        Route::new(Token, handler!(problems::set_state)).audited("change problem"),
        Route::new(Public, handler!(sign_in::ways)),
        Route::new(SignIn, handler!(sign_in::start)),
        Route::new(SignIn, handler!(sign_in::callback)),
        Route::new(SignIn, handler!(sign_in::device)),
        Route::new(SignIn, handler!(sign_in::device_token)),
        Route::new(SignIn, handler!(sign_in::logout)),
        Route::new(TokenInBody, handler!(session::open)),
        Route::new(Token, handler!(session::one)),
        Route::new(Token, handler!(session::close)),
        Route::new(Token, handler!(overview::overview)),
        Route::new(Token, handler!(overview::tasks)),
        Route::new(Token, handler!(overview::workspaces)),
        Route::new(Token, handler!(overview::runs)),
        Route::new(Token, handler!(overview::runs_of_task)),
        Route::new(Token, handler!(overview::durations_of_task)),
        Route::new(Token, handler!(browse::summary)),
        Route::new(Token, handler!(browse::records)).audited_once("look at log"),
        Route::new(Token, handler!(browse::histogram)),
        Route::new(Token, handler!(browse::whole)).audited_reading("download log"),
        Route::new(Token, handler!(plan_pages::list)),
        Route::new(Token, handler!(plan_pages::one)),
        Route::new(Token, handler!(tenant_audit_logs::search)).audited_once("read tenant audit logs"),
        Route::new(Token, handler!(queries::list)),
        Route::new(Token, handler!(queries::save)),
        Route::new(Token, handler!(queries::delete)),
        Route::new(Token, handler!(search::find)).audited_once("search logs"),
        Route::new(Token, handler!(search::facets)).audited_once("search logs"),
        Route::new(Token, handler!(sql::ask)).audited_reading("run SQL query"),
    ]
}

/// The read API of Grafana Loki.
fn loki_routes() -> Vec<Route> {
    vec![
        Route::new(Token, handler!(loki::query_range_get)).audited_once("search logs"),
        Route::new(Token, handler!(loki::query_range_post)).audited_once("search logs"),
        Route::new(Token, handler!(loki::query_get)).audited_once("search logs"),
        Route::new(Token, handler!(loki::query_post)).audited_once("search logs"),
        Route::new(Token, handler!(loki::labels_get)),
        Route::new(Token, handler!(loki::labels_post)),
        Route::new(Token, handler!(loki::label_get)),
        Route::new(Token, handler!(loki::label_post)),
        Route::new(Token, handler!(loki::series_get)),
        Route::new(Token, handler!(loki::series_post)),
        Route::new(Token, handler!(loki::stats_get)),
        Route::new(Token, handler!(loki::stats_post)),
        Route::new(Token, handler!(loki::volume_get)),
        Route::new(Token, handler!(loki::volume_post)),
        Route::new(Token, handler!(loki::volume_range_get)),
        Route::new(Token, handler!(loki::volume_range_post)),
        Route::new(Token, handler!(loki::detected_labels_get)),
        Route::new(Token, handler!(loki::detected_labels_post)),
        Route::new(Token, handler!(loki::detected_fields_get)).audited_once("search logs"),
        Route::new(Token, handler!(loki::detected_fields_post)).audited_once("search logs"),
        Route::new(Token, handler!(loki::patterns_get)).audited_once("search logs"),
        Route::new(Token, handler!(loki::patterns_post)).audited_once("search logs"),
        Route::new(Token, handler!(loki::format_query_get)),
        Route::new(Token, handler!(loki::format_query_post)),
        Route::new(Token, handler!(loki::label_values)),
        Route::new(Token, handler!(loki::detected_field_values)).audited_once("search logs"),
        Route::new(Public, handler!(loki::ready)),
        Route::new(Token, handler!(loki::build_info)),
        Route::new(Token, handler!(loki::drilldown_limits)),
        Route::new(Token, handler!(loki::rules::rules)),
        Route::new(Token, handler!(loki::rules::rules_of_grafana)),
        Route::new(Token, handler!(loki::rules::group_of_rules)),
        Route::new(Token, handler!(loki::rules::states_of_rules)),
        Route::new(Token, handler!(loki::rules::alerts)),
        Route::new(Token, handler!(loki::tail::tail)).audited_once("search logs"),
    ]
}

/// The catalog for lakehouses.
fn iceberg_routes() -> Vec<Route> {
    vec![
        Route::new(Token, handler!(iceberg::config)),
        Route::new(ClientSecret, handler!(iceberg::token)),
        Route::new(Token, handler!(iceberg::namespaces)),
        Route::new(Token, handler!(iceberg::namespace)),
        Route::new(Token, handler!(iceberg::tables)),
        Route::new(Token, handler!(iceberg::table)).audited_reading("read table"),
        Route::new(Token, handler!(iceberg::report)),
        // Loading the table is audited; its files are read in many parts.
        Route::new(Token, handler!(iceberg::sign::sign)),
    ]
}

/// Administration, and the service itself.
fn service_routes() -> Vec<Route> {
    vec![
        Route::new(Administrator, handler!(admin::environments)),
        Route::new(Administrator, handler!(admin::create_environment)).audited("create environment"),
        Route::new(Administrator, handler!(admin::update_environment)).audited("change environment"),
        Route::new(Administrator, handler!(admin::delete_environment)).audited(DELETE_ENVIRONMENT),
        Route::new(Administrator, handler!(admin::workspaces)),
        Route::new(Administrator, handler!(admin::create_workspace)).audited("create workspace"),
        Route::new(Administrator, handler!(admin::update_workspace)).audited("change workspace"),
        Route::new(Administrator, handler!(admin::delete_workspace)).audited("delete workspace"),
        Route::new(Administrator, handler!(admin::tasks)),
        Route::new(Administrator, handler!(admin::create_task)).audited("create task"),
        Route::new(Administrator, handler!(admin::update_task)).audited("change task"),
        Route::new(Administrator, handler!(admin::delete_task)).audited("delete task"),
        Route::new(Administrator, handler!(admin::users)),
        Route::new(Administrator, handler!(admin::create_user)).audited("create user"),
        Route::new(Administrator, handler!(admin::update_user)).audited("change user"),
        Route::new(Administrator, handler!(admin::delete_user)).audited(DELETE_USER),
        Route::new(Token, handler!(admin::tokens)),
        Route::new(Token, handler!(admin::create_token)).audited("create token"),
        Route::new(Token, handler!(admin::revoke_token)).audited("revoke token"),
        Route::new(Administrator, handler!(signing_keys::list)),
        Route::new(Administrator, handler!(signing_keys::rotate)).audited("make key"),
        Route::new(Administrator, handler!(audit::list)),
        Route::new(Administrator, handler!(retention::list)),
        Route::new(Administrator, handler!(retention::preview)),
        Route::new(Administrator, handler!(retention::set)).audited("change retention"),
        Route::new(Administrator, handler!(retention::holds)),
        Route::new(Administrator, handler!(retention::hold)).audited("set legal hold"),
        Route::new(Administrator, handler!(retention::release)).audited("lift legal hold"),
        Route::new(Administrator, handler!(alerts::rules)),
        Route::new(Administrator, handler!(alerts::history)),
        Route::new(Administrator, handler!(alerts::preview)),
        Route::new(Administrator, handler!(alerts::mute)).audited("mute alerts"),
        Route::new(Administrator, handler!(alerts::unmute)).audited("unmute alerts"),
        Route::new(Administrator, handler!(collection::show)),
        Route::new(Administrator, handler!(collection::landed)),
        Route::new(Administrator, handler!(collection::retry)).audited("retry collection"),
        Route::new(Administrator, handler!(sinks::list)),
        Route::new(Administrator, handler!(sinks::recent)),
        Route::new(Administrator, handler!(sinks::retry)).audited("retry deliveries"),
        Route::new(Administrator, handler!(sinks::replay)).audited("replay deliveries"),
        // Its tools send requests to the routes above, which are audited as usual.
        Route::new(Token, handler!(mcp::answer)),
        Route::new(Token, handler!(metrics::show)),
        Route::new(Public, handler!(health::alive)),
        Route::new(Public, handler!(health::ready)),
        Route::new(Public, handler!(health::about)),
        Route::new(Public, handler!(docs::openapi)),
        Route::new(Public, handler!(docs::index)),
        Route::new(Public, handler!(docs::file)),
    ]
}
