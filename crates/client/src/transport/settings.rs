//! The settings of a client, with the defaults and their reasons.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::tls::TlsSettings;
use crate::error::{Error, ErrorKind, Result};

/// Which service, as whom, and how patiently.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The address of the API, such as `https://api.eu.cloud.talend.com`.
    pub base_url: Url,
    /// Who calls.
    pub credentials: Credentials,
    /// How many requests the client allows itself.
    pub pace: PaceSetting,
    /// How many times a request is retried that was throttled, or failed with a server or connection error. Default: 6.
    /// Unless this is 0, an unavailable service is retried for at least a minute, even if it requests a shorter delay.
    pub retries_max: u32,
    /// Timeout of a request, except downloads. Default: one minute.
    pub request_time_max: Duration,
    /// Timeout for building a page. Default: 15 minutes.
    pub build_time_max: Duration,
    /// The first form in which the page token is sent in a status request; the other form is tried once if it is
    /// refused.
    pub token_form: TokenForm,
    /// What may be downloaded.
    pub download: DownloadSettings,
    /// The trusted CAs and the client certificate, also for downloads.
    pub tls: TlsSettings,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A user, with a personal access token.
    PersonalToken(SecretString),
    /// A program, by client id and secret; access tokens are fetched and renewed as needed.
    ServiceAccount {
        /// The client id.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
}

/// How many requests the client allows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaceSetting {
    /// The limits of Talend Cloud for each group of its API, until the service announces its own limit (as Runlog
    /// does).
    ServiceDefault,
    /// A pace for each group of the API. Limits announced by the service are ignored.
    ByGroup(GroupPaces),
    /// This pace for all requests together. Limits announced by the service are ignored.
    Fixed(Pace),
    /// As many as come; the service's own limits are still kept.
    Unlimited,
}

impl PaceSetting {
    /// The pace of requests to monitoring, which limits how many logs are fetched; none without a limit.
    pub fn of_monitoring(self) -> Option<Pace> {
        match self {
            Self::ServiceDefault => Some(GroupPaces::default().monitoring),
            Self::ByGroup(paces) => Some(paces.monitoring),
            Self::Fixed(pace) => Some(pace),
            Self::Unlimited => None,
        }
    }
}

/// The groups of the API that Talend Cloud limits separately, per minute and client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiGroup {
    /// Logs and their pages: `/monitoring`.
    Monitoring,
    /// Lists of executions: `/processing`.
    Processing,
    /// Tasks, plans, workspaces: `/orchestration`.
    Orchestration,
    /// Audit logs of the tenant: `/security/audit`.
    AuditLogs,
    /// Everything else.
    Other,
}

impl ApiGroup {
    /// The group of a path, by its first segments.
    pub(crate) fn of(path: &[&str]) -> Self {
        match path {
            ["monitoring", ..] => Self::Monitoring,
            ["processing", ..] => Self::Processing,
            ["orchestration", ..] => Self::Orchestration,
            ["security", "audit", ..] => Self::AuditLogs,
            _ => Self::Other,
        }
    }
}

/// A pace for each group of the API. Default: what Talend Cloud allows a client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPaces {
    /// Requests for logs and their pages: 10 requests a second, 600 a minute.
    pub monitoring: Pace,
    /// Requests for lists of executions: 20 a second, 1,800 a minute are allowed.
    pub processing: Pace,
    /// Requests for tasks, plans and workspaces: 20 a second, 1,800 a minute are allowed.
    pub orchestration: Pace,
    /// Requests for audit logs of the tenant: one a second, 60 a minute. The vendor does not document a limit, and each
    /// response has up to 1,000 entries.
    pub audit_logs: Pace,
    /// All other requests: 10 a second, 600 a minute.
    pub other: Pace,
}

impl GroupPaces {
    pub(crate) fn of(&self, group: ApiGroup) -> Pace {
        match group {
            ApiGroup::Monitoring => self.monitoring,
            ApiGroup::Processing => self.processing,
            ApiGroup::Orchestration => self.orchestration,
            ApiGroup::AuditLogs => self.audit_logs,
            ApiGroup::Other => self.other,
        }
    }
}

impl Default for GroupPaces {
    fn default() -> Self {
        let narrow = Pace { per_second: 10, per_minute: 600 };
        let wide = Pace { per_second: 20, per_minute: 1_800 };
        let slow = Pace { per_second: 1, per_minute: 60 };
        Self { monitoring: narrow, processing: wide, orchestration: wide, audit_logs: slow, other: narrow }
    }
}

/// A number of requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Most requests in any second.
    pub per_second: usize,
    /// Most requests in any minute.
    pub per_minute: usize,
}

impl Pace {
    /// Requests that go out in a minute at most, by both bounds.
    pub fn requests_per_minute(self) -> u64 {
        self.per_minute.min(self.per_second.saturating_mul(60)) as u64
    }
}

/// The form of a page token in the body of a status request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenForm {
    /// Bare, as the guide shows it.
    #[default]
    Bare,
    /// In quotes, as JSON has it.
    Quoted,
}

/// The allowed sources of downloads, and their limits.
#[derive(Debug, Clone)]
pub struct DownloadSettings {
    /// Hosts that links may point to in addition to that of the API, with their subdomains. Default: well-known object
    /// storages.
    pub allowed_hosts: Vec<String>,
    /// Allows links to private, local and otherwise special addresses. The API's own host is always allowed.
    pub allow_private_addresses: bool,
    /// Most bytes of one file, unpacked. Default: 64 GiB.
    pub bytes_max: u64,
    /// Maximum ratio of the decompressed size of a file to its compressed size, beyond the first 64 MiB. Default:
    /// 2,000.
    pub unpack_ratio_max: u64,
    /// How long one file may take. Default: one hour, the life of a link.
    pub time_max: Duration,
    /// Timeout for receiving the next byte. Default: one minute.
    pub silence_max: Duration,
    /// Number of files downloaded at the same time; further ones wait, so that memory does not grow with the number of
    /// requested pages. Default: 4.
    pub at_a_time: usize,
}

impl Default for DownloadSettings {
    fn default() -> Self {
        let hosts = ["amazonaws.com", "blob.core.windows.net", "storage.googleapis.com", "cloud.talend.com"];
        Self {
            allowed_hosts: hosts.map(str::to_owned).to_vec(),
            allow_private_addresses: false,
            bytes_max: 64 << 30,
            unpack_ratio_max: 2_000,
            time_max: Duration::from_secs(3_600),
            silence_max: Duration::from_secs(60),
            at_a_time: 4,
        }
    }
}

impl ClientSettings {
    /// The defaults for a service and its caller.
    pub fn new(base_url: Url, credentials: Credentials) -> Self {
        Self {
            base_url,
            credentials,
            pace: PaceSetting::ServiceDefault,
            retries_max: 6,
            request_time_max: Duration::from_secs(60),
            build_time_max: Duration::from_secs(900),
            token_form: TokenForm::default(),
            download: DownloadSettings::default(),
            tls: TlsSettings::default(),
        }
    }
}

/// The regions of Talend Cloud.
pub const REGIONS: [&str; 5] = ["eu", "us", "us-west", "ap", "au"];

/// The API's address in a region of Talend Cloud, such as `eu` or `us-west`. `Invalid`: no such region.
pub fn region_url(region: &str) -> Result<Url> {
    if !REGIONS.contains(&region) {
        let message = format!(
            "{region:?} is not a region of Talend Cloud: use one of {}, or give the URL of the API instead of a region",
            REGIONS.join(", ")
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let url = format!("https://api.{region}.cloud.talend.com");
    Url::parse(&url).map_err(|error| Error::caused(ErrorKind::Invalid, format!("{url} is not a URL"), error))
}
