//! Administration of a Runlog: workspaces, accounts, tokens and rights.

use http::Method;
use runlog_model::wire::admin::{
    EnvironmentUpdate, KeyBody, NewEnvironment, NewKey, NewServiceAccount, NewTask, NewToken, NewUser, NewWorkspace,
    PermissionBody, ServiceAccountBody, TaskUpdate, TokenBody, UserBody, UserUpdate, WorkspaceUpdate,
};
use runlog_model::wire::workspaces::{EnvironmentBody, TaskBody, TaskItem, WorkspaceBody};
use runlog_model::workspaces::Right;
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};
use serde_json::Value;

use super::lists::{ListIds, readable};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Client, lenient};

/// Maximum number of tasks that the API returns per page.
const LIST_PAGE_MAX: u64 = 100;

/// Whose rights in a workspace.
#[derive(Debug, Clone, Copy)]
pub enum PermissionHolder<'a> {
    /// A user's, by id.
    User(&'a str),
    /// A service account's, by id.
    ServiceAccount(&'a str),
}

/// The details of a task that a service returns only for a single task. Missing details are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskDescription {
    /// Version.
    pub version: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
}

impl Client {
    /// `GET /orchestration/environments`.
    pub async fn environments(&self) -> Result<Vec<EnvironmentBody>> {
        let items = self.get_json(&["orchestration", "environments"], &[]).await?;
        Ok(readable("environments", items))
    }

    /// `POST /runlog/v1/environments`.
    pub async fn create_environment(&self, new: &NewEnvironment) -> Result<EnvironmentBody> {
        self.send_json(Method::POST, &["runlog", "v1", "environments"], new).await?.json()
    }

    /// `PUT /runlog/v1/environments/{id}`.
    pub async fn update_environment(&self, id: EnvironmentId, update: &EnvironmentUpdate) -> Result<EnvironmentBody> {
        self.send_json(Method::PUT, &["runlog", "v1", "environments", &id.to_string()], update).await?.json()
    }

    /// `DELETE /runlog/v1/environments/{id}`.
    pub async fn delete_environment(&self, id: EnvironmentId) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "environments", &id.to_string()], &[])).await.map(drop)
    }

    /// `GET /orchestration/workspaces`.
    pub async fn workspaces(&self) -> Result<Vec<WorkspaceBody>> {
        let items = self.get_json(&["orchestration", "workspaces"], &[]).await?;
        Ok(readable("workspaces", items))
    }

    /// `POST /runlog/v1/workspaces`.
    pub async fn create_workspace(&self, new: &NewWorkspace) -> Result<WorkspaceBody> {
        self.send_json(Method::POST, &["runlog", "v1", "workspaces"], new).await?.json()
    }

    /// `PUT /runlog/v1/workspaces/{id}`.
    pub async fn update_workspace(&self, id: WorkspaceId, update: &WorkspaceUpdate) -> Result<WorkspaceBody> {
        self.send_json(Method::PUT, &["runlog", "v1", "workspaces", &id.to_string()], update).await?.json()
    }

    /// `DELETE /runlog/v1/workspaces/{id}`.
    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "workspaces", &id.to_string()], &[])).await.map(drop)
    }

    /// All tasks of a workspace, or of all that the caller may view: `GET /orchestration/executables/tasks`.
    pub async fn tasks(&self, workspace: Option<WorkspaceId>, name: Option<&str>) -> Result<Vec<TaskItem>> {
        let (mut tasks, mut ids, mut offset) = (Vec::new(), ListIds::default(), 0);
        loop {
            let mut query = vec![("limit", LIST_PAGE_MAX.to_string()), ("offset", offset.to_string())];
            query.extend(workspace.map(|id| ("workspaceId", id.to_string())));
            query.extend(name.map(|name| ("name", name.to_owned())));
            let mut page: Value = self.get_json(&["orchestration", "executables", "tasks"], &query).await?;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return Err(Error::new(ErrorKind::Protocol, "the service's list of tasks has no items"));
            };
            // Without a total, the end of the list is a page that has nothing new.
            let (came, total) = (items.len() as u64, page.get("total").and_then(lenient::count).unwrap_or(u64::MAX));
            let id_of = |item: &Value| item.get("executable").and_then(Value::as_str).unwrap_or_default().to_owned();
            let named: Vec<String> = items.iter().map(id_of).collect();
            let new = ids.take("tasks", offset, LIST_PAGE_MAX, named.iter().map(String::as_str))?;
            offset += came;
            tasks.extend(items);
            if new == 0 || offset >= total {
                return Ok(readable("tasks", tasks));
            }
        }
    }

    /// `POST /runlog/v1/tasks`.
    pub async fn create_task(&self, new: &NewTask) -> Result<TaskItem> {
        self.send_json(Method::POST, &["runlog", "v1", "tasks"], new).await?.json()
    }

    /// `GET /orchestration/executables/tasks/{id}`.
    pub async fn task(&self, id: TaskId) -> Result<TaskBody> {
        self.get_json(&["orchestration", "executables", "tasks", &id.to_string()], &[]).await
    }

    /// Returns the details of a task: `GET /orchestration/executables/tasks/{id}`. The request has the lowest priority.
    pub async fn task_description(&self, id: TaskId) -> Result<TaskDescription> {
        let path = ["orchestration", "executables", "tasks", &id.to_string()];
        let body: Value = self.send(self.request(Method::GET, &path, &[]).in_background()).await?.json()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let tags = body.get("tags").and_then(Value::as_array).into_iter().flatten();
        let tags = tags.filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(TaskDescription { version: text("version"), description: text("description"), tags })
    }

    /// `PUT /runlog/v1/tasks/{id}`.
    pub async fn update_task(&self, id: TaskId, update: &TaskUpdate) -> Result<TaskBody> {
        self.send_json(Method::PUT, &["runlog", "v1", "tasks", &id.to_string()], update).await?.json()
    }

    /// `DELETE /runlog/v1/tasks/{id}`.
    pub async fn delete_task(&self, id: TaskId) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "tasks", &id.to_string()], &[])).await.map(drop)
    }

    /// `GET /runlog/v1/users`.
    pub async fn users(&self) -> Result<Vec<UserBody>> {
        self.get_json(&["runlog", "v1", "users"], &[]).await
    }

    /// `POST /runlog/v1/users`.
    pub async fn create_user(&self, new: &NewUser) -> Result<UserBody> {
        self.send_json(Method::POST, &["runlog", "v1", "users"], new).await?.json()
    }

    /// `PUT /runlog/v1/users/{id}`.
    pub async fn update_user(&self, id: &str, update: &UserUpdate) -> Result<UserBody> {
        self.send_json(Method::PUT, &["runlog", "v1", "users", id], update).await?.json()
    }

    /// `DELETE /runlog/v1/users/{id}`.
    pub async fn delete_user(&self, id: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "users", id], &[])).await.map(drop)
    }

    /// `GET /runlog/v1/tokens`.
    pub async fn tokens(&self) -> Result<Vec<TokenBody>> {
        self.get_json(&["runlog", "v1", "tokens"], &[]).await
    }

    /// `POST /runlog/v1/tokens`; the answer holds the token, this once.
    pub async fn create_token(&self, new: &NewToken) -> Result<TokenBody> {
        self.send_json(Method::POST, &["runlog", "v1", "tokens"], new).await?.json()
    }

    /// `DELETE /runlog/v1/tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "tokens", id], &[])).await.map(drop)
    }

    /// `GET /runlog/v1/keys`.
    pub async fn keys(&self) -> Result<Vec<KeyBody>> {
        self.get_json(&["runlog", "v1", "keys"], &[]).await
    }

    /// `POST /runlog/v1/keys`.
    pub async fn rotate_key(&self, new: &NewKey) -> Result<KeyBody> {
        self.send_json(Method::POST, &["runlog", "v1", "keys"], new).await?.json()
    }

    /// `GET /account/service-accounts`.
    pub async fn service_accounts(&self) -> Result<Vec<ServiceAccountBody>> {
        self.get_json(&["account", "service-accounts"], &[]).await
    }

    /// `POST /account/service-accounts`; the answer holds the secret, this once.
    pub async fn create_service_account(&self, new: &NewServiceAccount) -> Result<ServiceAccountBody> {
        self.send_json(Method::POST, &["account", "service-accounts"], new).await?.json()
    }

    /// `DELETE /account/service-accounts/{id}`.
    pub async fn delete_service_account(&self, id: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &["account", "service-accounts", id], &[])).await.map(drop)
    }

    /// The rights of someone in a workspace: `GET /security/workspaces/{id}/…/permissions`.
    pub async fn permissions(&self, workspace: WorkspaceId, of: PermissionHolder<'_>) -> Result<Vec<Right>> {
        let workspace = workspace.to_string();
        let body: PermissionBody = self.get_json(&permissions_path(&workspace, of), &[]).await?;
        Ok(body.permissions)
    }

    /// Gives someone these rights and only these: `PUT`.
    pub async fn set_permissions(
        &self,
        workspace: WorkspaceId,
        of: PermissionHolder<'_>,
        rights: &[Right],
    ) -> Result<()> {
        let workspace = workspace.to_string();
        self.send_json(Method::PUT, &permissions_path(&workspace, of), &rights).await.map(drop)
    }

    /// Removes all rights: `DELETE`.
    pub async fn delete_permissions(&self, workspace: WorkspaceId, of: PermissionHolder<'_>) -> Result<()> {
        let workspace = workspace.to_string();
        self.send(self.request(Method::DELETE, &permissions_path(&workspace, of), &[])).await.map(drop)
    }
}

fn permissions_path<'a>(workspace: &'a str, of: PermissionHolder<'a>) -> [&'a str; 6] {
    let (kind, id) = match of {
        PermissionHolder::User(id) => ("users", id),
        PermissionHolder::ServiceAccount(id) => ("service-accounts", id),
    };
    ["security", "workspaces", workspace, kind, id, "permissions"]
}
