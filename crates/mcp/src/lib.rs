//! Tools for assistants, over the Model Context Protocol (MCP).
//!
//! ```text
//! client ▸ transport.rs (standard input and output, or HTTP) ▸ server.rs (protocol) ▸ tools/<verb>.rs ▸ Api
//! ```
//!
//! Each tool reads by requests to the API of a Runlog, on behalf of the caller: [`Api`] sends them. So rights, limits and
//! audit entries are those of the API, and there is no other way to the archive. Tools only read.
//!
//! The content of logs is untrusted. Only `answer.rs` writes it: delimited, each line marked, control characters
//! escaped, and within the requested number of tokens.
//!
//! Authentication and the connection to a service are not part of this crate.

mod answer;
mod api;
mod context;
mod cursor;
mod names;
mod resources;
mod server;
mod tools;
mod transport;

pub use api::{Answer, Api, Question, Refusal, RefusalKind};
pub use server::{Assistant, Connect};
pub use transport::{HttpEndpoint, HttpSettings, serve_stdio};
