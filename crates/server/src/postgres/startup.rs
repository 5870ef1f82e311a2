//! The beginning of a connection: TLS, the account, its password.

use std::net::IpAddr;
use std::sync::Arc;

use runlog_store::accounts::Caller;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::rate_limit::Credential;
use crate::auth::state::Auth;
use crate::auth::token;
use crate::http::error::{ApiError, ApiResult};
use crate::limits;
use crate::postgres::connection::{Connection, Stream};
use crate::postgres::failure::{Failure, Report, SessionResult, violation};
use crate::postgres::messages::Fields;
use crate::postgres::replies;

/// The name of the database.
pub(super) const DATABASE: &str = "runlog";

const CANCEL: i32 = 80_877_102;
const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

/// The purpose of a connection.
pub(super) enum Purpose {
    /// To cancel a statement of another one.
    Cancel { process_id: i32, secret: i32 },
    /// A session, with these parameters.
    Session(Connection, Parameters),
}

/// The parameters of a session.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) user: String,
    pub(super) database: Option<String>,
    /// Settings, by name in lower case.
    pub(super) settings: Vec<(String, String)>,
    /// Options of the protocol, of which none is known.
    unknown: Vec<String>,
    minor_version: u16,
}

/// Reads what a connection is for, and begins with TLS if the client asks for it and there is a certificate.
pub(super) async fn purpose(
    mut connection: Connection,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> SessionResult<Purpose> {
    let mut tls = tls;
    // One request for TLS and one for GSSAPI, then the startup packet.
    for _ in 0..3 {
        let packet = connection.startup_packet().await?;
        let mut fields = Fields::new(packet);
        match fields.i32()? {
            TLS => match tls.take().filter(|_| !connection.is_encrypted()) {
                None => {
                    connection.output.extend_from_slice(b"N");
                    connection.flush().await?;
                }
                Some(acceptor) => {
                    connection.output.extend_from_slice(b"S");
                    connection.flush().await?;
                    let Stream::Plain(stream) = connection.into_unread_stream()? else {
                        return Err(violation("TLS inside of TLS"));
                    };
                    let stream = acceptor.accept(stream).await?;
                    connection = Connection::new(Stream::Tls(Box::new(stream)));
                }
            },
            GSS => {
                connection.output.extend_from_slice(b"N");
                connection.flush().await?;
            }
            CANCEL => return Ok(Purpose::Cancel { process_id: fields.i32()?, secret: fields.i32()? }),
            version => {
                let begun = parameters(version, fields);
                return match begun {
                    Ok(parameters) => Ok(Purpose::Session(connection, parameters)),
                    Err(failure) => Err(reported(connection, failure).await),
                };
            }
        }
    }
    Err(violation("the startup packet is missing"))
}

/// Tells a client why its session does not begin.
pub(super) async fn reported(mut connection: Connection, failure: Failure) -> Failure {
    if let Failure::Statement(report) | Failure::Session(report) = &failure {
        replies::error(&mut connection.output, "FATAL", report);
        connection.close().await;
    }
    failure
}

fn parameters(version: i32, mut fields: Fields) -> SessionResult<Parameters> {
    if version >> 16 != 3 {
        return Err(violation("only version 3 of the protocol is supported"));
    }
    let minor_version = u16::try_from(version & 0xffff).unwrap_or(0);
    let mut parameters = Parameters { minor_version, ..Parameters::default() };
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            break;
        }
        let value = fields.text()?;
        match name.to_lowercase().as_str() {
            "user" => parameters.user = value,
            "database" => parameters.database = Some(value).filter(|name| !name.is_empty()),
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(Failure::Session(Report::new(
                    "0A000",
                    "the archive cannot be replicated over this protocol",
                )));
            }
            "replication" => {}
            "options" => parameters.settings.extend(options(&value)),
            option if option.starts_with("_pq_.") => parameters.unknown.push(name),
            setting => parameters.settings.push((setting.to_owned(), value)),
        }
    }
    if !fields.is_empty() {
        return Err(violation("the startup packet is longer than its parameters"));
    }
    Ok(parameters)
}

/// `-c name=value` and `--name=value`.
fn options(text: &str) -> Vec<(String, String)> {
    let words = text.replace("-c ", "-c");
    let setting = |word: &str| {
        let assignment = word.strip_prefix("-c").or_else(|| word.strip_prefix("--"))?;
        let (name, value) = assignment.split_once('=')?;
        Some((name.replace('-', "_").to_lowercase(), value.to_owned()))
    };
    words.split_whitespace().filter_map(setting).collect()
}

/// The caller and the credentials, which are checked again for each statement.
pub(super) struct SignedIn {
    pub(super) caller: Caller,
    credentials: Arc<Credentials>,
}

struct Credentials {
    user: String,
    password: SecretString,
    address: IpAddr,
}

/// Asks for a password and checks it.
pub(super) async fn sign_in(
    connection: &mut Connection,
    parameters: &Parameters,
    auth: &Auth,
    address: IpAddr,
    may_send_plain: bool,
) -> SessionResult<SignedIn> {
    if parameters.minor_version > 0 || !parameters.unknown.is_empty() {
        replies::negotiated_version(&mut connection.output, &parameters.unknown);
    }
    if !connection.is_encrypted() && !may_send_plain {
        let hint = if auth.settings().has_tls {
            "connect with sslmode=require, or better verify-full"
        } else {
            "give the service a certificate (--tls-certificate, --tls-key) and connect with sslmode=require; or, in a network \
             that you trust, start it with --sql-plaintext"
        };
        let report =
            Report::new("28000", "a password would be sent here without encryption; this service does not accept it");
        return Err(Failure::Session(report.with_hint(hint)));
    }
    if let Some(database) = &parameters.database
        && database != DATABASE
    {
        let shown: String = database.chars().take(64).collect();
        let report = Report::new("3D000", format!("there is no database {}", shown.escape_debug()));
        return Err(Failure::Session(report.with_hint(format!("the name of the archive is {DATABASE}"))));
    }
    // A clear-text password.
    replies::authentication(&mut connection.output, 3);
    connection.flush().await?;
    let (kind, body) = connection.message(limits::POSTGRES_STARTUP_BYTES_MAX).await?;
    if kind != b'p' {
        return Err(violation("a password was expected"));
    }
    let password = Fields::new(body).text()?;
    let credentials = Arc::new(Credentials { user: parameters.user.clone(), password: password.into(), address });
    let caller = caller(auth, &credentials).await.map_err(|error| Failure::Session(Report::of_api(error)))?;
    Ok(SignedIn { caller, credentials })
}

impl SignedIn {
    /// Checks the password again: it may have been revoked, or have expired.
    pub(super) async fn check(&mut self, auth: &Auth) -> SessionResult<()> {
        let checked = caller(auth, &self.credentials).await;
        self.caller = checked.map_err(|error| match error.status.is_server_error() {
            true => Failure::Statement(Report::of_api(error)),
            false => Failure::Session(Report::of_api(error)),
        })?;
        Ok(())
    }
}

/// Returns the caller with this password: a token, or the secret of the service account that is the user. Failures
/// count as over HTTP.
async fn caller(auth: &Auth, credentials: &Credentials) -> ApiResult<Caller> {
    let (limits, from) = (auth.rate_limits(), Some(credentials.address));
    let password = credentials.password.expose_secret();
    let checked = match token::is_account_secret(password) {
        false => token::caller_of(auth, password, from).await,
        true => account(auth, &credentials.user, password, from).await,
    };
    match checked {
        Err(error) if error.status == axum::http::StatusCode::UNAUTHORIZED => {
            limits.check_anonymous(from)?;
            Err(error)
        }
        checked => checked,
    }
}

async fn account(auth: &Auth, user: &str, secret: &str, from: Option<IpAddr>) -> ApiResult<Caller> {
    let credential = Credential::Secret(user, from);
    auth.rate_limits().check_credential(from, credential)?;
    auth.rate_limits().check_account(user, from)?;
    match auth.store().accounts().authenticate_service_account(user, secret).await? {
        Some(caller) => {
            auth.rate_limits().note_verified(credential);
            Ok(caller)
        }
        None => {
            auth.rate_limits().note_failure(user);
            Err(ApiError::unauthorized("invalid account ID or secret").with_detail(
                "the password is a token, or the secret of the service account whose ID is the name of the user",
            ))
        }
    }
}

/// The name of the application, for the log.
pub(super) fn shown_name(parameters: &Parameters) -> String {
    let name = parameters.settings.iter().find(|setting| setting.0 == "application_name");
    name.map(|setting| setting.1.chars().take(64).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(version: i32, body: &'static [u8]) -> SessionResult<Parameters> {
        parameters(version, Fields::new(Bytes::from_static(body)))
    }

    #[test]
    fn the_parameters_of_a_session_are_read() {
        let read = read(
            0x0003_0002,
            b"user\0ann\0database\0runlog\0options\0-c statement_timeout=5s --jit=off\0_pq_.x\0on\0\0",
        );
        let parameters = read.unwrap();
        assert_eq!((parameters.user.as_str(), parameters.database.as_deref()), ("ann", Some("runlog")));
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parameters.settings, [setting("statement_timeout", "5s"), setting("jit", "off")]);
        assert_eq!((parameters.unknown, parameters.minor_version), (vec!["_pq_.x".to_owned()], 2));
    }

    #[test]
    fn other_protocols_and_packets_that_are_cut_off_are_refused() {
        assert!(read(0x0002_0000, b"user\0ann\0\0").is_err());
        assert!(read(0x0003_0000, b"user\0ann\0").is_err());
        assert!(read(0x0003_0000, b"user\0ann").is_err());
        assert!(read(0x0003_0000, b"user\0ann\0\0more").is_err());
        assert!(read(0x0003_0000, b"user\0ann\0replication\0database\0\0").is_err());
    }
}
