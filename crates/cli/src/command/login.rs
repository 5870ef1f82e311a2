//! `runlog login` and `runlog logout`: keep a token of a service in a profile, and remove it.

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap_complete::engine::ArgValueCandidates;
use runlog_client::{Client, ErrorKind, SignIn};
use runlog_model::wire::sign_in::DeviceTokenRequest;
use secrecy::SecretString;
use url::Url;

use crate::arguments::connect::{TlsArgs, client_for, service_url};
use crate::arguments::profile::{self, Profile, ProfileName};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::hidden::hidden_line;
use crate::render::terminal::note;

/// The longest token. Unit: bytes. Access tokens have some hundreds.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
If the service has an identity provider, the command shows an address and a code: open the address in any browser to sign in. \
Otherwise, or with --with-token, it reads a personal access token from the terminal, without showing it, or from standard \
input. The token cannot be an argument, because other users can see the arguments of a command. It is verified, and then \
stored in ~/.config/runlog/profiles, in a file that only you can read.

Examples:
  runlog login https://runlog.example.com                  shows a code, or asks for a personal access token
  runlog login https://staging.example.com --profile staging < token.txt
  runlog runs --failed --last 1d --profile staging")]
pub(crate) struct LoginArgs {
    /// Base URL of the service
    #[arg(value_name = "URL", value_parser = service_url)]
    url: Url,
    /// Name of the profile [default: default]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(profile::candidates))]
    profile: Option<ProfileName>,
    /// Read a personal access token, even if the service has an identity provider
    #[arg(long, conflicts_with = "device")]
    with_token: bool,
    /// Sign in at the identity provider, even if standard input is not a terminal
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Removes the token from this machine. It stays valid until it is revoked, on the page Access of the web UI or with \
`runlog admin tokens revoke`.

Examples:
  runlog logout
  runlog logout --profile staging")]
pub(crate) struct LogoutArgs {
    /// Name of the profile [default: default]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(profile::candidates))]
    profile: Option<ProfileName>,
}

/// Checks a token and keeps it.
pub(crate) async fn login(args: LoginArgs) -> Outcome {
    let name = named(args.profile.clone())?;
    let is_interactive = std::io::stdin().is_terminal() && !args.with_token;
    let token = match args.device || is_interactive {
        true => sign_in(&args).await?,
        false => None,
    };
    let token = match token {
        Some(token) => token,
        None => read_token(&args.url).await?,
    };
    let client = client_for(args.url.clone(), token.clone(), &args.tls)?;
    let caller = check(&client).await?;
    let profile = Profile { api_url: args.url, token };
    let path = profile.keep(&name)?;
    note(format!("logged in to {}{caller}; the token is stored in {}", profile.api_url, path.display()));
    Ok(())
}

/// Removes a profile.
pub(crate) fn logout(args: LogoutArgs) -> Outcome {
    let path = Profile::remove(&named(args.profile)?)?;
    note(format!("logged out; removed {}. The token stays valid until it is revoked", path.display()));
    Ok(())
}

fn named(flag: Option<ProfileName>) -> Outcome<ProfileName> {
    Ok(match flag {
        Some(name) => name,
        None => ProfileName::of_environment()?.unwrap_or_else(ProfileName::unnamed),
    })
}

/// Obtains a token from the identity provider of the service; none if the service has no identity provider.
async fn sign_in(args: &LoginArgs) -> Outcome<Option<SecretString>> {
    let service = SignIn::new(&args.url, &args.tls.settings()?)?;
    let has_provider = match service.ways().await {
        Ok(ways) => ways.identity_provider.is_some(),
        // Talend Cloud, or an earlier version.
        Err(error) if error.kind() != ErrorKind::Unavailable => false,
        Err(error) => return Err(error.into()),
    };
    let begun = match has_provider {
        true => service.begin_device().await,
        false if args.device => {
            let message = "the service has no identity provider; log in with a personal access token, without --device";
            return Err(Failure::new(Exit::Usage, message));
        }
        false => return Ok(None),
    };
    let begun = match begun {
        // The provider does not offer the device flow.
        Err(error) if error.kind() == ErrorKind::NotFound && !args.device => {
            note(format!("{error}"));
            return Ok(None);
        }
        begun => begun?,
    };
    let shown = runlog_model::printable::printable_line;
    let address = shown(begun.verification_uri_complete.as_ref().unwrap_or(&begun.verification_uri)).into_owned();
    note(format!("open {address} in any browser, and compare or enter the code {}", shown(&begun.user_code)));
    let request = DeviceTokenRequest { device_code: begun.device_code, name: token_name() };
    let mut interval = begun.interval;
    // The service says when the code has expired; this bounds the wait for one that does not.
    let end = Instant::now() + Duration::from_secs(begun.expires_in.min(3_600)) + Duration::from_secs(60);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(interval.clamp(1, 60))).await;
        let asked = match service.device_token(&request).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => continue,
            asked => asked.map_err(|error| Failure::from(error).while_doing("not logged in"))?,
        };
        if let Some(token) = asked.token {
            return Ok(Some(SecretString::from(token)));
        }
        // Source: RFC 8628, 3.5.
        interval += if asked.slow_down { 5 } else { 0 };
    }
    Err(Failure::new(Exit::Denied, "the code has expired; run the command again"))
}

/// The name of the token, by which its owner recognises it in the web UI.
fn token_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("runlog login on {}", if host.is_empty() { "an unnamed machine" } else { &host })
}

async fn read_token(url: &Url) -> Outcome<SecretString> {
    let token = if std::io::stdin().is_terminal() {
        let prompt = format!("Personal access token of {}: ", url.host_str().unwrap_or_default());
        hidden_line(&prompt, TOKEN_BYTES_MAX).await?
    } else {
        let mut text = String::new();
        let mut input = std::io::stdin().take(TOKEN_BYTES_MAX);
        input.read_to_string(&mut text).context("cannot read the token from standard input")?;
        text
    };
    let token = token.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = "the token must be one word; create one on the page Access of the web UI, or with `runlog admin tokens \
                       create`";
        return Err(Failure::new(Exit::Denied, message));
    }
    Ok(SecretString::from(token.to_owned()))
}

/// Checks a token; returns ` as ` and the name of its owner, or an empty text if the service does not provide the name.
async fn check(client: &Client) -> Outcome<String> {
    match client.session().await {
        Ok(caller) => Ok(format!(" as {}", runlog_model::printable::printable_line(&caller.name))),
        // Talend Cloud has no such path; another endpoint is used to check the token.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Protocol) => {
            client.workspaces().await?;
            Ok(String::new())
        }
        Err(error) => Err(Failure::from(error).while_doing("the token was not accepted and was not stored")),
    }
}
