//! Tests the settings of the syslog listeners without listening.

use runlog_model::workspaces::Right;
use runlog_store::Store;

use crate::http::tls::NO_PROTOCOL;
use crate::ingest::syslog::settings::SyslogSettings;

/// Tests the token and its rights, and reads the certificate. Returns as whom messages are stored; or what is wrong.
pub async fn test_syslog(store: &Store, settings: &SyslogSettings) -> Result<String, String> {
    if let Some(files) = &settings.tls_files {
        files.load(NO_PROTOCOL).map_err(|error| error.to_string())?;
    }
    let accounts = store.accounts();
    let caller = accounts.authenticate_token(settings.token.expose()).await.map_err(|error| error.to_string())?;
    let caller = caller.ok_or("its token is not valid: create one with `runlog admin tokens create`")?;
    let may_publish =
        match accounts.workspaces_with(&caller, Right::Publish).await.map_err(|error| error.to_string())? {
            None => true,
            Some(workspaces) => match settings.workspace {
                Some(workspace) => workspaces.contains(&workspace),
                None => !workspaces.is_empty(),
            },
        };
    let place = settings.workspace.map_or("any workspace".to_owned(), |workspace| format!("workspace {workspace}"));
    match may_publish {
        true => Ok(format!("messages are stored as {}", caller.name)),
        false => Err(format!(
            "{} lacks the right Publisher in {place}: grant it with `runlog admin rights grant`",
            caller.name
        )),
    }
}
