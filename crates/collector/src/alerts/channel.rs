//! The settings of the destinations of vendors in a rule.

use std::sync::Arc;

use runlog_client::{SimulatedNetwork, TlsSettings};
use runlog_model::Clock;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::channel_context::ChannelContext;
use super::chat::{ChatSettings, ChatWebhook};
use super::opsgenie::{Opsgenie, OpsgenieSettings};
use super::pagerduty::{PagerDuty, PagerDutySettings};
use super::rule::Destination;
use crate::settings::{SecretReader, SettingsError, TableError, UnknownWord, located, names_of};

/// The setting that selects the kind.
const KIND: &str = "kind";

macro_rules! channels {
    ($($variant:ident($settings:ty) = $name:literal, $destination:ident($new:path);)+) => {
        /// The settings of a destination, selected by `kind = "slack"`.
        #[derive(Debug)]
        enum KindSettings {
            $($variant($settings),)+
        }

        /// Every kind, and the names of its settings.
        const KINDS: &[(&str, fn() -> &'static [&'static str])] = &[$(($name, names_of::<$settings>)),+];

        impl KindSettings {
            fn read(kind: &str, given: Map<String, Value>) -> Result<Option<Self>, TableError> {
                $(if kind == $name {
                    return located(given, |own| <$settings>::deserialize(own)).map(|own| Some(Self::$variant(own)));
                })+
                Ok(None)
            }

            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            fn build(&self, context: &ChannelContext<'_>) -> Result<Destination, SettingsError> {
                match self {
                    $(Self::$variant(settings) => $new(settings, context).map(Destination::$destination),)+
                }
            }
        }
    };
}

channels! {
    Teams(ChatSettings) = "teams", Chat(ChatWebhook::teams);
    Slack(ChatSettings) = "slack", Chat(ChatWebhook::slack);
    PagerDuty(PagerDutySettings) = "pagerduty", PagerDuty(PagerDuty::new);
    Opsgenie(OpsgenieSettings) = "opsgenie", Opsgenie(Opsgenie::new);
}

/// The settings of one destination of a rule.
#[derive(Debug)]
pub struct ChannelSettings(KindSettings);

impl ChannelSettings {
    /// Reads the settings from their table.
    pub fn read(mut given: Map<String, Value>) -> Result<Self, TableError> {
        let kinds = KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let kind = given.remove(KIND).ok_or_else(|| {
            TableError::missing(format!("a destination of an alert needs a kind: {}", kinds.join(", ")))
        })?;
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let Some((_, names)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let message = format!("unknown kind of destination {kind:?}; use one of {}", kinds.join(", "));
            let unknown = Some(UnknownWord { word: kind, known: kinds });
            return Err(TableError { setting: Some(KIND.to_owned()), message, unknown });
        };
        let known: Vec<&str> = names().iter().copied().chain([KIND]).collect();
        if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
            let message = format!("unknown setting {name:?}");
            let unknown = Some(UnknownWord { word: name.clone(), known });
            return Err(TableError { setting: Some(name.clone()), message, unknown });
        }
        let read = KindSettings::read(&kind, given)?;
        read.map(Self).ok_or_else(|| TableError::missing(format!("there is no kind {kind}")))
    }

    /// The names of all settings of all kinds.
    pub fn names() -> Vec<&'static str> {
        KINDS.iter().flat_map(|(_, names)| names().iter().copied()).chain([KIND]).collect()
    }

    /// Checks the settings without reading secrets.
    pub fn check(&self, clock: Arc<dyn Clock>) -> Result<(), SettingsError> {
        let (tls, simulated) = (TlsSettings::default(), None);
        let context = ChannelContext { owner: "", number: 1, tls: &tls, secrets: None, clock, simulated };
        self.0.build(&context).map(drop)
    }

    /// Reads the secrets of the destinations of a rule and builds them, in the same order. Sends nothing.
    pub fn build_all(
        all: &[Self],
        rule: &str,
        tls: &TlsSettings,
        secrets: &dyn SecretReader,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Destination>, SettingsError> {
        Self::build_all_on(None, all, rule, tls, secrets, clock)
    }

    /// Like [`build_all`](Self::build_all), but the channels send to the services of a simulation.
    pub fn simulate_all(
        all: &[Self],
        rule: &str,
        secrets: &dyn SecretReader,
        clock: &Arc<dyn Clock>,
        network: &Arc<dyn SimulatedNetwork>,
    ) -> Result<Vec<Destination>, SettingsError> {
        Self::build_all_on(Some(network), all, rule, &TlsSettings::default(), secrets, clock)
    }

    fn build_all_on(
        simulated: Option<&Arc<dyn SimulatedNetwork>>,
        all: &[Self],
        rule: &str,
        tls: &TlsSettings,
        secrets: &dyn SecretReader,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Destination>, SettingsError> {
        let mut built = Vec::with_capacity(all.len());
        for (index, Self(settings)) in all.iter().enumerate() {
            let number = 1 + all[..index].iter().filter(|other| other.0.kind() == settings.kind()).count();
            let (clock, simulated) = (Arc::clone(clock), simulated.cloned());
            let context = ChannelContext { owner: rule, number, tls, secrets: Some(secrets), clock, simulated };
            built.push(settings.build(&context)?);
        }
        Ok(built)
    }
}
