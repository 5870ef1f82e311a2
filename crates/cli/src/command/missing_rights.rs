//! Notes on workspaces that a result does not cover because the caller may not read them: without a note, they would
//! appear to be empty.

use runlog_client::Client;
use runlog_model::WorkspaceId;
use runlog_model::wire::session::{SessionBody, SessionWorkspace};
use runlog_model::workspaces::Right;

use crate::render::screen::Stream;
use crate::render::terminal::{counted, note};

/// Names of workspaces that a note lists.
const NAMES_MAX: usize = 5;

/// Says which workspaces are left out of a result about logs, of all workspaces or of the one in the query. A service that
/// does not say what the caller may do is not asked again.
pub(crate) async fn note_unreadable_workspaces(client: &Client, query: &[(&str, String)]) {
    let Some(caller) = note_missing_rights(client).await else { return };
    let named = query.iter().find(|(name, _)| *name == "workspaceId");
    let wanted: Option<WorkspaceId> = named.and_then(|(_, id)| id.parse().ok());
    let is_wanted = |workspace: &&SessionWorkspace| wanted.is_none_or(|wanted| wanted == workspace.id);
    let left_out = caller.workspaces.iter().filter(|workspace| !reads(workspace)).filter(is_wanted);
    note_left_out(left_out.map(|workspace| workspace.name.as_str()).collect());
}

/// Shows a note if the caller may not read the logs of any workspace. Returns a caller who may read some of them.
pub(crate) async fn note_missing_rights(client: &Client) -> Option<SessionBody> {
    let caller = client.session().await.ok().filter(|caller| !caller.administrator)?;
    if caller.workspaces.iter().any(reads) {
        return Some(caller);
    }
    let name = Stream::Note.shown_on_line(&caller.name).into_owned();
    note(format!(
        "{name} may not read the logs of any workspace, so nothing can be found; ask an administrator for the rights Author, \
         Viewer and Executor (`runlog admin rights grant`)"
    ));
    None
}

fn reads(workspace: &SessionWorkspace) -> bool {
    Right::READ_LOGS.iter().all(|right| workspace.rights.contains(right))
}

/// Shows a note that these workspaces are not part of a result.
pub(crate) fn note_left_out(names: Vec<&str>) {
    if names.is_empty() {
        return;
    }
    let mut shown: Vec<String> =
        names.iter().take(NAMES_MAX).map(|name| Stream::Note.shown_on_line(name).into_owned()).collect();
    if names.len() > NAMES_MAX {
        shown.push(format!("{} more", names.len() - NAMES_MAX));
    }
    note(format!(
        "not included: {} whose logs you may not read ({}); ask a manager of the workspace for the rights Author, Viewer and \
         Executor",
        counted(names.len() as u64, "workspace"),
        shown.join(", ")
    ));
}
