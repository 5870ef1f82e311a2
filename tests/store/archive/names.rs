//! Names: concurrent changes, upper and lower case, and characters that not every catalog accepts.

use std::collections::HashSet;

use futures::future::join_all;
use runlog_model::Runtime;
use runlog_model::run::{ArtifactPart, RuntimeKind};
use runlog_model::wire::admin::{AuditEntry, NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{FileFormat, RecordOrder, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_store::ErrorKind;
use runlog_store::alerts::NewAlert;
use runlog_store::audit::AuditFilter;
use runlog_store::collection::{FailedAttempt, UpstreamRun, UpstreamRunState};
use runlog_store::runs::{HistoryCondition, HistoryExclude, HistoryFilter, TaskOrder, TaskOverviewFilter};
use runlog_store::workspaces::TaskFilter;

use super::Archive;
use crate::common::record;

async fn workspace_of(archive: &Archive) -> WorkspaceId {
    archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id
}

fn task(id: Option<TaskId>, workspace_id: WorkspaceId, name: &str) -> NewTask {
    NewTask { id, workspace_id, name: name.to_owned(), version: None, description: None, tags: Vec::new() }
}

fn read_log(archive: &Archive, subject: &str) -> AuditEntry {
    AuditEntry {
        at: archive.now(),
        caller_id: "-".to_owned(),
        caller_name: "ada".to_owned(),
        action: "read log".to_owned(),
        subject: subject.to_owned(),
        status: 404,
        address: String::new(),
        request_id: "one".to_owned(),
    }
}

async fn subjects(archive: &Archive) -> Vec<String> {
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    let (entries, _) = archive.store.audit().entries(&filter).await.unwrap();
    entries.into_iter().map(|entry| entry.subject).collect()
}

async fn a_task_named_concurrently_is_created_once() {
    let archive = Archive::new().await;
    let workspace = workspace_of(&archive).await;
    let id: TaskId = "0123456789abcdef01234567".parse().unwrap();
    let by_id = (0..8).map(|_| {
        let (store, new) = (archive.store.clone(), task(Some(id), workspace, "weekly"));
        tokio::spawn(async move { store.workspaces().create_task(&new).await })
    });
    for made in join_all(by_id).await {
        assert_eq!(made.unwrap().unwrap().id, id);
    }
    let by_name = (0..8).map(|_| {
        let (store, new) = (archive.store.clone(), task(None, workspace, " hourly"));
        tokio::spawn(async move { store.workspaces().get_or_create_task(&new).await })
    });
    let made = join_all(by_name).await;
    let made: HashSet<String> = made.into_iter().map(|task| task.unwrap().unwrap().id.to_string()).collect();
    assert_eq!(made.len(), 1);
    let filter = TaskFilter { limit: 10, ..TaskFilter::default() };
    assert_eq!(archive.store.workspaces().tasks(&filter).await.unwrap().1, 3);
    let other = archive.store.workspaces().create_task(&task(Some(id), workspace, "monthly")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
}

async fn a_workspace_created_concurrently_is_created_once() {
    let archive = Archive::empty().await;
    let id: WorkspaceId = "0123456789abcdef01234567".parse().unwrap();
    let new = |name: &str| NewWorkspace {
        id: Some(id),
        environment_id: None,
        name: name.to_owned(),
        description: None,
        owner: None,
    };
    let making = (0..8).map(|_| {
        let (store, new) = (archive.store.clone(), new("team"));
        tokio::spawn(async move { store.workspaces().create_workspace(&new, "admin").await })
    });
    for made in join_all(making).await {
        assert_eq!(made.unwrap().unwrap().id, id);
    }
    assert_eq!(archive.store.workspaces().environments().await.unwrap().len(), 1);
    assert_eq!(archive.store.workspaces().list().await.unwrap().len(), 1);
    let other = archive.store.workspaces().create_workspace(&new("another"), "admin").await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    let same_name = NewWorkspace { id: None, ..new("team") };
    let taken = archive.store.workspaces().create_workspace(&same_name, "admin").await.unwrap_err();
    assert_eq!((taken.kind(), taken.to_string().contains("\"team\"")), (ErrorKind::Conflict, true));
}

/// SQLite makes only ASCII letters small, and so does PostgreSQL without a locale: each run of such a task made
/// another one.
async fn names_are_found_in_any_case_and_tags_to_the_letter() {
    let archive = Archive::new().await;
    let workspace = workspace_of(&archive).await;
    let new = NewTask { tags: vec!["Nightly".to_owned()], ..task(None, workspace, "Änderungen 100%") };
    let made = archive.store.workspaces().create_task(&new).await.unwrap();
    assert_eq!(archive.store.workspaces().get_or_create_task(&new).await.unwrap().id, made.id);

    let count = async |filter: TaskFilter| {
        archive.store.workspaces().tasks(&TaskFilter { limit: 10, ..filter }).await.unwrap().1
    };
    let long = "x".repeat(1_000);
    for (name, expected) in
        [("änd", 1), ("ÄND", 1), ("Änderungen 100%", 1), ("derungen", 0), ("_n", 0), (long.as_str(), 0)]
    {
        assert_eq!(count(TaskFilter { name: Some(name.to_owned()), ..TaskFilter::default() }).await, expected);
    }
    for (part, expected) in
        [("DERUNGEN 100%", 1), ("äNDER", 1), ("NIGHT", 1), ("100_", 0), ("ö", 0), (long.as_str(), 0)]
    {
        assert_eq!(count(TaskFilter { name_part: Some(part.to_owned()), ..TaskFilter::default() }).await, expected);
    }
    for (tag, expected) in [("Nightly", 1), ("nightly", 0), ("Night", 0)] {
        assert_eq!(count(TaskFilter { tags: vec![tag.to_owned()], ..TaskFilter::default() }).await, expected);
    }

    let lines = TaskOverviewFilter {
        workspace_ids: None,
        task_id: None,
        name_part: Some("ÄNDERUNG".to_owned()),
        tag: None,
        since: Timestamp::MIN,
        failing: false,
        order: TaskOrder::Name,
        reversed: false,
        recent: 0,
        limit: 10,
        offset: 0,
    };
    assert_eq!(archive.store.runs().task_overviews(&lines).await.unwrap().1, 1);
    for (tag, expected) in [("Nightly", 1), ("nightly", 0), ("Night", 0)] {
        let tagged = TaskOverviewFilter { tag: Some(tag.to_owned()), ..lines.clone() };
        assert_eq!(archive.store.runs().task_overviews(&tagged).await.unwrap().1, expected, "{tag}");
    }
    archive.store.runs().start(archive.run_id, &StartRun::of_task(archive.task_id), &archive.caller).await.unwrap();
    let history = async |part: &str, negated| {
        let filter = HistoryFilter {
            environment_id: Some(made.workspace.environment.id),
            workspace_ids: None,
            exclude: HistoryExclude::Plans,
            conditions: vec![HistoryCondition::NameHolds { part: part.to_owned(), negated }],
            limit: 10,
            offset: 0,
            after: None,
        };
        archive.store.runs().history(&filter).await.unwrap().len()
    };
    assert_eq!((history("NIGHT", false).await, history("NIGHT", true).await), (1, 0));
    assert_eq!((history("änd", false).await, history("änd", true).await), (0, 1));
}

/// PostgreSQL takes no NUL: requests to end a run whose error message contained one always failed with 503.
async fn a_text_with_a_nul_is_kept_without_it() {
    let archive = Archive::new().await;
    let artifact = ArtifactPart { name: Some("a\0b".to_owned()), ..ArtifactPart::default() };
    let start = StartRun { artifact, task_version: Some("1\0".to_owned()), ..StartRun::of_task(archive.task_id) };
    archive.store.runs().start(archive.run_id, &start, &archive.caller).await.unwrap();
    let error_message = Some("no table\0orders".to_owned());
    let finish = FinishRun { error_message, ..FinishRun::with_status(RunStatus::Failed) };
    archive.store.runs().finish(archive.run_id, &finish).await.unwrap();
    let run = archive.store.runs().get(archive.run_id).await.unwrap().unwrap();
    assert_eq!(run.error_message.as_deref(), Some("no table\u{fffd}orders"));
    assert_eq!((run.artifact.name.as_deref(), run.task_version.as_str()), (Some("a\u{fffd}b"), "1\u{fffd}"));

    let new = NewTask { version: Some("2\0".to_owned()), ..task(None, workspace_of(&archive).await, "odd") };
    let made = archive.store.workspaces().create_task(&new).await.unwrap();
    assert_eq!(archive.store.workspaces().task(made.id).await.unwrap().unwrap().version, "2\u{fffd}");
    archive.store.audit().record(read_log(&archive, "\0")).await.unwrap();
    assert_eq!(subjects(&archive).await, ["\u{fffd}"]);
}

/// What a destination answered was not kept, and so neither was that its delivery had failed: it was sent again for ever.
async fn an_answer_with_a_nul_is_kept_without_it() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(60_000);
    let deliveries = archive.store.deliveries();
    deliveries.register_sink("sink", "webhook", Some("over\0loaded")).await.unwrap();
    deliveries.enqueue_finished_runs("sink", |_| true).await.unwrap();
    let claimed = deliveries.claim("sink", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    deliveries.record_failure(&claimed, "over\0loaded", Some(archive.now())).await.unwrap();
    let metrics = deliveries.metrics().await.unwrap().remove(0);
    assert_eq!((metrics.due, metrics.failing), (1, 1));

    let alerts = archive.store.alerts();
    let alert = |occurrence: &str| NewAlert {
        rule: "night".to_owned(),
        destination: "chat".to_owned(),
        occurrence: occurrence.to_owned(),
        body: "{}".to_owned(),
        ..NewAlert::default()
    };
    alerts.enqueue(&[alert("one"), alert("two")]).await.unwrap();
    let first = alerts.claim("chat").await.unwrap().unwrap();
    alerts.record_failure(std::slice::from_ref(&first), "over\0loaded", archive.now()).await.unwrap();
    assert_eq!(alerts.backlog().await.unwrap()[0].last_error.as_deref(), Some("over\u{fffd}loaded"));
    let first = alerts.claim("chat").await.unwrap().unwrap();
    alerts.give_up(&first, "over\0loaded").await.unwrap();

    let told = UpstreamRun {
        run_id: archive.run_id,
        task_id: "a task".to_owned(),
        progress: UpstreamRunState::Pending,
        status: "a word".to_owned(),
        triggered_at: None,
        finished_at: None,
        due_at: archive.now(),
        body: "{}".to_owned(),
    };
    let collection = archive.store.collection();
    collection.upsert_runs("up", &[told]).await.unwrap();
    let claimed = collection.claim_run("up", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    let failed = FailedAttempt { error: "over\0loaded".to_owned(), expected: None, retry_at: archive.now() };
    collection.record_failure("up", &claimed, &failed).await.unwrap();
}

/// If one of several grouped writes failed, all of them were dropped although their callers had received responses.
async fn a_write_that_is_refused_takes_no_other_with_it() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    // The node assigns the same token to each page, which the catalog accepts once.
    let node = archive.node_without_chance().await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let (first, second, audited) = tokio::join!(
        node.pages().request_page(&request),
        node.pages().request_page(&request),
        node.audit().record(read_log(&archive, "a run"))
    );
    let refused: Vec<_> = [first, second].into_iter().filter_map(|page| page.err().map(|e| e.kind())).collect();
    assert_eq!(refused, [ErrorKind::Conflict]);
    audited.unwrap();
    assert_eq!(subjects(&archive).await, ["a run"]);
}

async fn tasks_are_found_by_what_their_newest_run_ran_and_where() {
    let archive = Archive::new().await;
    let start = |at: i64, artifact: &str, engine: &str| StartRun {
        trigger_timestamp: Some(Timestamp::clamped(at)),
        artifact: ArtifactPart { id: Some(artifact.to_owned()), ..ArtifactPart::default() },
        runtime: Some(Runtime {
            kind: Some(RuntimeKind::RemoteEngine),
            engine_id: Some(engine.to_owned()),
            run_profile_id: Some("profile".to_owned()),
            ..Runtime::default()
        }),
        ..StartRun::of_task(archive.task_id)
    };
    // The run that the archive of the tests has began later than these, and ran nothing that is known.
    let later = archive.now().as_millis() + 1_000;
    for (number, start) in [start(later, "old", "old"), start(later + 1, "new%", "new")].into_iter().enumerate() {
        let id = format!("6c0e5a34-0000-4000-8000-0000000000{number:02}").parse().unwrap();
        archive.store.runs().start(id, &start, &archive.caller).await.unwrap();
    }
    let count = async |artifact_id: Option<&str>, runtime: &[(&'static str, &str)]| {
        let filter = TaskFilter {
            artifact_id: artifact_id.map(str::to_owned),
            runtime: runtime.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            limit: 10,
            ..TaskFilter::default()
        };
        let (tasks, total) = archive.store.workspaces().tasks(&filter).await.unwrap();
        assert_eq!(tasks.len() as u64, total);
        total
    };
    assert_eq!((count(Some("new%"), &[]).await, count(Some("old"), &[]).await), (1, 0));
    assert_eq!((count(None, &[("id", "new")]).await, count(None, &[("id", "old")]).await), (1, 0));
    let all = [("type", "REMOTE_ENGINE"), ("id", "new"), ("runProfileId", "profile")];
    assert_eq!((count(Some("new%"), &all).await, count(Some("new_"), &all).await), (1, 0));
    assert_eq!((count(None, &[("type", "CLOUD")]).await, count(None, &[("runProfileId", "prof")]).await), (0, 0));
}

crate::common::pairs::on_each_pair! {
    async: a_task_named_concurrently_is_created_once,
        a_workspace_created_concurrently_is_created_once,
        names_are_found_in_any_case_and_tags_to_the_letter,
        a_text_with_a_nul_is_kept_without_it,
        an_answer_with_a_nul_is_kept_without_it,
        a_write_that_is_refused_takes_no_other_with_it,
        tasks_are_found_by_what_their_newest_run_ran_and_where;
    sync:
}
