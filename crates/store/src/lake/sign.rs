//! Signing of engines' requests for individual objects of tables.

use runlog_model::WorkspaceId;

use crate::catalog::sql::Sql;
use crate::error::Result;
use crate::limits;
use crate::objects::s3_signing::{BucketLocation, RequestHeaders, SignedRequest};
use crate::parts::Lake;

/// A request that an engine wants to send to the bucket.
#[derive(Debug, Clone, Copy)]
pub struct ObjectRequest<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The URL of the request.
    pub uri: &'a str,
    /// The headers of the request.
    pub headers: &'a RequestHeaders,
}

impl Lake {
    /// Returns the location to which engines send requests signed by [`Lake::sign`]; `None` if the objects are not in
    /// an S3 bucket.
    pub fn bucket_location(&self) -> Option<&BucketLocation> {
        self.core.s3_signing().map(|signing| signing.location())
    }

    /// Signs a request that reads an object of a table of these workspaces, or of all workspaces if `None`. Returns
    /// `None` for all other requests.
    ///
    /// `Unavailable`: the service has no credentials at the moment.
    pub async fn sign(
        &self,
        request: ObjectRequest<'_>,
        workspace_ids: Option<&[WorkspaceId]>,
    ) -> Result<Option<SignedRequest>> {
        let Some(signing) = self.core.s3_signing() else { return Ok(None) };
        let Some(key) = signing.key_of(request.uri) else { return Ok(None) };
        let Some(owner) = self.workspace_of(&key).await? else { return Ok(None) };
        if workspace_ids.is_some_and(|readable| !readable.iter().any(|id| id.to_string() == owner)) {
            return Ok(None);
        }
        signing.sign(request.method, request.uri, request.headers).await
    }

    /// Returns the workspace whose tables contain an object, or contained it until recently, for queries in progress.
    async fn workspace_of(&self, key: &str) -> Result<Option<String>> {
        let since = self.core.now().as_millis() - limits::REPLACED_RETENTION_MS;
        let mut query = Sql::new("SELECT workspace_id FROM segments WHERE file_group IS NOT NULL AND object_key = ");
        query.push_bind(key.to_owned()).push(" AND (replaced_at IS NULL OR replaced_at > ").push_bind(since);
        query.push(") UNION ALL SELECT workspace_id FROM lake_objects WHERE object_key = ").push_bind(key.to_owned());
        query.push(" AND (replaced_at IS NULL OR replaced_at > ").push_bind(since).push(")");
        let found: Option<String> = query.build_query_scalar().fetch_optional(self.core.catalog().read()).await?;
        Ok(found)
    }
}
