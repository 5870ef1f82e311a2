//! The object store: its backends, object keys, intents, checksums and metrics.

pub(crate) mod backend;
pub(crate) mod bucket;
pub(crate) mod checksums;
pub(crate) mod connector;
pub(crate) mod damage;
pub(crate) mod intents;
pub(crate) mod keys;
pub(crate) mod metering;
pub(crate) mod probe;
pub(crate) mod read_error;
pub(crate) mod read_retry;
pub(crate) mod s3_signing;
