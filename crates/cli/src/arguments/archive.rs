//! The location of an archive, and opening it.

use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use runlog_store::{SecretUrl, Store, StoreSettings};

use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::note;
use crate::system::{SystemClock, SystemRandom};

/// The folder for temporary files of SQL queries, in the data folder.
pub(crate) const SPILL_FOLDER: &str = "sql";

/// The location of an archive that does not fit on one machine.
#[derive(Debug, clap::Args)]
pub(crate) struct LocationArgs {
    /// PostgreSQL database for the catalog, postgres://USER:PASSWORD@HOST/DATABASE [default: a file in the data folder]
    #[arg(long, env = "RUNLOG_CATALOG", global = true, hide_env_values = true, value_name = "URL", value_parser = catalog)]
    pub(crate) catalog: Option<SecretUrl>,
    /// Bucket for the objects: s3://BUCKET/PREFIX, gs://… or az://…, with options as query parameters [default: the
    /// data folder]
    #[arg(long, env = "RUNLOG_OBJECTS", global = true, hide_env_values = true, value_name = "URL", value_parser = objects)]
    pub(crate) objects: Option<SecretUrl>,
}

pub(crate) fn catalog(text: &str) -> Result<SecretUrl, String> {
    SecretUrl::read(text, &["postgres", "postgresql"])
}

pub(crate) fn objects(text: &str) -> Result<SecretUrl, String> {
    SecretUrl::read(text, &["s3", "gs", "az", "azure", "abfss"])
}

/// Which archive.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenArgs {
    /// Data folder of the archive
    #[arg(long, env = "RUNLOG_DATA", default_value = "runlog-data", value_name = "FOLDER", global = true)]
    data: PathBuf,
    #[command(flatten)]
    places: LocationArgs,
}

impl OpenArgs {
    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            catalog: self.places.catalog.clone(),
            objects: self.places.objects.clone(),
            ..StoreSettings::in_folder(&self.data)
        }
    }

    /// Its folder, which need not be there when catalog and objects are elsewhere.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// True if there is an archive.
    pub(crate) fn is_there(&self) -> bool {
        folder_without_archive(&self.settings()).is_none()
    }

    /// Opens the archive, which must be there.
    pub(crate) async fn open(&self) -> Outcome<Store> {
        self.open_with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut StoreSettings)) -> Outcome<Store> {
        let mut settings = self.settings();
        change(&mut settings);
        if folder_without_archive(&settings).is_some() {
            let message = format!("there is no archive in {}; set its folder with --data", self.data.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        open(settings).await
    }
}

/// The absolute path of the folder that should contain an archive but does not.
pub(crate) fn folder_without_archive(settings: &StoreSettings) -> Option<PathBuf> {
    let folder = &settings.data_folder;
    let is_there = settings.catalog.is_some() || folder.join("catalog.sqlite").exists();
    (!is_there).then(|| path::absolute(folder).unwrap_or_else(|_| folder.clone()))
}

/// Opens an archive. If there is none, creates it and says so, because the location may be wrong.
pub(crate) async fn open_or_create(settings: StoreSettings) -> Outcome<Store> {
    if let Some(folder) = folder_without_archive(&settings) {
        let advice = "to use another folder, set --data, RUNLOG_DATA or archive.data in the settings";
        note(format!("there is no archive in {}; creating one there; {advice}", folder.display()));
    }
    open(settings).await
}

/// Opens an archive, or creates one.
pub(crate) async fn open(settings: StoreSettings) -> Outcome<Store> {
    let place = settings.location();
    Store::open(settings, Arc::new(SystemClock), Arc::new(SystemRandom))
        .await
        .map_err(|error| Failure::from(error).while_doing(format!("cannot open the archive in {place}")))
}
