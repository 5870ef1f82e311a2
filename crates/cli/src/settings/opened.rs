//! Settings file

use std::path::{Path, PathBuf};

use clap_complete::engine::ArgValueCompleter;
use runlog_collector::SinkConfig;
use runlog_collector::alerts::Alerts;
use runlog_server::{OidcSettings, SyslogSettings};
use runlog_store::{Store, StoreSettings};

use super::file::Settings;
use super::upstream::Scheduled;
use crate::arguments::archive::{LocationArgs, open_or_create};
use crate::arguments::candidates;
use crate::exit::{Exit, Failure, Outcome};

/// The settings file, and the location of the archive if the settings do not specify it.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingsArgs {
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Only this upstream
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::upstreams))]
    upstream: Option<String>,
    /// Data folder of the archive [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: LocationArgs,
}

/// The parts of the settings, opened.
pub(crate) struct Opened {
    pub(crate) store: Store,
    /// The location of the archive, for messages.
    pub(crate) place: String,
    pub(crate) upstreams: Vec<Scheduled>,
    pub(crate) sinks: Vec<SinkConfig>,
    pub(crate) alerts: Option<Alerts>,
    /// Sign-in with an identity provider.
    pub(crate) oidc: Option<OidcSettings>,
    /// The syslog listeners.
    pub(crate) syslog: Option<SyslogSettings>,
}

/// The part of the settings that a command requires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Something to collect from.
    Upstreams,
    /// An upstream or an alert.
    UpstreamsOrAlerts,
    /// Any part other than the archive.
    Something,
}

impl SettingsArgs {
    /// The file of the settings.
    pub(crate) fn file(&self) -> &Path {
        &self.settings
    }

    /// Settings file
    pub(crate) fn read(&self) -> Outcome<(Settings, StoreSettings)> {
        let settings = Settings::read(&self.settings)?;
        let places = &self.places;
        let archive = settings.archive(self.data.as_deref(), places.catalog.clone(), places.objects.clone())?;
        Ok((settings, archive))
    }

    /// Returns the names of the selected upstreams, after checking that the settings have the required parts. Reads no
    /// secrets.
    pub(crate) fn upstream_names<'a>(&self, settings: &'a Settings, needs: Requirement) -> Outcome<Vec<&'a str>> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let file = self.settings.display();
        let mut names = settings.upstream_names();
        if let Some(only) = &self.upstream {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            names.retain(|name| *name == only.as_str());
            if names.is_empty() {
                return Err(usage(format!("there is no upstream {only:?} in {file}; available: {known}")));
            }
        }
        let (suffices, missing) = match needs {
            Requirement::Upstreams => (false, "no upstream"),
            Requirement::UpstreamsOrAlerts => (settings.has_alerts(), "no upstream and no alert"),
            Requirement::Something => {
                let suffices = settings.has_alerts() || settings.has_sinks() || settings.has_service_settings();
                (suffices, "no upstream, sink, alert, identity provider or syslog listener")
            }
        };
        match names.is_empty() && !suffices {
            true => Err(usage(format!("{file} has {missing}; see `runlog check --example`"))),
            false => Ok(names),
        }
    }

    /// Opens everything that the settings name.
    pub(crate) async fn open(&self, needs: Requirement) -> Outcome<Opened> {
        self.open_to_seal(needs, false).await
    }

    /// The same; logs are sealed for lakehouses if the settings or the caller say so.
    pub(crate) async fn open_to_seal(&self, needs: Requirement, for_lakehouses: bool) -> Outcome<Opened> {
        let (settings, mut stored) = self.read()?;
        stored.lake |= for_lakehouses;
        let names = self.upstream_names(&settings, needs)?;
        let mut upstreams = settings.upstreams(&stored.data_folder)?;
        upstreams.retain(|it| names.iter().any(|name| *name == it.upstream.name));
        let sinks = settings.sinks()?;
        let place = stored.location();
        let store = open_or_create(stored).await?;
        let alerts = settings.alerts(&store)?;
        // Only the service and `check` need their secrets.
        let (oidc, syslog) = match needs {
            Requirement::Something => (settings.oidc()?, settings.syslog()?),
            Requirement::Upstreams | Requirement::UpstreamsOrAlerts => (None, None),
        };
        Ok(Opened { store, place, upstreams, sinks, alerts, oidc, syslog })
    }
}
