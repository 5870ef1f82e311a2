//! The service as a whole: its API description, and its listener.

pub(crate) mod openapi;
pub(crate) mod router;
pub(crate) mod server;
