//! HTTP: connections, requests, parameters, errors, the web UI.

pub(crate) mod concurrency_limit;
pub(crate) mod connections;
pub(crate) mod detached;
pub(crate) mod error;
pub(crate) mod fiql;
pub(crate) mod grpc;
pub(crate) mod json;
pub(crate) mod parameter_groups;
pub(crate) mod parameter_types;
pub(crate) mod parameters;
pub(crate) mod proxies;
pub(crate) mod readiness;
pub(crate) mod request;
pub(crate) mod tls;
pub(crate) mod unread;
pub(crate) mod web;
