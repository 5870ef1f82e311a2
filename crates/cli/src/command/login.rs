//! `runlog login` and `runlog logout`: keep a token of a service in a profile, and remove it.

use std::io::{IsTerminal, Read};

use anyhow::Context;
use runlog_client::{Client, ErrorKind};
use secrecy::SecretString;
use url::Url;

use crate::arguments::connect::{TlsArgs, client_for};
use crate::arguments::profile::{Profile, ProfileName};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::hidden::hidden_line;
use crate::render::terminal::note;

/// The longest token. Unit: bytes. Access tokens have some hundreds.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The token is read from the terminal without showing it, or from standard input; it is never an argument, because other users \
can see those. It is checked, and then kept in ~/.config/runlog/profiles, in a file that only you can read.

Examples:
  runlog login https://runlog.example.com                  asks for a personal access token
  runlog login https://staging.example.com --profile staging < token.txt
  runlog runs --failed --last 1d --profile staging")]
pub(crate) struct LoginArgs {
    /// Base URL of the service
    #[arg(value_name = "URL")]
    url: Url,
    /// Name of the profile [default: default]
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,
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
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,
}

/// Checks a token and keeps it.
pub(crate) async fn login(args: LoginArgs) -> Outcome {
    let name = named(args.profile)?;
    let token = read_token(&args.url).await?;
    let client = client_for(args.url.clone(), token.clone(), &args.tls)?;
    let caller = check(&client).await?;
    let profile = Profile { api_url: args.url, token };
    let path = profile.keep(&name)?;
    note(format!("logged in to {}{caller}; the token is kept in {}", profile.api_url, path.display()));
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

/// As whom the service knows the owner of a token; nothing for a service that does not tell.
async fn check(client: &Client) -> Outcome<String> {
    match client.session().await {
        Ok(caller) => Ok(format!(" as {}", runlog_model::printable::printable_line(&caller.name))),
        // Talend Cloud has no such path, and answers another question.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            client.workspaces().await?;
            Ok(String::new())
        }
        Err(error) => Err(Failure::from(error).while_doing("the token was not accepted and is not kept")),
    }
}
