//! Environments, workspaces, tasks and users are renamed and deleted, on every node at once, and in copies.

use runlog_model::RunId;
use runlog_model::wire::admin::{
    AuditEntry, EnvironmentUpdate, NewEnvironment, NewTask, NewUser, NewWorkspace, TaskUpdate, UserUpdate,
    WorkspaceUpdate,
};
use runlog_model::wire::push::StartRun;
use runlog_model::workspaces::{Right, Rights};
use runlog_store::accounts::CallerKind;
use runlog_store::audit::{AuditContext, AuditFilter, DELETE_ENVIRONMENT, DELETE_USER};
use runlog_store::{ErrorKind, Result, Store};

use super::{Archive, Copy};

fn audited(archive: &Archive, action: &str) -> Store {
    archive.store.with_audit(AuditContext::new(AuditEntry {
        at: archive.now(),
        caller_id: "-".to_owned(),
        caller_name: "ada".to_owned(),
        action: action.to_owned(),
        subject: String::new(),
        status: 204,
        address: String::new(),
        request_id: "one".to_owned(),
    }))
}

#[track_caller]
fn conflicts<T: std::fmt::Debug>(outcome: Result<T>, words: &[&str]) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

fn new_workspace(name: &str) -> NewWorkspace {
    NewWorkspace { id: None, environment_id: None, name: name.to_owned(), description: None, owner: None }
}

fn new_user(name: &str, administrator: bool) -> NewUser {
    NewUser { name: name.to_owned(), administrator }
}

async fn renamed_workspaces_keep_their_contents() {
    let archive = Archive::new().await;
    let places = archive.store.workspaces();
    let task = places.task(archive.task_id).await.unwrap().unwrap();
    let (workspace, environment) = (task.workspace.id, task.workspace.environment.id);
    let update = TaskUpdate {
        name: " weekly ".to_owned(),
        version: "2.0".to_owned(),
        description: Some("orders".to_owned()),
        tags: vec!["late".to_owned()],
    };
    let changed = places.update_task(task.id, &update).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.version.as_str()), ("weekly", "2.0"));
    assert_eq!((changed.tags.as_slice(), changed.workspace.id), (["late".to_owned()].as_slice(), workspace));
    // Tasks of one name in a workspace are allowed, workspaces of one name in an environment are not.
    let twin = NewTask {
        id: None,
        workspace_id: workspace,
        name: "twin".to_owned(),
        version: None,
        description: None,
        tags: Vec::new(),
    };
    let twin = places.create_task(&twin).await.unwrap();
    places.update_task(twin.id, &update).await.unwrap();
    let other = places.create_workspace(&new_workspace("other"), "ada").await.unwrap();
    let named = |name: &str| WorkspaceUpdate { name: name.to_owned(), description: None, owner: "bob".to_owned() };
    conflicts(places.update_workspace(other.id, &named("team")).await, &["\"team\""]);
    let changed = places.update_workspace(workspace, &named("crew")).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.owner.as_str()), ("crew", "bob"));
    places.update_workspace(other.id, &named("team")).await.unwrap();

    let update = EnvironmentUpdate { name: "live".to_owned(), description: Some("day".to_owned()) };
    let changed = places.update_environment(environment, &update).await.unwrap();
    assert!(changed.is_default && changed.name == "live" && changed.description.as_deref() == Some("day"));
    let second = NewEnvironment { id: None, name: "test".to_owned(), description: None };
    let second = places.create_environment(&second).await.unwrap();
    conflicts(places.update_environment(second.id, &update).await, &["\"live\""]);
    let empty = EnvironmentUpdate { name: " ".to_owned(), description: None };
    assert_eq!(places.update_environment(second.id, &empty).await.unwrap_err().kind(), ErrorKind::Invalid);
}

async fn only_what_is_empty_is_deleted() {
    let archive = Archive::new().await;
    let places = archive.store.workspaces();
    let task = places.task(archive.task_id).await.unwrap().unwrap();
    let (old, environment) = (task.workspace.id, task.workspace.environment.id);
    conflicts(places.delete_task(task.id).await, &["\"nightly\"", "1 run.", "renamed"]);
    conflicts(places.delete_workspace(old).await, &["\"team\"", "1 task:", "first"]);
    conflicts(places.delete_environment(environment).await, &["1 workspace:", "first"]);

    // A task that was moved leaves its runs behind.
    let new = places.create_workspace(&new_workspace("new"), "ada").await.unwrap();
    let mut moved = task.clone();
    moved.workspace = new.clone();
    places.upsert_task(&moved).await.unwrap();
    conflicts(places.delete_workspace(old).await, &["1 run of tasks that were moved"]);

    let user = archive.store.accounts().create_user(&new_user("kim", false)).await.unwrap();
    let rights: Rights = [Right::View].into_iter().collect();
    let empty = places.create_workspace(&new_workspace("empty"), "ada").await.unwrap();
    archive.store.accounts().set_rights(empty.id, CallerKind::User, &user.id, rights).await.unwrap();
    let second = NewEnvironment { id: None, name: "test".to_owned(), description: None };
    let second = places.create_environment(&second).await.unwrap();
    audited(&archive, "delete workspace").workspaces().delete_workspace(empty.id).await.unwrap();
    assert!(places.get(empty.id).await.unwrap().is_none());
    assert_eq!(places.delete_workspace(empty.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    places.delete_environment(second.id).await.unwrap();
    assert_eq!(places.environments().await.unwrap().len(), 1);
    let filter = AuditFilter { subject: Some(empty.id.to_string()), limit: 10, ..AuditFilter::default() };
    let (entries, _) = archive.store.audit().entries(&filter).await.unwrap();
    assert_eq!(entries[0].subject, format!("{} empty", empty.id));

    // The default environment goes last.
    let archive = Archive::empty().await;
    let places = archive.store.workspaces();
    let made = places.create_workspace(&new_workspace("team"), "ada").await.unwrap();
    places.delete_workspace(made.id).await.unwrap();
    let second = NewEnvironment { id: None, name: "test".to_owned(), description: None };
    let second = places.create_environment(&second).await.unwrap();
    conflicts(places.delete_environment(made.environment.id).await, &["is the default"]);
    places.delete_environment(second.id).await.unwrap();
    places.delete_environment(made.environment.id).await.unwrap();
    assert!(places.create_workspace(&new_workspace("team"), "ada").await.unwrap().environment.is_default);
}

async fn a_deleted_user_is_refused_by_every_node_at_once() {
    let archive = Archive::new().await;
    let accounts = archive.store.accounts();
    let workspace = archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id;
    let user = accounts.create_user(&new_user("kim", false)).await.unwrap();
    let token = accounts.create_token(&user.id, "laptop").await.unwrap().token.unwrap();
    let session = accounts.open_session(&token).await.unwrap().unwrap().text;
    let rights: Rights = [Right::View].into_iter().collect();
    accounts.set_rights(workspace, CallerKind::User, &user.id, rights).await.unwrap();
    let node = archive.another_node().await;
    assert!(node.accounts().authenticate_token(&token).await.unwrap().is_some());
    assert!(node.accounts().session(&session).await.unwrap().is_some());

    accounts.delete_user(&user.id).await.unwrap();
    assert!(node.accounts().authenticate_token(&token).await.unwrap().is_none());
    assert!(node.accounts().session(&session).await.unwrap().is_none());
    assert!(node.accounts().open_session(&token).await.unwrap().is_none());
    assert!(accounts.tokens(Some(&user.id)).await.unwrap().is_empty());
    let granted = accounts.granted_rights(workspace, CallerKind::User, &user.id).await.unwrap();
    assert_eq!(granted, Rights::NONE);
    assert_eq!(accounts.delete_user(&user.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    let given = accounts.set_rights(workspace, CallerKind::User, &user.id, rights).await;
    assert_eq!(given.unwrap_err().kind(), ErrorKind::NotFound);
    // The name can be used again, by somebody without any of this.
    let again = accounts.create_user(&new_user("kim", false)).await.unwrap();
    assert!(again.id != user.id && accounts.tokens(Some(&again.id)).await.unwrap().is_empty());
}

async fn an_administrator_remains_whoever_deletes_or_demotes_others() {
    let archive = Archive::new().await;
    let accounts = archive.store.accounts();
    let ada = accounts.create_user(&new_user("ada", true)).await.unwrap();
    let bob = accounts.create_user(&new_user("bob", true)).await.unwrap();
    let update = |name: &str, administrator| UserUpdate { name: name.to_owned(), administrator };
    conflicts(accounts.update_user(&bob.id, &update("ada", true)).await, &["\"ada\""]);
    // Each demotes the other at the same moment.
    let (demoted, plain) = (update("ada", false), update("bob", false));
    let both =
        futures::future::join(accounts.update_user(&ada.id, &demoted), accounts.update_user(&bob.id, &plain)).await;
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
    let users = accounts.users().await.unwrap();
    let last = users.iter().find(|user| user.administrator).unwrap();
    conflicts(accounts.delete_user(&last.id).await, &["last administrator"]);
    conflicts(accounts.update_user(&last.id, &update("eve", false)).await, &["last administrator"]);
    assert_eq!(accounts.update_user(&last.id, &update("eve", true)).await.unwrap().name, "eve");
    let other = users.iter().find(|user| !user.administrator).unwrap();
    accounts.delete_user(&other.id).await.unwrap();
}

/// A run without its task, or a task that is deleted although it runs, would be a lie.
async fn a_task_runs_or_is_deleted_and_comes_back_when_its_upstream_lists_it() {
    let archive = Archive::new().await;
    let places = archive.store.workspaces();
    let workspace_id = places.task(archive.task_id).await.unwrap().unwrap().workspace.id;
    for number in 0..8 {
        let name = format!("task {number}");
        let new = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
        let task = places.create_task(&new).await.unwrap();
        let run: RunId = format!("6c0e5a34-0000-4000-8000-{number:012}").parse().unwrap();
        let start = StartRun::of_task(task.id);
        let starting = archive.store.runs().start(run, &start, &archive.caller);
        let (deleted, started) = futures::future::join(places.delete_task(task.id), starting).await;
        assert!(deleted.is_ok() != started.is_ok(), "{deleted:?} {started:?}");
        if let Err(error) = started {
            assert!([ErrorKind::NotFound, ErrorKind::Conflict].contains(&error.kind()), "{error:?}");
        }
        assert_eq!(places.task(task.id).await.unwrap().is_some(), deleted.is_err());
        places.upsert_task(&task).await.unwrap();
        assert_eq!(places.task(task.id).await.unwrap().unwrap().name, task.name);
    }
}

/// A copy was refused after the deletion of a user, and failed where names were exchanged.
async fn what_was_deleted_or_renamed_is_so_in_a_copy_that_is_made_again() {
    let archive = Archive::new().await;
    let copy = Copy::empty().await;
    let (accounts, places) = (archive.store.accounts(), archive.store.workspaces());
    accounts.create_user(&new_user("admin", true)).await.unwrap();
    let kim = accounts.create_user(&new_user("kim", false)).await.unwrap();
    let lee = accounts.create_user(&new_user("lee", false)).await.unwrap();
    let max = accounts.create_user(&new_user("max", false)).await.unwrap();
    let second = NewEnvironment { id: None, name: "test".to_owned(), description: None };
    let second = places.create_environment(&second).await.unwrap();
    let empty = NewWorkspace { environment_id: Some(second.id), ..new_workspace("empty") };
    let empty = places.create_workspace(&empty, "ada").await.unwrap();
    accounts.create_token(&kim.id, "laptop").await.unwrap();
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();

    places.delete_workspace(empty.id).await.unwrap();
    audited(&archive, DELETE_ENVIRONMENT).workspaces().delete_environment(second.id).await.unwrap();
    audited(&archive, DELETE_USER).accounts().delete_user(&kim.id).await.unwrap();
    let again = accounts.create_user(&new_user("kim", false)).await.unwrap();
    let update = |name: &str| UserUpdate { name: name.to_owned(), administrator: false };
    for (id, name) in [(&lee.id, "nobody"), (&max.id, "lee"), (&lee.id, "max")] {
        accounts.update_user(id, &update(name)).await.unwrap();
    }
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(copy.store.accounts().users().await.unwrap(), accounts.users().await.unwrap());
    assert!(copy.store.accounts().users().await.unwrap().iter().any(|user| user.id == again.id));
    assert_eq!(copy.store.workspaces().environments().await.unwrap().len(), 1);
    assert!(copy.store.workspaces().get(empty.id).await.unwrap().is_none());

    // An earlier copy is not written over what is newer.
    let older = copy.store.maintenance().copy_to(archive.store.maintenance(), |_| ()).await;
    older.unwrap();
    accounts.create_user(&new_user("new", false)).await.unwrap();
    conflicts(copy.store.maintenance().copy_to(archive.store.maintenance(), |_| ()).await, &["users"]);
}

crate::common::pairs::on_each_pair! {
    async: renamed_workspaces_keep_their_contents,
        a_task_runs_or_is_deleted_and_comes_back_when_its_upstream_lists_it,
        only_what_is_empty_is_deleted,
        a_deleted_user_is_refused_by_every_node_at_once,
        an_administrator_remains_whoever_deletes_or_demotes_others,
        what_was_deleted_or_renamed_is_so_in_a_copy_that_is_made_again;
    sync:
}
