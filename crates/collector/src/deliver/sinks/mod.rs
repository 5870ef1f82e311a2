//! What records are sent to: one file for each kind of sink, with its settings, and what they share.
//!
//! `sink` says what a sink has to do, `kind` what its settings have to say; `http` is for those that speak HTTP; `mapping`
//! and `template` name fields and files; `cut` is for those that take no long ones. A new kind is a file beside these, and
//! a line in each of the two lists below.

mod azure_monitor;
mod cut;
mod datadog;
mod elasticsearch;
pub(super) mod files;
mod http;
pub(super) mod kind;
mod loki;
mod mapping;
pub(super) mod options;
mod otlp;
pub(super) mod sink;
mod splunk;
mod template;
pub(super) mod webhook;

use serde::Deserialize;

use self::kind::{SinkContext, SinkKind};
use self::options::Group;
use super::bounds::BatchBounds;
use super::destination::Destination;
use super::names::names_of;
use crate::settings::SettingsError;

pub use sink::{Batch, Encoded, Item, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse};

/// A kind of sink, as far as it is known before its settings are read.
#[derive(Debug)]
pub(super) struct KindInfo {
    /// The word for it.
    pub(super) name: &'static str,
    /// Which shared settings it has.
    pub(super) groups: &'static [Group],
    /// The names of those that are its own.
    pub(super) own_names: fn() -> &'static [&'static str],
    /// How large a batch is usually, and at most.
    pub(super) batch: BatchBounds,
    pub(super) batch_max: BatchBounds,
}

macro_rules! kinds {
    ($($variant:ident($settings:ty),)+) => {
        /// The settings that a sink's kind has of its own: `kind = "loki"` says which.
        #[derive(Debug)]
        pub(super) enum KindSettings {
            $($variant($settings),)+
        }

        impl KindSettings {
            /// Every kind.
            pub(super) const ALL: &'static [KindInfo] = &[$(KindInfo {
                name: <$settings as SinkKind>::NAME,
                groups: <$settings as SinkKind>::GROUPS,
                own_names: names_of::<$settings>,
                batch: <$settings as SinkKind>::BATCH,
                batch_max: <$settings as SinkKind>::BATCH_MAX,
            }),+];

            /// Reads what a kind has of its own; nothing when there is no such kind.
            pub(super) fn read<'de>(
                kind: &str,
                own: impl serde::Deserializer<'de, Error = serde_json::Error>,
            ) -> Result<Option<Self>, serde_json::Error> {
                $(if kind == <$settings as SinkKind>::NAME {
                    return <$settings>::deserialize(own).map(|settings| Some(Self::$variant(settings)));
                })+
                Ok(None)
            }

            /// What is wrong with them that shows without their secrets.
            pub(super) fn check(&self, context: &SinkContext<'_>) -> Result<(), SettingsError> {
                match self {
                    $(Self::$variant(settings) => settings.check(context),)+
                }
            }

            /// Where they deliver to.
            pub(super) fn destination(&self, context: &SinkContext<'_>) -> Result<Destination, SettingsError> {
                match self {
                    $(Self::$variant(settings) => settings.build(context).map(Destination::from),)+
                }
            }
        }
    };
}

kinds! {
    Files(files::FilesSettings),
    Otlp(otlp::OtlpSettings),
    Elasticsearch(elasticsearch::ElasticsearchSettings),
    Loki(loki::LokiSettings),
    Splunk(splunk::SplunkSettings),
    Datadog(datadog::DatadogSettings),
    AzureMonitor(azure_monitor::AzureMonitorSettings),
    Webhook(webhook::WebhookSettings),
}
