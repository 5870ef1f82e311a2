//! The service as a whole: its description, and how it runs on a listener.

pub(crate) mod openapi;
pub(crate) mod router;
pub(crate) mod server;
