//! Problems: the root causes of failed runs, and the states and notes that users give them, independent of the logs.

use arrow_array::cast::AsArray;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::problems::{NewProblemState, ProblemBody};
use runlog_model::wire::push::StartRun;
use runlog_model::{ProblemState, RunId, RunStatus, TaskId, Timestamp};
use runlog_store::ErrorKind;
use runlog_store::problems::{NewProblem, ProblemFilter, ProblemOrder};
use runlog_store::query::CatalogView;
use runlog_store::summaries::{ClaimedSummary, NewSummary};

use super::{Archive, Copy};
use crate::common::{finish_body, push, record};

const REFUSED: &str = "00000000000000aa";
const FULL: &str = "00000000000000bb";

const MINUTE_MS: i64 = 60_000;

fn problem(id: &str) -> Option<NewProblem> {
    Some(NewProblem { id: id.to_owned(), title: format!("title of {id}"), headline: None })
}

fn summary(of: ClaimedSummary, version: u32, problem: Option<NewProblem>) -> NewSummary {
    NewSummary { of, version, body: b"{}".to_vec(), error_groups: Vec::new(), problem }
}

fn state(state: ProblemState) -> NewProblemState {
    NewProblemState { state, until: None, note: None }
}

/// A run of a task that fails at this time, and whose log is sealed.
async fn failed(archive: &Archive, task: TaskId, ended_at: Timestamp) -> RunId {
    let run_id = archive.start_another_run_of(task).await;
    push(&archive.store, run_id, 1, &[record(1, "it broke")]).await.unwrap();
    archive.store.runs().finish(run_id, &finish_body(RunStatus::Failed, Some(ended_at))).await.unwrap();
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    run_id
}

/// Makes the summaries that are due, of runs that all failed of this.
async fn summarize(archive: &Archive, version: u32, id: &str) -> usize {
    let due = archive.store.summaries().claim_due(version).await.unwrap();
    let of = |due: &ClaimedSummary| summary(*due, version, problem(id).filter(|_| due.has_failed));
    let made: Vec<NewSummary> = due.iter().map(of).collect();
    archive.store.summaries().save_all(&made).await.unwrap();
    made.len()
}

/// A run that fails now of this.
async fn fails(archive: &Archive, id: &str) -> RunId {
    let run_id = failed(archive, archive.task_id, archive.now()).await;
    assert_eq!(summarize(archive, 7, id).await, 1);
    run_id
}

async fn another_task(archive: &Archive, name: &str) -> TaskId {
    let workspace_id = archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id;
    let name = name.to_owned();
    let task = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
    archive.store.workspaces().create_task(&task).await.unwrap().id
}

async fn listed(archive: &Archive, filter: ProblemFilter) -> Vec<ProblemBody> {
    let filter = ProblemFilter { limit: 10, ..filter };
    let (problems, total) = archive.store.problems().list(&filter).await.unwrap();
    assert_eq!(problems.len() as u64, total);
    problems
}

async fn ids(archive: &Archive, filter: ProblemFilter) -> Vec<String> {
    listed(archive, filter).await.into_iter().map(|problem| problem.id).collect()
}

async fn get(archive: &Archive, id: &str) -> ProblemBody {
    archive.store.problems().get(id).await.unwrap().unwrap()
}

impl Archive {
    async fn start_another_run_of(&self, task: TaskId) -> RunId {
        let run_id = self.start_another_run().await;
        if task == self.task_id {
            return run_id;
        }
        // A run of another task, with an ID that is as new.
        let mut text = run_id.to_string();
        text.replace_range(0..2, if text.starts_with("00") { "11" } else { "00" });
        let run_id = text.parse().unwrap();
        self.store.runs().start(run_id, &StartRun::of_task(task), &self.caller).await.unwrap();
        run_id
    }
}

async fn starts_of_several_tasks_are_the_newest_of_each() {
    let archive = Archive::new().await;
    let (task, other, idle) =
        (archive.task_id, another_task(&archive, "hourly").await, another_task(&archive, "idle").await);
    let now = archive.now();
    let before = |minutes: i64| now.plus_millis(-minutes * MINUTE_MS);
    for minutes in [30, 10, 20] {
        archive.start_run_at(Some(before(minutes))).await;
    }
    archive.start_another_run_of(other).await;
    let workspace = archive.store.workspaces().task(task).await.unwrap().unwrap().workspace.id;
    let starts = async |workspace, since, limit| {
        let tasks = [task, other, idle];
        let starts = archive.store.summaries().starts_of_tasks(workspace, &tasks, since, limit).await.unwrap();
        assert!(starts.keys().all(|id| *id != idle));
        [task, other].map(|task| starts.get(&task).cloned().unwrap_or_default())
    };
    // `start_another_run_of` starts a run of each task.
    let all = [vec![now, now, before(10), before(20), before(30)], vec![now]];
    assert_eq!(starts(workspace, Timestamp::MIN, 100).await, all);
    assert_eq!(starts(workspace, before(20), 100).await[0], all[0][..4], "since then");
    assert_eq!(starts(workspace, Timestamp::MIN, 3).await[0], all[0][..3], "at most as many as asked for");
    assert_eq!(starts(workspace, Timestamp::MIN, 1).await[0], all[0][..1], "of those at one moment as well");
    let elsewhere =
        NewWorkspace { id: None, environment_id: None, name: "b".to_owned(), description: None, owner: None };
    let elsewhere = archive.store.workspaces().create_workspace(&elsewhere, "admin").await.unwrap().id;
    assert_eq!(starts(elsewhere, Timestamp::MIN, 100).await, [vec![], vec![]], "of that workspace");
}

async fn one_root_cause_in_two_tasks_is_one_problem() {
    let archive = Archive::new().await;
    let other = another_task(&archive, "hourly").await;
    let start = archive.now();
    let first = failed(&archive, archive.task_id, start).await;
    let second = failed(&archive, other, start.plus_millis(MINUTE_MS)).await;
    assert_eq!(summarize(&archive, 7, REFUSED).await, 2);
    let third = failed(&archive, other, start.plus_millis(2 * MINUTE_MS)).await;
    assert_eq!(summarize(&archive, 7, FULL).await, 1);

    let refused = get(&archive, REFUSED).await;
    assert_eq!((refused.runs, refused.tasks, refused.state), (2, 2, ProblemState::Open));
    assert_eq!((refused.first_seen, refused.last_seen), (start, start.plus_millis(MINUTE_MS)));
    assert_eq!((refused.state_set_by, refused.came_back_at), (None, None));
    assert_eq!(refused.title, "title of 00000000000000aa");
    let tasks = archive.store.problems().tasks(REFUSED, 10, 0).await.unwrap();
    let names: Vec<_> = tasks.iter().map(|task| (task.task_name.as_str(), task.runs)).collect();
    assert_eq!(names, [("hourly", 1), ("nightly", 1)]);
    let runs = archive.store.problems().runs(REFUSED, 10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [second, first], "newest first");
    assert_eq!(runs[0].status, RunStatus::Failed);
    assert_eq!(archive.store.problems().of_run(third).await.unwrap().unwrap().id, FULL);
    assert_eq!(archive.store.problems().of_run(archive.run_id).await.unwrap(), None, "it goes on");

    let column = async |view: CatalogView, name: &str| {
        let index = view.columns().iter().position(|column| column.name == name).unwrap();
        let batch = archive.store.query().scan_view(view, vec![index], None, Vec::new()).next().await.unwrap().unwrap();
        let mut texts: Vec<Option<String>> =
            batch.column(0).as_string::<i64>().iter().map(|text| text.map(str::to_owned)).collect();
        texts.sort();
        texts
    };
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(column(CatalogView::Problems, "problem_id").await, [some(REFUSED), some(FULL)]);
    let of_runs = column(CatalogView::Runs, "problem_id").await;
    let failed: Vec<_> = of_runs.into_iter().filter(Option::is_some).collect();
    assert_eq!(failed, [some(REFUSED), some(REFUSED), some(FULL)]);

    let of = |filter| ids(&archive, filter);
    assert_eq!(of(ProblemFilter::default()).await, [FULL, REFUSED], "the last seen first");
    assert_eq!(of(ProblemFilter { order: ProblemOrder::Runs, ..ProblemFilter::default() }).await, [REFUSED, FULL]);
    assert_eq!(of(ProblemFilter { task_id: Some(archive.task_id), ..ProblemFilter::default() }).await, [REFUSED]);
    assert_eq!(
        of(ProblemFilter { text: Some("OF 00000000000000B".to_owned()), ..ProblemFilter::default() }).await,
        [FULL]
    );
    assert_eq!(
        of(ProblemFilter { id_prefix: Some("00000000000000b".to_owned()), ..ProblemFilter::default() }).await,
        [FULL]
    );
    let since = Some(start.plus_millis(2 * MINUTE_MS));
    assert_eq!(of(ProblemFilter { seen_since: since, ..ProblemFilter::default() }).await, [FULL]);
    assert_eq!(of(ProblemFilter { workspace_ids: Some(Vec::new()), ..ProblemFilter::default() }).await, [""; 0]);
    let (page, total) = archive
        .store
        .problems()
        .list(&ProblemFilter { limit: 1, offset: 1, ..ProblemFilter::default() })
        .await
        .unwrap();
    assert_eq!((page[0].id.as_str(), total), (REFUSED, 2));
}

async fn what_is_resolved_comes_back_with_a_run_that_ends_later() {
    let archive = Archive::new().await;
    let before = archive.now();
    fails(&archive, REFUSED).await;
    let note = Some(" fixed the password ".to_owned());
    let resolved = NewProblemState { note, ..state(ProblemState::Resolved) };
    let resolved = archive.store.problems().set_state(REFUSED, &resolved, "ada").await.unwrap();
    assert_eq!((resolved.state, resolved.state_set_by.as_deref()), (ProblemState::Resolved, Some("ada")));
    assert_eq!((resolved.note.as_deref(), resolved.state_set_at), (Some("fixed the password"), Some(archive.now())));

    // A run that ended before is archived only now.
    failed(&archive, archive.task_id, before.plus_millis(1)).await;
    summarize(&archive, 7, REFUSED).await;
    let still = get(&archive, REFUSED).await;
    assert_eq!((still.state, still.runs, still.came_back_at), (ProblemState::Resolved, 2, None));
    assert_eq!(
        ids(&archive, ProblemFilter { state: Some(ProblemState::Open), ..ProblemFilter::default() }).await,
        [""; 0]
    );

    fails(&archive, REFUSED).await;
    let back = get(&archive, REFUSED).await;
    assert_eq!((back.state, back.came_back_at), (ProblemState::Open, Some(back.last_seen)));
    assert_eq!((back.state_set_by, back.note.as_deref()), (None, Some("fixed the password")));
    let since = ProblemFilter { back_since: back.came_back_at, ..ProblemFilter::default() };
    assert_eq!(ids(&archive, since).await, [REFUSED]);
    // It stays with the first run with which it came back.
    fails(&archive, REFUSED).await;
    assert_eq!(get(&archive, REFUSED).await.came_back_at, back.came_back_at);
    // A user has seen it.
    archive.store.problems().set_state(REFUSED, &state(ProblemState::Open), "ada").await.unwrap();
    assert_eq!(get(&archive, REFUSED).await.came_back_at, None);
}

async fn a_mute_holds_until_its_end_and_one_without_an_end_for_ever() {
    let mut archive = Archive::new().await;
    fails(&archive, REFUSED).await;
    fails(&archive, FULL).await;
    let until = archive.now().plus_millis(60 * MINUTE_MS);
    let for_an_hour = NewProblemState { until: Some(until), ..state(ProblemState::Muted) };
    archive.store.problems().set_state(REFUSED, &for_an_hour, "ada").await.unwrap();
    archive.store.problems().set_state(FULL, &state(ProblemState::Muted), "ada").await.unwrap();
    archive.reopen().await;
    for id in [REFUSED, FULL] {
        fails(&archive, id).await;
        assert_eq!(get(&archive, id).await.state, ProblemState::Muted, "{id}");
    }
    let muted = || ProblemFilter { state: Some(ProblemState::Muted), ..ProblemFilter::default() };
    assert_eq!(ids(&archive, muted()).await, [FULL, REFUSED]);

    archive.clock.advance_ms(61 * MINUTE_MS);
    assert_eq!(ids(&archive, muted()).await, [FULL]);
    let open = get(&archive, REFUSED).await;
    assert_eq!((open.state, open.muted_until, open.came_back_at), (ProblemState::Open, None, None));
    for id in [REFUSED, FULL] {
        fails(&archive, id).await;
    }
    let back = get(&archive, REFUSED).await;
    assert_eq!((back.state, back.came_back_at), (ProblemState::Open, Some(back.last_seen)));
    assert_eq!(get(&archive, FULL).await.state, ProblemState::Muted);

    let refused = async |id: &str, new: NewProblemState| {
        archive.store.problems().set_state(id, &new, "ada").await.unwrap_err().kind()
    };
    let past = NewProblemState { until: Some(archive.now()), ..state(ProblemState::Muted) };
    assert_eq!(refused(REFUSED, past).await, ErrorKind::Invalid);
    let until = NewProblemState { until: Some(archive.now().plus_millis(1)), ..state(ProblemState::Resolved) };
    assert_eq!(refused(REFUSED, until).await, ErrorKind::Invalid);
    for note in ["a\x1b[2J".to_owned(), "é".repeat(501)] {
        let noted = NewProblemState { note: Some(note), ..state(ProblemState::Muted) };
        assert_eq!(refused(REFUSED, noted).await, ErrorKind::Invalid);
    }
    assert_eq!(refused("00000000000000cc", state(ProblemState::Muted)).await, ErrorKind::NotFound);
}

async fn a_run_moves_to_another_problem_when_its_log_says_something_else() {
    let archive = Archive::new().await;
    let first = fails(&archive, REFUSED).await;
    let moved = fails(&archive, REFUSED).await;
    archive.store.problems().set_state(REFUSED, &state(ProblemState::Muted), "ada").await.unwrap();
    // The same summary again changes nothing.
    archive.store.summaries().invalidate_older(8).await.unwrap();
    assert_eq!(summarize(&archive, 8, REFUSED).await, 2);
    assert_eq!(get(&archive, REFUSED).await.runs, 2);

    push(&archive.store, moved, 2, &[record(2, "the disk is full")]).await.unwrap();
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    assert_eq!(summarize(&archive, 8, FULL).await, 1);
    let (refused, full) = (get(&archive, REFUSED).await, get(&archive, FULL).await);
    assert_eq!((refused.runs, refused.tasks, refused.last_seen), (1, 1, refused.first_seen));
    assert_eq!((full.runs, full.state), (1, ProblemState::Open), "what is known of the one says nothing of the other");
    assert_eq!(archive.store.problems().of_run(first).await.unwrap().unwrap().id, REFUSED);

    // The first goes, too, and leaves the problem without a run.
    push(&archive.store, first, 2, &[record(2, "the disk is full")]).await.unwrap();
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    assert_eq!(summarize(&archive, 8, FULL).await, 1);
    assert_eq!(ids(&archive, ProblemFilter::default()).await, [FULL]);
    let full = get(&archive, FULL).await;
    assert_eq!((full.runs, full.tasks, full.first_seen < full.last_seen), (2, 1, true));
}

async fn a_problem_keeps_its_state_when_a_newer_version_gives_it_another_id() {
    let archive = Archive::new().await;
    fails(&archive, REFUSED).await;
    fails(&archive, REFUSED).await;
    let before = get(&archive, REFUSED).await;
    let note = Some("known".to_owned());
    archive
        .store
        .problems()
        .set_state(REFUSED, &NewProblemState { note, ..state(ProblemState::Muted) }, "ada")
        .await
        .unwrap();
    assert_eq!(archive.store.summaries().invalidate_older(8).await.unwrap(), 2);
    assert_eq!(summarize(&archive, 8, FULL).await, 2);
    let after = get(&archive, FULL).await;
    assert_eq!((after.state, after.note.as_deref(), after.runs), (ProblemState::Muted, Some("known"), 2));
    assert_eq!((after.first_seen, after.last_seen), (before.first_seen, before.last_seen));
    assert_eq!(ids(&archive, ProblemFilter::default()).await, [FULL]);
}

async fn a_problem_is_deleted_with_its_last_log() {
    let archive = Archive::new().await;
    let first = fails(&archive, REFUSED).await;
    let second = fails(&archive, REFUSED).await;
    let muted = fails(&archive, FULL).await;
    let note = Some("see the mail of the database team".to_owned());
    let mute = NewProblemState { note, ..state(ProblemState::Muted) };
    archive.store.problems().set_state(FULL, &mute, "ada").await.unwrap();
    let before = get(&archive, REFUSED).await;

    archive.store.maintenance().delete_log(second).await.unwrap();
    let after = get(&archive, REFUSED).await;
    assert_eq!((after.runs, after.last_seen, after.first_seen), (1, before.first_seen, before.first_seen));
    assert_eq!(archive.store.problems().of_run(second).await.unwrap(), None);
    for run_id in [first, muted] {
        archive.store.maintenance().delete_log(run_id).await.unwrap();
    }
    assert_eq!(ids(&archive, ProblemFilter::default()).await, [""; 0]);
    assert_eq!(archive.store.problems().get(FULL).await.unwrap(), None);
    // What was muted stays so, and nothing of a log or a person is left.
    assert_eq!(texts_of_problems(&archive).await, [format!("{FULL} muted  ")]);
    assert_eq!(archive.store.summaries().invalidate_older(7).await.unwrap(), 0, "deleted logs are not looked at");

    fails(&archive, REFUSED).await;
    fails(&archive, FULL).await;
    let (open, muted) = (get(&archive, REFUSED).await, get(&archive, FULL).await);
    assert_eq!((open.state, open.first_seen), (ProblemState::Open, open.last_seen), "it is as if it were new");
    assert_eq!((muted.state, muted.title.as_str(), muted.runs), (ProblemState::Muted, "title of 00000000000000bb", 1));
}

/// Every text that the catalog has of problems.
async fn texts_of_problems(archive: &Archive) -> Vec<String> {
    sqlx::any::install_default_drivers();
    let catalog = sqlx::AnyPool::connect(&archive.catalog_address()).await.unwrap();
    let listing =
        "SELECT id || ' ' || state || ' ' || COALESCE(title, '') || ' ' || COALESCE(note, '') FROM workspace_problems";
    let texts = sqlx::query_scalar(listing).fetch_all(&catalog).await.unwrap();
    let rest: i64 =
        sqlx::query_scalar("SELECT (SELECT COUNT(*) FROM problem_runs) + (SELECT COUNT(*) FROM problem_tasks)")
            .fetch_one(&catalog)
            .await
            .unwrap();
    assert_eq!(rest, 0);
    catalog.close().await;
    texts
}

async fn every_failed_run_comes_to_its_problem() {
    let archive = Archive::new().await;
    let due = async || {
        let due = archive.store.summaries().claim_due(7).await.unwrap();
        due.iter().map(|due| (due.run_id, due.log.records, due.has_failed)).collect::<Vec<_>>()
    };
    // One without a log, after the time in which records may still come.
    let silent = archive.start_another_run().await;
    archive.store.runs().finish(silent, &finish_body(RunStatus::DeployFailed, None)).await.unwrap();
    assert_eq!(due().await, []);
    archive.clock.advance_ms(31_000);
    assert_eq!(due().await, [(silent, 0, true)]);
    archive.clock.advance_ms(3_700_000);
    summarize(&archive, 7, REFUSED).await;
    assert!(archive.store.summaries().get(silent).await.unwrap().unwrap().summary.is_none(), "there is no log");
    assert_eq!(archive.store.problems().of_run(silent).await.unwrap().unwrap().id, REFUSED);

    // One whose log was sealed long before it ended.
    push(&archive.store, archive.run_id, 1, &[record(1, "a")]).await.unwrap();
    archive.clock.advance_ms(4 * 86_400_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    let early = archive.store.summaries().claim_due(7).await.unwrap();
    assert_eq!((early.len(), early[0].has_failed), (1, false));
    // It ends while its summary is made.
    archive.store.runs().finish(archive.run_id, &finish_body(RunStatus::Failed, None)).await.unwrap();
    archive.store.summaries().save_all(&[summary(early[0], 7, None)]).await.unwrap();
    assert_eq!(due().await, [(archive.run_id, 1, true)]);
    archive.clock.advance_ms(3_700_000);
    summarize(&archive, 7, REFUSED).await;
    assert_eq!(get(&archive, REFUSED).await.runs, 2);

    // Those that a user terminated have not failed, and neither have successful ones.
    for status in [RunStatus::Terminated, RunStatus::Successful] {
        let run_id = archive.start_another_run().await;
        archive.store.runs().finish(run_id, &finish_body(status, None)).await.unwrap();
    }
    archive.clock.advance_ms(31_000);
    assert_eq!(due().await, []);

    // Those that were archived by a version without problems.
    archive.change_catalog("DELETE FROM problem_runs; DELETE FROM problem_tasks; DELETE FROM workspace_problems").await;
    assert_eq!(archive.store.summaries().invalidate_older(7).await.unwrap(), 2);
    summarize(&archive, 7, FULL).await;
    assert_eq!(get(&archive, FULL).await.runs, 2);
    assert_eq!(archive.store.summaries().invalidate_older(7).await.unwrap(), 0);
    // A node of such a version deletes a log.
    archive
        .change_catalog("UPDATE runs SET log_epoch = log_epoch + 1, records = 0 WHERE status = 'execution_failed'")
        .await;
    assert_eq!(archive.store.problems().of_run(archive.run_id).await.unwrap(), None);
    archive.store.summaries().invalidate_older(7).await.unwrap();
    assert_eq!(get(&archive, FULL).await.runs, 1);
}

async fn states_of_problems_are_copied() {
    let archive = Archive::new().await;
    let run_id = fails(&archive, REFUSED).await;
    fails(&archive, FULL).await;
    archive.store.problems().set_state(REFUSED, &state(ProblemState::Muted), "ada").await.unwrap();
    let copy = Copy::empty().await;
    for _ in 0..2 {
        archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
        copy.store.summaries().invalidate_older(7).await.unwrap();
        let due = copy.store.summaries().claim_due(7).await.unwrap();
        let of = |due: &ClaimedSummary| problem(if due.run_id == run_id { REFUSED } else { FULL });
        let made: Vec<NewSummary> = due.iter().map(|due| summary(*due, 7, of(due))).collect();
        copy.store.summaries().save_all(&made).await.unwrap();
        for id in [REFUSED, FULL] {
            let copied = copy.store.problems().get(id).await.unwrap();
            assert_eq!(copied, Some(get(&archive, id).await));
        }
        archive.store.problems().set_state(FULL, &state(ProblemState::Resolved), "ada").await.unwrap();
    }
}

crate::common::pairs::on_each_pair! {
    async: starts_of_several_tasks_are_the_newest_of_each,
        one_root_cause_in_two_tasks_is_one_problem,
        what_is_resolved_comes_back_with_a_run_that_ends_later,
        a_mute_holds_until_its_end_and_one_without_an_end_for_ever,
        a_run_moves_to_another_problem_when_its_log_says_something_else,
        a_problem_keeps_its_state_when_a_newer_version_gives_it_another_id,
        a_problem_is_deleted_with_its_last_log,
        every_failed_run_comes_to_its_problem,
        states_of_problems_are_copied;
    sync:
}
