//! The sinks: one file for each kind of sink, with its settings, and shared code.
//!
//! `sink` is the interface of a sink, `kind` that of its settings; `http` is for sinks that use HTTP; `mapping` and
//! `template` name fields and files; `cut` truncates records. A new kind is another file, with a line in each of the
//! two lists below.

mod azure_monitor;
mod cut;
mod datadog;
mod elasticsearch;
pub(super) mod files;
pub(crate) mod http;
pub(super) mod kind;
mod loki;
mod mapping;
pub(super) mod openlineage;
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
use crate::settings::{SettingsError, names_of};

pub use sink::{
    Batch, Encoded, Item, Origin, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse, TenantContext,
};

/// The properties of a kind of sink.
#[derive(Debug)]
pub(super) struct KindInfo {
    /// Its name in settings.
    pub(super) name: &'static str,
    /// The groups of settings that it has.
    pub(super) groups: &'static [Group],
    /// The names of the settings that only this kind has.
    pub(super) own_names: fn() -> &'static [&'static str],
    /// The default size of a batch, and the largest.
    pub(super) batch: BatchBounds,
    pub(super) batch_max: BatchBounds,
}

macro_rules! kinds {
    ($($variant:ident($settings:ty),)+) => {
        /// The settings of a sink's kind, selected by `kind = "loki"`.
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

            /// Reads the settings of a kind; none if there is no such kind.
            pub(super) fn read<'de>(
                kind: &str,
                own: impl serde::Deserializer<'de, Error = serde_json::Error>,
            ) -> Result<Option<Self>, serde_json::Error> {
                $(if kind == <$settings as SinkKind>::NAME {
                    return <$settings>::deserialize(own).map(|settings| Some(Self::$variant(settings)));
                })+
                Ok(None)
            }

            /// Checks them without reading secrets.
            pub(super) fn check(&self, context: &SinkContext<'_>) -> Result<(), SettingsError> {
                match self {
                    $(Self::$variant(settings) => settings.check(context),)+
                }
            }

            /// Builds the destination.
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
    OpenLineage(openlineage::OpenLineageSettings),
}
