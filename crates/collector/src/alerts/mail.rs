//! Sends alerts to mailboxes over SMTP.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use runlog_model::error_chain;
use runlog_store::limits::ALERT_LEASE_MS;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::error::AlertError;
use super::message::{Message, one_line};

/// Maximum time to connect to a server.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// Maximum time of an attempt as a whole: a server may stop responding at any step.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(60);
// No other node may take over an alert that is still being sent.
const _: () = assert!(ATTEMPT_TIME_MAX.as_millis() < ALERT_LEASE_MS as u128);

/// The statuses of a mailbox that does not exist, or that has moved (RFC 3463). Other refusals, such as one by policy,
/// may have been lifted when the message is sent again.
const NO_MAILBOX: [&str; 2] = ["5.1.1", "5.1.6"];

/// Maximum number of characters of a subject.
const SUBJECT_CHARS_MAX: usize = 150;

/// Mailboxes and their mail server.
#[derive(Debug, Clone)]
pub struct Mail {
    to: Vec<Mailbox>,
    from: Mailbox,
    server: AsyncSmtpTransport<Tokio1Executor>,
    attempt_time_max: Duration,
    /// The name in archives of earlier versions, if it is another one.
    former_name: Option<String>,
}

/// The encryption of the connection to a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// TLS from the start; port 465.
    Tls,
    /// STARTTLS; port 587.
    #[default]
    Starttls,
    /// None; port 25. For a server on the same machine.
    None,
}

/// The credentials for a mail server.
#[derive(Debug, Clone)]
pub struct MailLogin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

impl Mail {
    /// Mailboxes of a server; `authorities` are certificates (PEM) that are trusted in addition to those of the
    /// machine.
    pub fn new(
        to: &[String],
        from: &str,
        server: &str,
        port: Option<u16>,
        security: MailSecurity,
        login: Option<MailLogin>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, AlertError> {
        let unusable = |error: lettre::transport::smtp::Error| {
            AlertError::Unsendable(format!("cannot use the mail server {server}: {error}"))
        };
        let mut tls = TlsParameters::builder(server.to_owned());
        if let Some(pem) = authorities {
            tls = tls.add_root_certificate(Certificate::from_pem(pem).map_err(unusable)?);
        }
        let tls = || tls.build_rustls().map_err(unusable);
        let (tls, usual_port) = match security {
            MailSecurity::Tls => (Tls::Wrapper(tls()?), 465),
            MailSecurity::Starttls => (Tls::Required(tls()?), 587),
            MailSecurity::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server)
            .port(port.unwrap_or(usual_port))
            .tls(tls)
            .timeout(Some(CONNECT_TIME_MAX));
        if let Some(MailLogin { user, password }) = login {
            transport = transport.credentials(Credentials::new(user, password.expose_secret().to_owned()));
        }
        let to = to.iter().map(|it| mailbox(it)).collect::<Result<_, _>>()?;
        Ok(Self {
            to,
            from: mailbox(from)?,
            server: transport.build(),
            attempt_time_max: ATTEMPT_TIME_MAX,
            former_name: None,
        })
    }

    /// Each of the mailboxes for itself: one that does not exist any more keeps nothing from the others.
    pub fn each(&self) -> Vec<Self> {
        let former_name = Some(self.name()).filter(|_| self.to.len() > 1);
        let alone = |to: &Mailbox| Self { to: vec![to.clone()], former_name: former_name.clone(), ..self.clone() };
        self.to.iter().map(alone).collect()
    }

    pub(super) fn former_name(&self) -> Option<String> {
        self.former_name.clone()
    }

    pub(super) fn name(&self) -> String {
        let to: Vec<String> = self.to.iter().map(|it| it.email.to_string()).collect();
        format!("mail {}", to.join(" "))
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), AlertError> {
        let subject: String = message.title().chars().take(SUBJECT_CHARS_MAX).collect();
        let lines = lines_of(message);
        let id = &message.id;
        let domain = self.from.email.domain().to_owned();
        let mut message = lettre::Message::builder()
            .from(self.from.clone())
            .subject(format!("[runlog] {subject}"))
            // The ID is equal for each attempt, so that the recipient can detect duplicates.
            .message_id(Some(format!("<{id}@{domain}>")));
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message
            .header(ContentType::TEXT_PLAIN)
            .body(lines.join("\r\n") + "\r\n")
            .map_err(|error| AlertError::Unsendable(format!("cannot create the message: {error}")))?;
        self.in_time(self.server.send(message)).await.map(drop)
    }

    /// Connects and logs in; sends nothing.
    pub(super) async fn check(&self) -> Result<(), AlertError> {
        match self.in_time(self.server.test_connection()).await? {
            true => Ok(()),
            false => Err(AlertError::Refused("the server does not respond like a mail server".to_owned())),
        }
    }

    /// Runs an attempt, which is aborted if it takes too long.
    async fn in_time<T>(
        &self,
        attempt: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, AlertError> {
        match tokio::time::timeout(self.attempt_time_max, attempt).await {
            Ok(attempt) => attempt.map_err(|error| self.refused(&error)),
            Err(_) => Err(AlertError::Refused(format!(
                "the mail server did not finish within {:?}; check that `security` matches this port",
                self.attempt_time_max
            ))),
        }
    }

    fn refused(&self, error: &lettre::transport::smtp::Error) -> AlertError {
        let problem = format!("the mail server refused the message: {}", error_chain(error));
        let answer = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let is_final = error.is_permanent() && NO_MAILBOX.iter().any(|status| answer.starts_with(status));
        if is_final { AlertError::Rejected(problem) } else { AlertError::Refused(problem) }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, AlertError> {
    text.parse().map_err(|error| AlertError::Unsendable(format!("{text:?} is not a mail address: {error}")))
}

/// The lines of a mail.
fn lines_of(message: &Message) -> Vec<String> {
    let mut lines = Vec::new();
    if message.count() > 1 {
        lines.push(format!("{} alerts:", message.count()));
        lines.extend(message.texts().iter().map(|text| format!("- {text}")));
        lines.extend(message.more());
        lines.push(String::new());
        lines.extend(message.facts().into_iter().map(|(name, value)| format!("{name}: {value}")));
    } else {
        lines.extend([message.field("text").to_owned(), String::new()]);
        lines.extend(lines_of_problem(&message.event()["problem"]));
        let parts = [("task", "taskName"), ("workspace", "workspaceName"), ("run", "runId"), ("rule", "rule")];
        let known = parts.iter().map(|(name, field)| (name, message.field(field))).filter(|(_, text)| !text.is_empty());
        lines.extend(known.map(|(name, text)| format!("{name}: {text}")));
    }
    lines.extend(message.link().map(str::to_owned));
    lines
}

/// Returns the lines that describe a problem; empty if there is no problem.
fn lines_of_problem(problem: &Value) -> Vec<String> {
    let text = |name: &str| problem[name].as_str().filter(|text| !text.is_empty());
    let number = |name: &str| problem[name].as_u64().unwrap_or_default();
    let Some(title) = text("title") else { return Vec::new() };
    let names: Vec<&str> = problem["taskNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let others = number("tasks").saturating_sub(names.len() as u64);
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    let mut lines = vec![format!("problem: {}", one_line(title))];
    let state = text("state").unwrap_or_default();
    lines.push(match text("cameBackAt") {
        Some(at) => format!("state: {state}, came back at {at}"),
        None => format!("state: {state}"),
    });
    lines.push(format!("first seen: {}", text("firstSeen").unwrap_or_default()));
    lines.push(format!("failed runs: {}", number("runs")));
    lines.push(format!("tasks: {}{more}", one_line(&names.join(", "))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::message::Purpose;

    #[tokio::test]
    async fn an_unresponsive_mail_server_times_out() {
        // The system accepts connections to this listener, but nothing ever responds.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Some(silent.local_addr().unwrap().port());
        for security in [MailSecurity::None, MailSecurity::Starttls, MailSecurity::Tls] {
            let to = ["ops@example.com".to_owned()];
            let mut mail = Mail::new(&to, "runlog@example.com", "127.0.0.1", port, security, None, None).unwrap();
            mail.attempt_time_max = Duration::from_millis(50);
            for tried in [mail.send(&Message::test("an-id", Purpose::Alert, "")).await, mail.check().await] {
                let said = tried.unwrap_err().to_string();
                assert!(said.starts_with("the mail server did not finish within 50ms"), "{security:?}: {said}");
            }
        }
    }
}
