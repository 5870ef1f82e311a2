//! The caller and its rights.

use runlog_model::wire::session::SessionBody;

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// The caller and the workspaces in which it has rights: `GET /runlog/v1/session`.
    pub async fn session(&self) -> Result<SessionBody> {
        self.get_json(&["runlog", "v1", "session"], &[]).await
    }
}
