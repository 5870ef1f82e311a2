//! Which service, and with which credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap_complete::engine::ArgValueCandidates;
use runlog_client::{Client, ClientSettings, Credentials, Pace, PaceSetting, TlsSettings, TokioWait};
use secrecy::SecretString;
use url::Url;

use super::profile::{self, Profile, ProfileName};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::note;
use crate::system::{SystemClock, SystemRandom, environment};

/// The address on which `runlog serve` listens by default.
pub(crate) const LOCAL_SERVICE: &str = "http://127.0.0.1:8480";

/// The arguments of every command that talks to a service.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Service and credentials")]
pub(crate) struct ConnectArgs {
    /// Profile of `runlog login` whose service and token to use; takes precedence over the environment [or set
    /// RUNLOG_PROFILE; default: default, if neither a service nor credentials are given]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(profile::candidates))]
    profile: Option<ProfileName>,
    /// Base URL of the API [default: a Runlog on this machine, http://127.0.0.1:8480]
    #[arg(long, env = "RUNLOG_API_URL", value_name = "URL", value_parser = service_url, conflicts_with = "region")]
    api_url: Option<Url>,
    /// Region of Talend Cloud: eu, us, us-west, ap or au
    #[arg(long, env = "RUNLOG_REGION", value_name = "REGION", value_parser = region)]
    region: Option<String>,
    /// File that contains a personal access token [or set RUNLOG_TOKEN to the token itself]
    #[arg(long, env = "RUNLOG_TOKEN_FILE", value_name = "FILE", conflicts_with = "client_id")]
    token_file: Option<PathBuf>,
    /// Client ID of a service account
    #[arg(long, env = "RUNLOG_CLIENT_ID", value_name = "ID")]
    client_id: Option<String>,
    /// File that contains the client secret [or set RUNLOG_CLIENT_SECRET to the secret itself]
    #[arg(long, env = "RUNLOG_CLIENT_SECRET_FILE", value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Maximum requests per second and per minute, separated by a comma, or 0 for no limit [default: the limits of Talend
    /// Cloud for each group of its API, such as 10 per second and 600 per minute for logs, or those that a Runlog
    /// announces]
    #[arg(long, env = "RUNLOG_PACE", value_name = "PER_SECOND,PER_MINUTE", value_parser = pace)]
    pace: Option<PaceSetting>,
    /// How many times to retry a request that was throttled or failed with a server or connection error; unless this is
    /// 0, retries continue for at least a minute
    #[arg(long, env = "RUNLOG_RETRIES", value_name = "COUNT", default_value_t = 6)]
    retries: u32,
    /// Additional host to accept downloads from; can be repeated
    #[arg(long = "allow-host", env = "RUNLOG_ALLOW_HOSTS", value_name = "HOST", value_delimiter = ',')]
    allow_hosts: Vec<String>,
    /// Allow downloads from private and local addresses
    #[arg(long, env = "RUNLOG_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Trusted certificates, and the client certificate.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TlsArgs {
    /// PEM file with CA certificates to trust in addition to those of the system
    #[arg(long, env = "RUNLOG_AUTHORITIES", value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// PEM file with a client certificate and its private key, for services that require one
    #[arg(long, env = "RUNLOG_CLIENT_CERTIFICATE", value_name = "FILE")]
    client_certificate: Option<PathBuf>,
}

/// The base URL of a service.
pub(crate) fn service_url(text: &str) -> Result<Url, String> {
    // `localhost:8480` is a URL with the scheme `localhost`.
    match text.parse::<Url>() {
        Ok(url) if url.has_host() => Ok(url),
        _ => Err(match format!("http://{text}").parse::<Url>() {
            Ok(_) if !text.contains("//") => {
                format!("a URL begins with http:// or https://; did you mean http://{text}?")
            }
            _ => "this is not a URL such as https://runlog.example.com".to_owned(),
        }),
    }
}

/// A region of Talend Cloud.
pub(crate) fn region(text: &str) -> Result<String, String> {
    runlog_client::region_url(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(crate) fn pace(text: &str) -> Result<PaceSetting, String> {
    let error = || {
        format!(
            "{text:?} is neither 0 nor PER_SECOND,PER_MINUTE with two numbers from 1, such as 8,600 for 8 requests per \
             second and 600 per minute"
        )
    };
    if text == "0" {
        return Ok(PaceSetting::Unlimited);
    }
    let (second, minute) = text.split_once(',').ok_or_else(error)?;
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(error);
    Ok(PaceSetting::Fixed(Pace { per_second: number(second)?, per_minute: number(minute)? }))
}

impl TlsArgs {
    /// The contents of the files.
    pub(crate) fn settings(&self) -> Outcome<TlsSettings> {
        tls_of_files(self.authorities.as_deref(), self.client_certificate.as_deref())
            .map_err(|failure| failure.while_doing("--authorities and --client-certificate must be PEM files"))
    }
}

/// The certificates of authorities, and the client's own with its private key, both PEM.
pub(crate) fn tls_of_files(authorities: Option<&Path>, certificate: Option<&Path>) -> Outcome<TlsSettings> {
    let read = |file: &Path| {
        std::fs::read(file)
            .with_context(|| format!("cannot read {}", file.display()))
            .map_err(|error| Failure { exit: Exit::Usage, error })
    };
    let (authorities, certificate) = (authorities.map(read).transpose()?, certificate.map(read).transpose()?);
    Ok(TlsSettings::from_pem(authorities.as_deref(), certificate.as_deref())?)
}

impl ConnectArgs {
    /// True if a service is given explicitly.
    pub(crate) fn names_service(&self) -> bool {
        let is_given = self.api_url.is_some() || self.region.is_some() || self.profile.is_some();
        is_given || ProfileName::of_environment().is_ok_and(|name| name.is_some())
    }

    /// True if someone has logged in, so that a service is known without being given.
    pub(crate) fn has_login(&self) -> bool {
        self.profile().is_ok_and(|profile| profile.is_some())
    }

    /// A client for the service, for commands that somebody waits for: fails at once if the service cannot be reached.
    pub(crate) fn client(&self) -> Outcome<Client> {
        let client = self.patient_client()?;
        client.require_first_connection();
        Ok(client)
    }

    /// A client for the service that waits for it to become available, for commands that a program may have started.
    pub(crate) fn patient_client(&self) -> Outcome<Client> {
        let profile = self.profile()?;
        let url = self.url(profile.as_ref())?;
        let credentials = self.credentials(&url, profile.as_ref())?;
        let mut settings = ClientSettings::new(url, credentials);
        settings.retries_max = self.retries;
        settings.pace = self.pace.unwrap_or(settings.pace);
        settings.download.allowed_hosts.extend(self.allow_hosts.iter().cloned());
        settings.download.allow_private_addresses |= self.allow_private_addresses;
        settings.tls = self.tls.settings()?;
        let client = Client::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(TokioWait))?;
        note_retries(&client);
        Ok(client)
    }

    /// A client for another service, whose token is in a variable of its own.
    pub(crate) fn client_of(&self, url: Url, token_variable: &str) -> Outcome<Client> {
        let token = secret(None, token_variable)?.ok_or_else(|| {
            Failure::new(Exit::Denied, format!("the environment variable {token_variable} is not set to a token"))
        })?;
        let mut settings = ClientSettings::new(url, Credentials::PersonalToken(token));
        settings.retries_max = self.retries;
        settings.tls = self.tls.settings()?;
        Ok(Client::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(TokioWait))?)
    }

    /// The address of a page of the web UI of the service, by its path; none for Talend Cloud, which has no such pages.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        if self.api_url.is_none() && self.region.is_some() {
            return None;
        }
        let url = self.url(self.profile().ok()?.as_ref()).ok()?;
        matches!(url.scheme(), "http" | "https").then(|| format!("{}/{path}", url.as_str().trim_end_matches('/')))
    }

    /// The profile in effect: that of `--profile`, of `RUNLOG_PROFILE`, or, if neither a service nor credentials are given,
    /// the unnamed one. `Denied`: one is named, and nobody has logged in.
    fn profile(&self) -> Outcome<Option<Profile>> {
        if let Some(name) = &self.profile {
            if self.is_flag(self.api_url.as_ref(), "RUNLOG_API_URL")
                || self.is_flag(self.region.as_ref(), "RUNLOG_REGION")
            {
                let message = "--profile names a service: give it without --api-url and --region";
                return Err(Failure::new(Exit::Usage, message));
            }
            return Profile::existing(name).map(Some);
        }
        if let Some(name) = ProfileName::of_environment()? {
            return Profile::existing(&name).map(Some);
        }
        let is_given = self.api_url.is_some() || self.region.is_some() || self.names_credentials();
        if is_given { Ok(None) } else { Profile::read(&ProfileName::unnamed()) }
    }

    /// True if a value is not the one of its environment variable.
    fn is_flag(&self, value: Option<&impl ToString>, variable: &str) -> bool {
        let of_environment = environment(variable);
        let same = |value: &str| of_environment.as_deref().is_some_and(|text| text == value || same_url(text, value));
        value.is_some_and(|value| !same(&value.to_string()))
    }

    fn names_credentials(&self) -> bool {
        let is_set = environment("RUNLOG_TOKEN").is_some_and(|token| !token.trim().is_empty());
        self.token_file.is_some() || self.client_id.is_some() || is_set
    }

    fn url(&self, profile: Option<&Profile>) -> Outcome<Url> {
        match (&self.api_url, &self.region, profile) {
            // `--profile` takes precedence over the environment.
            (_, _, Some(profile)) if self.profile.is_some() => Ok(profile.api_url.clone()),
            (Some(url), _, _) => Ok(url.clone()),
            (None, Some(region), _) => Ok(runlog_client::region_url(region)?),
            (None, None, Some(profile)) => Ok(profile.api_url.clone()),
            (None, None, None) => Ok(Url::parse(LOCAL_SERVICE).context("the address of the local service")?),
        }
    }

    fn credentials(&self, url: &Url, profile: Option<&Profile>) -> Outcome<Credentials> {
        let given = |value: Option<&String>, variable: &str| self.profile.is_none() || self.is_flag(value, variable);
        if let Some(id) = self.client_id.as_ref().filter(|id| given(Some(id), "RUNLOG_CLIENT_ID")) {
            let secret = secret(self.client_secret_file.as_deref(), "RUNLOG_CLIENT_SECRET")?;
            let secret = secret.ok_or_else(|| {
                Failure::new(
                    Exit::Denied,
                    "the client secret is missing; set RUNLOG_CLIENT_SECRET or --client-secret-file",
                )
            })?;
            return Ok(Credentials::ServiceAccount { client_id: id.clone(), client_secret: secret });
        }
        let file = self.token_file.as_ref().map(|file| file.display().to_string());
        let file = self.token_file.as_deref().filter(|_| given(file.as_ref(), "RUNLOG_TOKEN_FILE"));
        let is_asked = file.is_some() || self.profile.is_none();
        if let Some(token) = is_asked.then(|| secret(file, "RUNLOG_TOKEN")).transpose()?.flatten() {
            return Ok(Credentials::PersonalToken(token));
        }
        match profile {
            Some(profile) if profile.is_of(url) => Ok(Credentials::PersonalToken(profile.token.clone())),
            Some(profile) => Err(Failure::new(
                Exit::Denied,
                format!("the token of the profile is for {}, and is not sent to {url}; {LOGIN}", profile.api_url),
            )),
            None => Err(no_credentials()),
        }
    }
}

/// What to do without credentials.
const LOGIN: &str = "run `runlog login https://…`, or set RUNLOG_TOKEN, or RUNLOG_CLIENT_ID and RUNLOG_CLIENT_SECRET";

/// Says on standard error that requests are retried, and why.
pub(crate) fn note_retries(client: &Client) {
    client.on_retry(|error, time_left| {
        let text = format!("{error}; retrying for up to {} s", time_left.as_secs());
        note(Stream::Note.shown(&text));
    });
}

/// True if two texts are the same URL, whose form the parser may have changed.
fn same_url(one: &str, other: &str) -> bool {
    matches!((Url::parse(one), Url::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// A client for a service whose token is at hand.
pub(crate) fn client_for(url: Url, token: SecretString, tls: &TlsArgs) -> Outcome<Client> {
    let mut settings = ClientSettings::new(url, Credentials::PersonalToken(token));
    settings.retries_max = 0;
    settings.tls = tls.settings()?;
    Ok(Client::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(TokioWait))?)
}

fn no_credentials() -> Failure {
    let mut advice = format!("no credentials; {LOGIN}");
    let local = Path::new("runlog-data").join(crate::admin_token::ADMIN_TOKEN_FILE);
    if local.exists() {
        advice += &format!("; for the archive in this folder: export RUNLOG_TOKEN=$(cat {})", local.display());
    }
    Failure::new(Exit::Denied, advice)
}

/// A secret from a file, or else from the environment; empty counts as absent.
fn secret(file: Option<&Path>, variable: &str) -> Outcome<Option<SecretString>> {
    let text = match file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the secret in {}", path.display()))
                .map_err(|error| Failure { exit: Exit::Denied, error })?,
        ),
        None => environment(variable),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(SecretString::from))
}
