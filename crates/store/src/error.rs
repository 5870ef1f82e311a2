//! Errors of the archive, by what the caller does next.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use runlog_model::error_chain;

/// An error of the archive. `Display` describes what happened and to which item; the cause is in `source`.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// The key of the object that is damaged or missing.
    object: Option<Arc<str>>,
    /// The runs whose logs could not be read because of it.
    run_ids: Arc<[String]>,
}

/// The kind of an error, which determines what the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong: correct it and call again.
    Invalid,
    /// There is no such run, task, token or page.
    NotFound,
    /// The token has expired: ask for a new one.
    Expired,
    /// It was changed by another caller, or the name is in use: read again, then retry.
    Conflict,
    /// The catalog or the objects are unavailable, full or busy: retry later.
    Unavailable,
    /// More records arrive than can be written: retry in a second.
    Busy,
    /// Stored bytes cannot be decoded: stop and investigate.
    Corrupt,
}

/// The result of every call of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, object: None, run_ids: Arc::default() }
    }

    /// Creates an error with its cause.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { source: Some(Arc::from(source.into())), ..Self::new(kind, message) }
    }

    /// Returns the message in one line, followed by the messages of those causes that it does not already contain.
    pub fn with_causes(&self) -> String {
        error_chain(self)
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the key of the damaged or missing object that caused the error, if there is one.
    pub fn damaged_object(&self) -> Option<&str> {
        let below = || self.source.as_deref()?.downcast_ref::<Self>()?.damaged_object();
        self.object.as_deref().or_else(below)
    }

    /// Returns the IDs of the runs whose logs could not be read because of that object. Empty if the caller specified
    /// the run.
    pub fn damaged_runs(&self) -> &[String] {
        &self.run_ids
    }

    /// Returns true if the connection to the catalog was lost during a change, which may or may not have been made.
    pub fn is_outcome_unknown(&self) -> bool {
        let cause = self.source.as_deref();
        cause.and_then(|cause| cause.downcast_ref::<sqlx::Error>()).is_some_and(is_unknown_outcome)
            || cause.and_then(|cause| cause.downcast_ref::<Self>()).is_some_and(Self::is_outcome_unknown)
    }

    /// Adds the key of the object to the message.
    pub(crate) fn in_object(mut self, key: &str) -> Self {
        self.message = format!("object {key}: {}", self.message);
        self.of_object(key)
    }

    /// Sets the object that caused the error.
    pub(crate) fn of_object(mut self, key: &str) -> Self {
        self.object = Some(key.into());
        self
    }

    /// Sets the runs whose logs cannot be read because of the object.
    pub(crate) fn of_runs(mut self, run_ids: Vec<String>) -> Self {
        self.run_ids = run_ids.into();
        self
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The connection was lost after a change was sent; the change may have been made. This type wraps the error so that it
/// is not classified as one that can be retried.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost before the answer")]
pub(crate) struct UnknownOutcome(#[source] pub(crate) sqlx::Error);

fn is_unknown_outcome(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::AnyDriverError(cause) if cause.is::<UnknownOutcome>())
}

/// A missing row is reported as `Corrupt`: lookups of rows that may not exist use `fetch_optional`.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // PostgreSQL rejects text with a NUL character, so the request that contains one is wrong.
        if matches!(&error, sqlx::Error::Database(database) if database.code().as_deref() == Some("22021")) {
            return Self::caused(ErrorKind::Invalid, "a text holds a NUL character", error);
        }
        if is_pooler_error(&error) {
            return Self::caused(ErrorKind::Unavailable, POOLER, error);
        }
        if matches!(&error, sqlx::Error::Database(database) if database.code().as_deref() == Some("55P03")) {
            return Self::caused(
                ErrorKind::Unavailable,
                "another transaction holds the lock on rows that this one needs: try again",
                error,
            );
        }
        if is_unknown_outcome(&error) {
            let message = "the catalog did not answer, and the change may or may not have been made: check before you \
                repeat it";
            return Self::caused(ErrorKind::Unavailable, message, error);
        }
        // The row that is referred to existed when it was looked up, and was deleted since.
        if matches!(&error, sqlx::Error::Database(database) if database.is_foreign_key_violation()) {
            let message = "something that this refers to, or that refers to this, was changed at the same time: look \
                again, then retry";
            return Self::caused(ErrorKind::Conflict, message, error);
        }
        let kind = match &error {
            sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
            sqlx::Error::Database(database) if database.is_unique_violation() => ErrorKind::Conflict,
            sqlx::Error::Database(database) if database.message().contains("malformed") => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        let message = match kind {
            ErrorKind::Corrupt => "a row of the catalog is missing or does not decode",
            ErrorKind::Conflict => "the catalog holds this already",
            _ => "the catalog did not answer",
        };
        Self::caused(kind, message, error)
    }
}

/// The message for a connection pooler that does not preserve sessions.
pub(crate) const POOLER: &str = "a connection pooler in front of PostgreSQL does not preserve sessions: set \
    it to session mode (PgBouncer: pool_mode = session, ignore_startup_parameters = extra_float_digits), or name \
    PostgreSQL itself";

/// Returns true for the errors of PostgreSQL, or of the pooler itself, when the statements of one session are
/// distributed over several server sessions.
pub(crate) fn is_pooler_error(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else { return false };
    let (code, said) = (refusal.code().unwrap_or_default(), refusal.message());
    // 42P05: another client has created a prepared statement of this name. 26000: the prepared statement does not
    // exist. The messages: the pooler does not pass on settings.
    matches!(&*code, "42P05" | "26000") || said.contains("unsupported startup parameter") || said.contains("pgbouncer")
}

/// The message for a bucket that does not exist.
pub(crate) const NO_BUCKET: &str =
    "the bucket does not exist: create it, or correct its name in the URL of the objects (--objects, RUNLOG_OBJECTS)";

/// Returns true for the errors of S3, Azure and Google Cloud Storage for a bucket that does not exist.
pub(crate) fn is_missing_bucket(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"].iter().any(|word| said.contains(word))
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        // The cause is omitted because the message of the service is a page of XML.
        if is_missing_bucket(&error) {
            return Self::new(ErrorKind::Unavailable, NO_BUCKET);
        }
        match &error {
            // A catalog row refers to the object, so its absence is a fault of the archive and not of the caller.
            object_store::Error::NotFound { path, .. } => {
                // For an archive in a folder, this is a path in the file system and not the key of the object.
                let message = format!("the object {path}, to which the catalog refers, is missing");
                Self::caused(ErrorKind::Corrupt, message, error)
            }
            _ => Self::caused(ErrorKind::Unavailable, "the object store did not answer", error),
        }
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        let error = match error {
            parquet::errors::ParquetError::External(cause) => match cause.downcast::<Self>() {
                Ok(error) => return *error,
                Err(cause) => match cause.downcast::<object_store::Error>() {
                    Ok(error) => return (*error).into(),
                    Err(cause) => parquet::errors::ParquetError::External(cause),
                },
            },
            error => error,
        };
        Self::caused(ErrorKind::Corrupt, "a segment does not decode", error)
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::caused(ErrorKind::Corrupt, "a segment does not decode", error)
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        // Work that panicked would panic again, so the error must not be one that callers retry until the archive is
        // available.
        let kind = if error.is_panic() { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        Self::caused(kind, "work on the archive was interrupted", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All errors were once reported as "the catalog did not answer", even a name that was already in use.
    #[test]
    fn errors_of_the_catalog_are_not_reported_as_timeouts() {
        let told = |error: sqlx::Error| {
            let error = Error::from(error);
            (error.kind(), error.to_string())
        };
        let (kind, text) = told(sqlx::Error::RowNotFound);
        assert!(kind == ErrorKind::Corrupt && text.contains("row"), "{text}");
        let (kind, text) = told(sqlx::Error::PoolTimedOut);
        assert!(kind == ErrorKind::Unavailable && text.contains("did not answer"), "{text}");
    }

    #[test]
    fn an_object_that_is_gone_is_named() {
        let source = "no such file".into();
        let error = Error::from(object_store::Error::NotFound { path: "segments/a".to_owned(), source });
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("segments/a"), "{error}");
    }

    /// An error of PostgreSQL.
    #[derive(Debug)]
    struct Refusal(&'static str, &'static str);

    impl fmt::Display for Refusal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl StdError for Refusal {}

    impl sqlx::error::DatabaseError for Refusal {
        fn message(&self) -> &str {
            self.1
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    /// In transaction mode, the statements of one session are distributed over several server sessions. The messages
    /// are those of PgBouncer 1.18 and PostgreSQL 15.
    #[test]
    fn a_pooler_that_breaks_sessions_is_named() {
        for refusal in [
            Refusal("42P05", "prepared statement \"sqlx_s_2\" already exists"),
            Refusal("26000", "prepared statement \"sqlx_s_1\" does not exist"),
            Refusal("08P01", "unsupported startup parameter: extra_float_digits"),
        ] {
            let error = Error::from(sqlx::Error::Database(Box::new(refusal)));
            assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("session mode"), "{error}");
        }
        let error = Error::from(sqlx::Error::Database(Box::new(Refusal("42P01", "relation \"runs\" does not exist"))));
        assert!(!error.to_string().contains("pooler"), "{error}");
    }

    #[test]
    fn a_lock_that_was_waited_for_in_vain_is_named() {
        let refusal = Refusal("55P03", "canceling statement due to lock timeout");
        let error = Error::from(sqlx::Error::Database(Box::new(refusal)));
        assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("lock"), "{error}");
    }

    /// The message of S3 was once repeated three times.
    #[test]
    fn a_missing_bucket_is_reported_in_one_sentence() {
        let source = "404 Not Found: <?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code></Error>".into();
        let error = Error::from(object_store::Error::NotFound { path: "probes/a".to_owned(), source });
        assert_eq!((error.kind(), error.with_causes().as_str()), (ErrorKind::Unavailable, NO_BUCKET));
    }

    #[test]
    fn causes_are_reported_once() {
        let source = "Range is not supported".into();
        let error = Error::from(object_store::Error::Generic { store: "S3", source });
        assert_eq!(error.with_causes(), "the object store did not answer: Generic S3 error: Range is not supported");
    }

    #[tokio::test]
    async fn a_panic_is_not_an_outage() {
        let panicked = tokio::spawn(async { std::panic::resume_unwind(Box::new("odd")) }).await.unwrap_err();
        assert_eq!(Error::from(panicked).kind(), ErrorKind::Corrupt);
    }
}
