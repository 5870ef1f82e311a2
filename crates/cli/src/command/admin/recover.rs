//! A new administrator token, created with direct access to the archive.

use std::path::{Path, PathBuf};

use runlog_store::{Store, StoreSettings};

use crate::admin_token::AdminTokenFile;
use crate::arguments::archive::{self, LocationArgs, folder_without_archive};
use crate::arguments::span::Span;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{self, note, result_line};

/// Creates the token, and writes it to the file in the data folder, or prints it.
pub(super) async fn recover(life: Span, data: &Path, print: bool, places: LocationArgs) -> Outcome {
    let settings = StoreSettings { catalog: places.catalog, objects: places.objects, ..StoreSettings::in_folder(data) };
    if let Some(folder) = folder_without_archive(&settings) {
        return Err(Failure::new(Exit::Usage, format!("there is no archive in {}", folder.display())));
    }
    // The file is written first: otherwise, a token that cannot be written to it would remain unused in the catalog.
    let file = if print { None } else { Some(AdminTokenFile::prepare(data)?) };
    let store = archive::open(settings).await?;
    let outcome = make_token(&store, life, file).await;
    store.close().await;
    let (administrator, path) = outcome?;
    let place = path.map_or_else(|| "was printed".to_owned(), |path| format!("is in {}", path.display()));
    note(format!(
        "a new token for {administrator} {place} and expires in {}; older tokens stay valid. Create a permanent one with \
         `runlog admin tokens create NAME`",
        terminal::duration(life.as_millis())
    ));
    Ok(())
}

/// Creates a token of an administrator and writes it to the file, or prints it if there is no file. Returns the name of
/// the administrator and the path of the file.
async fn make_token(store: &Store, life: Span, file: Option<AdminTokenFile>) -> Outcome<(String, Option<PathBuf>)> {
    let users = store.accounts().users().await?;
    let administrator = users.into_iter().find(|user| user.administrator).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            "the archive has no administrator yet; `runlog serve` creates one at its first start",
        )
    })?;
    let made =
        store.accounts().create_expiring_token(&administrator.id, "recovered on the machine", life.as_millis()).await?;
    let token = made.token.as_deref().unwrap_or_default();
    let handed_out = match file {
        Some(file) => file.write(token).map(Some),
        None => result_line(token).map(|()| None).map_err(Failure::from),
    };
    match handed_out {
        Ok(path) => Ok((administrator.name, path)),
        Err(failure) => {
            // A token left over from a failed attempt is valid for one day at most.
            let _ = store.accounts().revoke_token(&made.id, None).await;
            Err(failure)
        }
    }
}
