//! Authentication and authorisation: tokens, sessions, links, rights, rate limits, the audit log.

pub(crate) mod audit;
pub(crate) mod links;
pub(crate) mod oidc;
pub(crate) mod rate_limit;
pub(crate) mod recent_reads;
pub(crate) mod request_rate;
pub(crate) mod rights;
pub(crate) mod session;
pub(crate) mod signing_keys;
pub(crate) mod state;
pub(crate) mod token;
