//! Speaks HTTP for the archive: the run-log API of Talend Cloud, and Runlog's own.
//!
//! ```text
//! request ▸ request.rs (id, log line, panic, error body) ▸ auth.rs (who) ▸ routes/<noun>.rs (what) ▸ Store
//! ```
//!
//! Every route stands in one list, `routes.rs`, with what its caller needs, every limit in `limits.rs`, and every
//! failure becomes a status in one place, `error.rs`. What is absent here: the archive itself, which is the store's.

// Numbers that do not fit become the nearest that do (`saturating_as`): none wraps around.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

mod access;
mod app;
mod audit;
mod auth;
mod body_memory;
mod body_weight;
mod connections;
mod engine;
mod error;
mod exposition;
mod fiql;
mod history;
mod intake;
mod kept;
mod keys;
mod limits;
mod links;
mod metrics;
mod openapi;
mod otlp;
mod otlp_json;
mod otlp_parts;
mod pace;
mod process;
mod proxies;
mod query;
mod readiness;
mod request;
mod routes;
mod run_hook;
mod server;
mod sessions;
mod settings;
mod severity;
mod syslog;
mod tls;
mod turns;
mod web;
mod zstd_frame;

pub use app::App;
pub use openapi::{document, document_text};
pub use proxies::{Network, NetworkError, Proxies, ToldBy};
pub use routes::{Access, Route, router, routes};
pub use run_hook::RunHook;
pub use server::{ServeError, serve};
pub use settings::{Bounds, OtlpAttributes, ServerSettings};
pub use tls::{TlsError, TlsFiles};
