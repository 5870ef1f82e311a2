//! The file of the first administrator's token.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::Outcome;

/// Name of the file in the data folder that holds the first administrator's token.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin.token";

/// The file of the administrator's token, readable only by the owner of the folder; it is written atomically.
pub(crate) struct AdminTokenFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl AdminTokenFile {
    /// Checks that the file can be written, before a token is created. Creates the folder with access for its owner
    /// only.
    pub(crate) fn prepare(data: &Path) -> Outcome<Self> {
        let prepare = || {
            DirBuilder::new().recursive(true).mode(0o700).create(data)?;
            // Temporary files of this library have mode 0600 from the start.
            tempfile::NamedTempFile::new_in(data)
        };
        let file = prepare().with_context(|| {
            format!("cannot write {} into {}; set another folder with --data", ADMIN_TOKEN_FILE, data.display())
        })?;
        Ok(Self { file, path: data.join(ADMIN_TOKEN_FILE) })
    }

    /// Writes the token; gives the place of the file.
    pub(crate) fn write(mut self, token: &str) -> Outcome<PathBuf> {
        let path = self.path;
        let mut write = || {
            writeln!(self.file, "{token}")?;
            self.file.as_file().sync_all()
        };
        let written = write().and_then(|()| Ok(self.file.persist(&path)?));
        written.with_context(|| {
            format!("cannot write {}; `runlog admin recover` creates another token", path.display())
        })?;
        Ok(path)
    }
}
