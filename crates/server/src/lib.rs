//! Speaks HTTP for the archive: the run-log API of Talend Cloud, and Runlog's own.
//!
//! ```text
//! request ▸ http/request.rs (id, log line, panic, error body) ▸ auth (who) ▸ routes/<noun>.rs (what) ▸ Store
//! ```
//!
//! Every route is in one list, `routes.rs`, with the access it requires, every limit in `limits.rs`, and every failure
//! is mapped to a status in one place, `http/error.rs`. Not in this crate: the archive itself, which is in the store.
//!
//! | module | contents | uses |
//! |---|---|---|
//! | `serve/` | the listener, the router, the description of the API | all below |
//! | `routes/` | one file a noun: its handlers | all below |
//! | `postgres/` | the archive for clients of PostgreSQL, on a port of its own | `app`, `auth`, `http`, `metrics`, `limits` |
//! | `app.rs` | what every handler is given | all below |
//! | `settings.rs` | what an operator may set | `ingest`, `auth`, `http`, `limits` |
//! | `ingest/` | bodies of pushes: read, decoded, sorted by run, stored | `auth`, `metrics`, `http`, `limits` |
//! | `auth/` | authentication and access control: tokens, sessions, links, rights, rate limits, the audit log | `http`,
//! `limits` |
//! | `http/` | connections, requests, parameters, errors, the web UI | `metrics`, `limits` |
//! | `metrics/` | what the service counts about itself | – |
//! | `limits.rs` | every limit | – |

// Numbers that do not fit become the nearest that do (`saturating_as`): none wraps around.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

mod app;
mod auth;
mod http;
mod ingest;
mod limits;
mod metrics;
mod postgres;
mod routes;
mod serve;
mod settings;
mod sync;

pub use app::App;
pub use auth::oidc::settings::{AccessRule, OidcSettings};
pub use auth::oidc::test_identity_provider;
pub use http::proxies::{ClientAddressSource, Network, NetworkError, Proxies};
pub use http::tls::{TlsError, TlsFiles};
pub use ingest::otlp::OtlpAttributes;
pub use ingest::run_hook::RunHook;
pub use ingest::syslog::check::test_syslog;
pub use ingest::syslog::listener::SyslogError;
pub use ingest::syslog::settings::{SyslogSettings, SyslogToken};
pub use limits::Bounds;
pub use routes::mcp::{InProcess, InProcessApi};
pub use routes::{Access, Route, routes};
pub use serve::openapi::{document, document_text};
pub use serve::router::{local_assistant, router};
pub use serve::server::{ServeError, serve};
pub use settings::{AlertPreview, PostgresSettings, ServerSettings};
