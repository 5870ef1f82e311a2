//! Profiles: services in which someone has logged in, each a file with its address and a token.
//!
//! A token is only ever sent to the service of its own profile.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap_complete::engine::CompletionCandidate;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::exit::{Exit, Failure, Outcome};
use crate::system::environment;

/// The profile that is used if none is named.
pub(crate) const DEFAULT: &str = "default";

/// The variable that names a profile.
const VARIABLE: &str = "RUNLOG_PROFILE";

/// Most characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// The name of a profile, which is also the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProfileName(String);

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_fitting = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let is_name = !text.is_empty() && !text.starts_with('.') && text.len() <= NAME_CHARS_MAX;
        match is_name && text.chars().all(is_fitting) {
            true => Ok(Self(text.to_owned())),
            false => Err("a profile is named with up to 64 letters, digits, '_', '-' and '.'".to_owned()),
        }
    }
}

impl std::fmt::Display for ProfileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ProfileName {
    /// The profile without a name.
    pub(crate) fn unnamed() -> Self {
        Self(DEFAULT.to_owned())
    }

    /// The profile that `RUNLOG_PROFILE` names; none if it is not set.
    pub(crate) fn of_environment() -> Outcome<Option<Self>> {
        let named = environment(VARIABLE).filter(|name| !name.is_empty());
        let named = named.map(|name| name.parse()).transpose();
        named.map_err(|error| Failure::new(Exit::Usage, format!("{VARIABLE}: {error}")))
    }

    /// The names of all profiles; none if the folder cannot be read.
    pub(crate) fn all() -> Vec<Self> {
        let entries = folder().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let name = |file: PathBuf| file.to_str()?.strip_suffix(".toml")?.parse().ok();
        entries.filter_map(|entry| name(entry.file_name().into())).collect()
    }

    fn file(&self) -> Outcome<PathBuf> {
        let folder = folder().ok_or_else(|| {
            Failure::new(Exit::Failed, "there is no folder for profiles; set HOME or XDG_CONFIG_HOME")
        })?;
        Ok(folder.join(format!("{}.toml", self.0)))
    }
}

/// What shells complete: the names of the profiles, each with the address of its service.
pub(crate) fn candidates() -> Vec<CompletionCandidate> {
    let mut names = ProfileName::all();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    let address =
        |name: &ProfileName| Profile::read(name).ok().flatten().map(|profile| profile.api_url.to_string().into());
    names.iter().map(|name| CompletionCandidate::new(&name.0).help(address(name))).collect()
}

/// The folder of the profiles; none without a home.
fn folder() -> Option<PathBuf> {
    let folder = environment("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".config")));
    Some(folder?.join("runlog/profiles"))
}

/// A service, and the token of someone who has logged in.
pub(crate) struct Profile {
    /// The base URL of the API.
    pub(crate) api_url: Url,
    pub(crate) token: SecretString,
}

/// The file of a profile.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    api_url: Url,
    token: String,
}

impl Profile {
    /// Reads a profile; none if nobody has logged in under this name.
    pub(crate) fn read(name: &ProfileName) -> Outcome<Option<Self>> {
        let path = match name.file() {
            Ok(path) => path,
            // Without a home, nobody has logged in.
            Err(_) => return Ok(None),
        };
        let place = || format!("cannot read the profile {}", path.display());
        let denied = |error: anyhow::Error| Failure { exit: Exit::Denied, error };
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(denied(anyhow::Error::from(error).context(place()))),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            let message = format!(
                "the profile {} can be read by other users; log in again, or run: chmod 600 {}",
                path.display(),
                path.display()
            );
            return Err(Failure::new(Exit::Denied, message));
        }
        let text = std::fs::read_to_string(&path).with_context(place).map_err(denied)?;
        // The error of the parser would quote the file, and with it the token.
        let file: ProfileFile = toml::from_str(&text).map_err(|_| {
            Failure::new(Exit::Denied, format!("the profile {} is damaged; log in again", path.display()))
        })?;
        Ok(Some(Self { api_url: file.api_url, token: file.token.into() }))
    }

    /// The same; `Denied` if nobody has logged in.
    pub(crate) fn existing(name: &ProfileName) -> Outcome<Self> {
        Self::read(name)?.ok_or_else(|| not_logged_in(name))
    }

    /// Writes the profile, which only its owner can read; returns the place of the file.
    pub(crate) fn keep(&self, name: &ProfileName) -> Outcome<PathBuf> {
        let path = name.file()?;
        let content = ProfileFile { api_url: self.api_url.clone(), token: self.token.expose_secret().to_owned() };
        let content = toml::to_string(&content).context("the profile cannot be written as TOML")?;
        let folder = path.parent().unwrap_or(&path);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Temporary files of this library have mode 0600 from the start.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(content.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().with_context(|| format!("cannot write the profile {}", path.display()))?;
        Ok(path)
    }

    /// Removes a profile; `Denied` if nobody has logged in.
    pub(crate) fn remove(name: &ProfileName) -> Outcome<PathBuf> {
        let path = name.file()?;
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(not_logged_in(name)),
            Err(error) => {
                Err(anyhow::Error::from(error).context(format!("cannot remove the profile {}", path.display())).into())
            }
        }
    }

    /// True if a URL is of the service of this profile.
    pub(crate) fn is_of(&self, url: &Url) -> bool {
        let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
        url.origin() == self.api_url.origin() && path(url) == path(&self.api_url)
    }
}

fn not_logged_in(name: &ProfileName) -> Failure {
    let option = if name.0 == DEFAULT { String::new() } else { format!(" --profile {name}") };
    Failure::new(Exit::Denied, format!("there is no profile {name}; run: runlog login https://…{option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in ["default", "a.b", "eu-1", "A_b"] {
            assert!(name.parse::<ProfileName>().is_ok(), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", "ä", "a b", &"a".repeat(65)] {
            assert!(name.parse::<ProfileName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_belongs_to_one_service() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let profile = Profile { api_url: url("https://runlog.example.com/x"), token: "t".to_owned().into() };
        assert!(profile.is_of(&url("https://RUNLOG.example.com:443/x/")));
        for other in ["http://runlog.example.com/x", "https://runlog.example.com/", "https://example.com/x"] {
            assert!(!profile.is_of(&url(other)), "{other}");
        }
    }
}
