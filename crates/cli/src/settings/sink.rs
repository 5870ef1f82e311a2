//! `[[sink]]`: where archived logs are delivered to, which of them, and in which form.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runlog_collector::{
    BatchBounds, Destination, Elasticsearch, FileForm, Files, HttpAccess, HttpSettings, Loki, Mapping, Otlp, Packing,
    Redaction, Redactor, SinkConfig, SinkFilter, Source, Splunk, SplunkPlace, Template, Webhook,
};
use runlog_model::record::Severity;
use runlog_model::{RunStatus, TaskId};
use runlog_store::bucket::Bucket;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::secret::{Secret, TextOrSecret};
use super::values::{Name, Time};
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// Where a run's files are put below the folder when nothing else is said.
const FILE_NAME: &str = "{workspace}/{task}/{year}-{month}-{day}/{run_id}-{part}";

/// How old a record may be for Loki when nothing else is said: its own `reject_old_samples_max_age` when nobody set that.
const LOKI_AGE_MAX: Duration = Duration::from_secs(168 * 3_600);

/// One sink. Which of the settings it has depends on its kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinkSettings {
    name: Name,
    kind: Kind,
    // Which runs and records.
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    tasks: Vec<TaskId>,
    #[serde(default)]
    task_names: Vec<String>,
    #[serde(default)]
    statuses: Vec<RunStatus>,
    severity: Option<Severity>,
    // What of them.
    #[serde(default)]
    redact: Vec<Redact>,
    fields: Option<BTreeMap<String, String>>,
    // How.
    batch_records: Option<usize>,
    batch_bytes: Option<usize>,
    parallel: Option<usize>,
    // Of those that speak HTTP.
    url: Option<Url>,
    token: Option<Secret>,
    user: Option<String>,
    password: Option<Secret>,
    headers: Option<BTreeMap<String, TextOrSecret>>,
    gzip: Option<bool>,
    timeout: Option<Time>,
    // Of files.
    folder: Option<PathBuf>,
    bucket: Option<String>,
    file_name: Option<String>,
    format: Option<Form>,
    compression: Option<Compression>,
    // Of one or two.
    index: Option<String>,
    source_type: Option<String>,
    source: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    metadata: Option<BTreeMap<String, String>>,
    tenant: Option<String>,
    max_age: Option<Time>,
    signing_secret: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Files,
    Otlp,
    Elasticsearch,
    Loki,
    Splunk,
    Webhook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Ndjson,
    Text,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A pattern that has a name, or one of one's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a redaction is a name such as \"email\", or { pattern = \"…\", with = \"…\" }")]
enum Redact {
    Named(String),
    Own(OwnPattern),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnPattern {
    pattern: String,
    #[serde(default = "stars")]
    with: String,
}

fn stars() -> String {
    "***".to_owned()
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Otlp => "otlp",
            Self::Elasticsearch => "elasticsearch",
            Self::Loki => "loki",
            Self::Splunk => "splunk",
            Self::Webhook => "webhook",
        }
    }
}

impl SinkSettings {
    pub(super) fn name(&self) -> &str {
        &self.name.0
    }

    /// What it is, as the sink itself says.
    pub(super) fn kind(&self) -> &'static str {
        self.kind.word()
    }

    /// What is wrong with it that shows without its secrets.
    pub(super) fn check(&self) -> Result<(), String> {
        let named = |message: String| format!("sink {:?}: {message}", self.name());
        self.check_names().map_err(named)?;
        self.redactor().map_err(named)?;
        match self.kind {
            Kind::Files => drop(self.file_name().map_err(named)?),
            // What is built without secrets fails for the same reasons as what is built with them.
            _ => drop(self.over_http(HttpAccess::Open, Vec::new(), None).map_err(named)?),
        }
        Ok(())
    }

    /// The sink, ready to be sent to.
    pub(super) fn setup(&self) -> Outcome<SinkConfig> {
        let name = self.name();
        let usage = |message: String| Failure::new(Exit::Usage, format!("sink {name}: {message}"));
        let destination = match self.kind {
            Kind::Files => Destination::Files(Arc::new(
                self.files().map_err(|failure| failure.while_doing(format!("sink {name}")))?,
            )),
            _ => {
                let secret = self.signing_secret.as_ref();
                let secret = secret.map(|secret| secret.read(&format!("sink {name}: signing_secret"))).transpose()?;
                self.over_http(self.access()?, self.all_headers()?, secret).map_err(usage)?
            }
        };
        Ok(SinkConfig {
            name: name.to_owned(),
            destination,
            filter: SinkFilter {
                environments: self.environments.clone(),
                workspaces: self.workspaces.clone(),
                tasks: self.tasks.clone(),
                task_names: self.task_names.clone(),
                statuses: self.statuses.clone(),
                severity: self.severity,
            },
            redactor: self.redactor().map_err(usage)?,
            bounds: self.bounds(),
            parallel: self.parallel.unwrap_or(2).max(1),
        })
    }

    /// Which settings a sink of its kind needs, and that there are none that it does not have.
    fn check_names(&self) -> Result<(), String> {
        use Kind::{Elasticsearch, Files, Loki, Otlp, Splunk, Webhook};
        let http: &[Kind] = &[Otlp, Elasticsearch, Loki, Splunk, Webhook];
        let all_but_webhook: &[Kind] = &[Files, Otlp, Elasticsearch, Loki, Splunk];
        let given: [(&str, bool, &[Kind]); 24] = [
            ("severity", self.severity.is_some(), all_but_webhook),
            ("fields", self.fields.is_some(), &[Files, Elasticsearch, Loki, Splunk]),
            ("batch_records", self.batch_records.is_some(), all_but_webhook),
            ("batch_bytes", self.batch_bytes.is_some(), all_but_webhook),
            ("url", self.url.is_some(), http),
            ("token", self.token.is_some(), http),
            ("user", self.user.is_some(), http),
            ("password", self.password.is_some(), http),
            ("headers", self.headers.is_some(), http),
            ("gzip", self.gzip.is_some(), http),
            ("timeout", self.timeout.is_some(), http),
            ("folder", self.folder.is_some(), &[Files]),
            ("bucket", self.bucket.is_some(), &[Files]),
            ("file_name", self.file_name.is_some(), &[Files]),
            ("format", self.format.is_some(), &[Files]),
            ("compression", self.compression.is_some(), &[Files]),
            ("index", self.index.is_some(), &[Elasticsearch, Splunk]),
            ("source_type", self.source_type.is_some(), &[Splunk]),
            ("source", self.source.is_some(), &[Splunk]),
            ("labels", self.labels.is_some(), &[Loki]),
            ("metadata", self.metadata.is_some(), &[Loki]),
            ("tenant", self.tenant.is_some(), &[Loki]),
            ("max_age", self.max_age.is_some(), &[Loki]),
            ("signing_secret", self.signing_secret.is_some(), &[Webhook]),
        ];
        let kind = self.kind.word();
        for (name, is_given, kinds) in given {
            if is_given && !kinds.contains(&self.kind) {
                let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
                return Err(format!("{name} is no setting of {kind}, only of {}", words.join(", ")));
            }
        }
        if self.kind != Files && self.url.is_none() {
            return Err(format!("{kind} needs a url"));
        }
        if self.kind == Files && self.folder.is_some() == self.bucket.is_some() {
            return Err("files need either a folder or a bucket".to_owned());
        }
        if self.kind == Elasticsearch && self.index.is_none() {
            return Err("elasticsearch needs an index, or the name of a data stream".to_owned());
        }
        if self.kind == Splunk && self.token.is_none() {
            return Err("splunk needs the token of an event collector".to_owned());
        }
        if self.user.is_some() != self.password.is_some() || self.user.is_some() && self.token.is_some() {
            return Err("give either a token, or a user and a password".to_owned());
        }
        if self.format == Some(Form::Parquet) && (self.compression.is_some() || self.fields.is_some()) {
            return Err("parquet has columns and compression of its own: no fields, no compression".to_owned());
        }
        if self.format == Some(Form::Text) && self.fields.is_some() {
            return Err("lines of text have fields of their own: no fields".to_owned());
        }
        Ok(())
    }

    fn redactor(&self) -> Result<Redactor, String> {
        let redactions = self.redact.iter().map(|redact| match redact {
            Redact::Named(name) => Redaction::named(name),
            Redact::Own(OwnPattern { pattern, with }) => Redaction::new(pattern, with),
        });
        Ok(Redactor::new(redactions.collect::<Result<_, _>>()?))
    }

    fn bounds(&self) -> BatchBounds {
        let usual = match self.kind {
            Kind::Files => BatchBounds { records: 1_000_000, bytes: 512 << 20 },
            // Loki wants about a megabyte; Splunk takes one by default, unpacked.
            Kind::Loki | Kind::Splunk => BatchBounds { records: 1_000, bytes: 800 << 10 },
            _ => BatchBounds { records: 2_000, bytes: 4 << 20 },
        };
        BatchBounds {
            records: self.batch_records.unwrap_or(usual.records).max(1),
            bytes: self.batch_bytes.unwrap_or(usual.bytes).max(1),
        }
    }

    fn over_http(
        &self,
        access: HttpAccess,
        headers: Vec<(String, SecretString)>,
        signing_secret: Option<SecretString>,
    ) -> Result<Destination, String> {
        let http = HttpSettings {
            url: self.url.clone().ok_or("it needs a url")?,
            access,
            headers,
            gzip: self.gzip.unwrap_or(self.kind != Kind::Webhook),
            time_max: self.timeout.map_or(Duration::from_secs(60), |time| time.0),
        };
        let clock = Arc::new(SystemClock);
        let fields = |usual: fn() -> Mapping| self.fields.as_ref().map_or_else(|| Ok(usual()), mapping);
        Ok(match self.kind {
            Kind::Elasticsearch => {
                let index = self.index.clone().unwrap_or_default();
                let fields = fields(Elasticsearch::usual_fields)?;
                Destination::Records(Arc::new(Elasticsearch::new(http, index, fields, clock)?))
            }
            Kind::Loki => {
                let or = |own: &Option<_>, usual: fn() -> Mapping| own.as_ref().map_or_else(|| Ok(usual()), mapping);
                let labels = or(&self.labels, Loki::usual_labels)?;
                let metadata = or(&self.metadata, Loki::usual_metadata)?;
                let line = self.fields.as_ref().map(mapping).transpose()?;
                let age_max = self.max_age.map_or(LOKI_AGE_MAX, |time| time.0);
                let loki = Loki::new(http, labels, line, metadata, clock)?;
                Destination::Records(Arc::new(loki.with_age_max(Some(age_max).filter(|age| !age.is_zero()))))
            }
            Kind::Splunk => {
                let place = SplunkPlace {
                    index: self.index.clone(),
                    source_type: self.source_type.clone(),
                    source: self.source.clone(),
                };
                let fields = fields(Splunk::usual_fields)?;
                Destination::Records(Arc::new(Splunk::new(http, place, fields, clock)?))
            }
            Kind::Otlp => Destination::Records(Arc::new(Otlp::new(http, clock)?)),
            Kind::Webhook | Kind::Files => Destination::Runs(Arc::new(Webhook::new(http, signing_secret, clock)?)),
        })
    }

    fn access(&self) -> Outcome<HttpAccess> {
        let what = |setting: &str| format!("sink {}: {setting}", self.name());
        Ok(match (&self.token, &self.user, &self.password) {
            (Some(token), ..) => {
                let word = match self.kind {
                    Kind::Splunk => "Splunk",
                    Kind::Elasticsearch => "ApiKey",
                    _ => "Bearer",
                };
                HttpAccess::Word(word, token.read(&what("token"))?)
            }
            (None, Some(user), Some(password)) => HttpAccess::Basic(user.clone(), password.read(&what("password"))?),
            _ => HttpAccess::Open,
        })
    }

    fn all_headers(&self) -> Outcome<Vec<(String, SecretString)>> {
        let tenant = self.tenant.iter().map(|tenant| ("X-Scope-OrgID".to_owned(), SecretString::from(tenant.clone())));
        let mut headers: Vec<(String, SecretString)> = tenant.collect();
        for (name, value) in self.headers.iter().flatten() {
            let value = match value {
                TextOrSecret::Text(text) => SecretString::from(text.clone()),
                TextOrSecret::Secret(secret) => secret.read(&format!("sink {}: header {name}", self.name()))?,
            };
            headers.push((name.clone(), value));
        }
        Ok(headers)
    }

    fn file_name(&self) -> Result<(Template, Mapping), String> {
        let name = self.file_name.as_deref().unwrap_or(FILE_NAME).parse()?;
        Ok((name, self.fields.as_ref().map_or_else(|| Ok(Files::usual_fields()), mapping)?))
    }

    fn files(&self) -> Outcome<Files> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let (name, fields) = self.file_name().map_err(usage)?;
        let bucket = match (&self.folder, &self.bucket) {
            (Some(folder), _) => Bucket::in_folder(folder)?,
            (None, bucket) => {
                let url = crate::arguments::archive::objects(bucket.as_deref().unwrap_or_default()).map_err(usage)?;
                Bucket::at(&url)?
            }
        };
        let form = match self.format {
            None | Some(Form::Ndjson) => FileForm::Ndjson,
            Some(Form::Text) => FileForm::Text,
            Some(Form::Parquet) => FileForm::Parquet,
        };
        let packing = match self.compression {
            None | Some(Compression::None) => Packing::None,
            Some(Compression::Gzip) => Packing::Gzip,
            Some(Compression::Zstd) => Packing::Zstd,
        };
        Ok(Files::new(bucket, name, form, packing, fields))
    }
}

fn mapping(fields: &BTreeMap<String, String>) -> Result<Mapping, String> {
    let read = |(name, source): (&String, &String)| Ok((name.clone(), source.parse::<Source>()?));
    Ok(Mapping::new(fields.iter().map(read).collect::<Result<_, String>>()?))
}
