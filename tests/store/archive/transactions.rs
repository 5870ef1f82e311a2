//! Transactions on PostgreSQL that are aborted before their commit: they are retried, and applied once.
//!
//! A session beside those of the nodes locks a table, so that a transaction of a node waits in its middle. Its session is
//! then terminated, or its node is suspended: nothing that it sends or receives passes the gate before its database.

use std::time::Duration;

use runlog_model::wire::admin::{AuditEntry, NewEnvironment, NewServiceAccount, NewTask, NewUser, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::Right;
use runlog_model::{FileFormat, RecordOrder, RunStatus, Timestamp};
use runlog_store::accounts::CallerKind;
use runlog_store::alerts::NewAlert;
use runlog_store::audit::AuditContext;
use runlog_store::collection::{LandedLog, UpstreamRun, UpstreamRunState};
use runlog_store::delivery::DeliveryStep;
use runlog_store::summaries::NewSummary;
use runlog_store::{ErrorKind, Result, SecretUrl, Store};
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction};

use super::common::backends::{self, Backends};
use super::common::{Archive, record};
use super::outage::{self, GatedDatabase};

/// Sessions beside those of the nodes.
struct Outside {
    pool: AnyPool,
}

impl Outside {
    async fn of<P: Backends>(archive: &Archive<P>) -> Self {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(4).connect(&archive.catalog_address()).await.unwrap();
        Self { pool }
    }

    /// Locks tables against writes, and not against reads, until the transaction ends.
    async fn lock(&self, tables: &str) -> Transaction<'static, Any> {
        let mut locked = self.pool.begin().await.unwrap();
        let locking = format!("LOCK TABLE {tables} IN EXCLUSIVE MODE");
        sqlx::query(AssertSqlSafe(locking)).execute(&mut *locked).await.unwrap();
        locked
    }

    async fn count(&self, counting: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(counting.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until so many sessions wait for a lock; returns their process IDs.
    async fn sessions_that_wait(&self, count: usize) -> Vec<i64> {
        loop {
            let sessions: Vec<i64> = sqlx::query_scalar(
                "SELECT CAST(pid AS BIGINT) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()",
            )
            .fetch_all(&self.pool)
            .await
            .unwrap();
            if sessions.len() >= count {
                return sessions;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn terminate(&self, session: i64) {
        let terminating = format!("SELECT CAST(pg_terminate_backend({session}) AS TEXT)");
        let _: String = sqlx::query_scalar(AssertSqlSafe(terminating)).fetch_one(&self.pool).await.unwrap();
        self.wait_until_ended(session).await;
    }

    async fn wait_until_ended(&self, session: i64) {
        let counting = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {session}");
        while self.count(&counting).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Terminates the session of a write while it waits for a table, and expects the write to be applied once: `counting`
    /// counts what it adds.
    async fn interrupt<T>(&self, table: &str, counting: &str, write: impl Future<Output = Result<T>>) -> T {
        let before = self.count(counting).await;
        let locked = self.lock(table).await;
        let interruption = async {
            let sessions = self.sessions_that_wait(1).await;
            self.terminate(sessions[0]).await;
            locked.rollback().await.unwrap();
        };
        let (written, ()) = tokio::join!(write, interruption);
        let written = written.unwrap_or_else(|error| panic!("{counting}: {}", error.with_causes()));
        assert_eq!(self.count(counting).await - before, 1, "{counting}");
        written
    }

    /// Like `interrupt`, while an audited write adds its audit entry, the last statement before its commit.
    async fn interrupt_audited<T, F>(
        &self,
        store: &Store,
        action: &str,
        counting: &str,
        write: impl FnOnce(Store) -> F,
    ) -> T
    where
        F: Future<Output = Result<T>>,
    {
        let store = store.with_audit(AuditContext::new(entry(action)));
        let written = self.interrupt("audit", counting, write(store)).await;
        assert_eq!(self.entries(action).await, 1, "{action}");
        written
    }

    async fn entries(&self, action: &str) -> i64 {
        self.count(&format!("SELECT COUNT(*) FROM audit WHERE action = '{action}'")).await
    }
}

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::clamped(1),
        caller_id: "1".to_owned(),
        caller_name: "admin".to_owned(),
        action: action.to_owned(),
        subject: "a subject".to_owned(),
        status: 200,
        address: String::new(),
        request_id: "a request".to_owned(),
    }
}

fn user(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), administrator: false }
}

async fn push(store: &Store, run_id: runlog_model::RunId, batch_id: &str) -> Result<()> {
    let mut batch = store.ingest().begin_batch(run_id, Some(batch_id)).await?;
    batch.push(&record(7, batch_id)).await?;
    batch.commit().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_whose_session_is_terminated_is_applied_once() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (outside, store) = (Outside::of(&archive).await, &archive.store);

    let ada = "SELECT COUNT(*) FROM users WHERE name = 'ada'";
    let ada = outside
        .interrupt_audited(store, "create user", ada, async |store| store.accounts().create_user(&user("ada")).await)
        .await;
    let laptop = "SELECT COUNT(*) FROM tokens WHERE name = 'laptop'";
    let token = outside
        .interrupt_audited(store, "create token", laptop, async |store| {
            store.accounts().create_token(&ada.id, "laptop").await
        })
        .await;
    let revoked = "SELECT 1 - COUNT(*) FROM tokens WHERE name = 'laptop'";
    outside
        .interrupt_audited(store, "revoke token", revoked, async |store| {
            store.accounts().revoke_token(&token.id, None).await
        })
        .await;

    let mut account = NewServiceAccount { name: "robot".to_owned(), permissions: Vec::new() };
    let robots = "SELECT COUNT(*) FROM service_accounts WHERE name = 'robot'";
    let robot = outside
        .interrupt_audited(store, "create account", robots, async |store| {
            store.accounts().create_service_account(&account).await
        })
        .await;
    account.name = "machine".to_owned();
    let renamed = "SELECT COUNT(*) FROM service_accounts WHERE name = 'machine'";
    outside
        .interrupt_audited(store, "update account", renamed, async |store| {
            store.accounts().update_service_account(&robot.id, &account).await
        })
        .await;
    let workspace = archive.store.workspaces().list().await.unwrap().remove(0);
    outside
        .interrupt_audited(store, "grant rights", "SELECT COUNT(*) FROM rights", async |store| {
            let rights = [Right::View].into_iter().collect();
            store.accounts().set_rights(workspace.id, CallerKind::ServiceAccount, &robot.id, rights).await
        })
        .await;
    let deleted = "SELECT 1 - COUNT(*) FROM service_accounts";
    outside
        .interrupt_audited(store, "delete account", deleted, async |store| {
            store.accounts().delete_service_account(&robot.id).await
        })
        .await;

    let new = NewEnvironment { id: None, name: "staging".to_owned(), description: None };
    let environments = "SELECT COUNT(*) FROM environments WHERE name = 'staging'";
    let environment = outside
        .interrupt_audited(store, "create environment", environments, async |store| {
            store.workspaces().create_environment(&new).await
        })
        .await;
    let new = NewWorkspace {
        id: None,
        environment_id: Some(environment.id),
        name: "sales".to_owned(),
        description: None,
        owner: None,
    };
    let workspaces = "SELECT COUNT(*) FROM workspaces WHERE name = 'sales'";
    let sales = outside
        .interrupt_audited(store, "create workspace", workspaces, async |store| {
            store.workspaces().create_workspace(&new, "admin").await
        })
        .await;
    let mut task = NewTask {
        id: None,
        workspace_id: sales.id,
        name: "orders".to_owned(),
        version: None,
        description: None,
        tags: Vec::new(),
    };
    let orders = "SELECT COUNT(*) FROM tasks WHERE name = 'orders'";
    let made = outside
        .interrupt_audited(store, "create task", orders, async |store| store.workspaces().create_task(&task).await)
        .await;
    task.name = "returns".to_owned();
    let returns = "SELECT COUNT(*) FROM tasks WHERE name = 'returns'";
    outside
        .interrupt_audited(store, "find task", returns, async |store| {
            store.workspaces().get_or_create_task(&task).await
        })
        .await;
    let told = runlog_model::workspaces::Task { name: "refunds".to_owned(), ..made };
    let refunds = "SELECT COUNT(*) FROM tasks WHERE name = 'refunds'";
    outside.interrupt("tasks", refunds, store.workspaces().upsert_task(&told)).await;

    outside.interrupt("keys", "SELECT COUNT(*) FROM keys", store.signing_keys().list("links")).await;
    outside
        .interrupt_audited(store, "rotate key", "SELECT COUNT(*) FROM keys", async |store| {
            store.signing_keys().rotate("links", false).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_about_runs_whose_session_is_terminated_are_applied_once() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (outside, store, run_id) = (Outside::of(&archive).await, &archive.store, archive.run_id);

    let start = StartRun::of_task(archive.task_id);
    let id = "00000000-0000-4000-8000-00000000000a".parse().unwrap();
    outside
        .interrupt_audited(store, "start run", "SELECT COUNT(*) FROM runs", async |store| {
            store.runs().start(id, &start, &archive.caller).await
        })
        .await;
    outside.interrupt("slices", "SELECT COUNT(*) FROM slices", push(store, run_id, "one")).await;
    assert_eq!(archive.records().await.len(), 1);
    let finished = "SELECT COUNT(*) FROM runs WHERE status = 'execution_successful'";
    outside
        .interrupt_audited(store, "finish run", finished, async |store| {
            store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await
        })
        .await;
    archive.clock.advance_ms(31_000);

    let sealed = "SELECT COUNT(*) FROM slices WHERE sealed = 1";
    assert_eq!(outside.interrupt("slices", sealed, store.maintenance().seal()).await.runs, 1);
    let due = store.summaries().claim_due(7).await.unwrap();
    let summary = NewSummary { of: due[0], version: 7, body: b"{}".to_vec(), error_groups: Vec::new(), problem: None };
    outside.interrupt("summaries", "SELECT COUNT(*) FROM summaries", store.summaries().save_all(&[summary])).await;

    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let requested = store.pages().request_audited_page(&request, |_| entry("request page"));
    outside.interrupt("audit", "SELECT COUNT(*) FROM page_tokens", requested).await;
    assert_eq!(outside.entries("request page").await, 1);
    let entries = "SELECT COUNT(*) FROM audit WHERE action = 'read log'";
    outside.interrupt("audit", entries, store.audit().record(entry("read log"))).await;

    let emptied = "SELECT COUNT(*) FROM runs WHERE log_epoch = 1";
    let deleted = outside
        .interrupt_audited(store, "delete log", emptied, async |store| store.maintenance().delete_log(run_id).await)
        .await;
    assert_eq!(deleted.records, 1);
    let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_and_delivery_whose_session_is_terminated_are_applied_once() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (outside, store, now) = (Outside::of(&archive).await, &archive.store, archive.now());

    let run = UpstreamRun {
        run_id: archive.run_id,
        task_id: "a task".to_owned(),
        progress: UpstreamRunState::Pending,
        status: "a status".to_owned(),
        triggered_at: None,
        finished_at: None,
        due_at: now,
        body: "{}".to_owned(),
    };
    let known = "SELECT COUNT(*) FROM collected_runs";
    let counts = outside.interrupt("collected_runs", known, store.collection().upsert_runs("up", &[run])).await;
    assert_eq!(counts.new, 1);
    let claimed = store.collection().claim_run("up", now.plus_millis(60_000)).await.unwrap().unwrap();
    let finish = FinishRun::with_status(RunStatus::Successful);
    let landed = "SELECT COUNT(*) FROM collected_runs WHERE state = 'landed'";
    outside
        .interrupt(
            "collected_runs",
            landed,
            store.collection().land(
                "up",
                &claimed,
                &finish,
                LandedLog { records: 0, pages: 1, components_due_at: None },
            ),
        )
        .await;
    store.collection().upsert_runs("up", &[]).await.unwrap();
    let retried = "SELECT COUNT(*) FROM audit WHERE action = 'retry upstream'";
    outside
        .interrupt_audited(store, "retry upstream", retried, async |store| store.collection().retry("up").await)
        .await;

    store.deliveries().register_sink("sink", "files", None).await.unwrap();
    let due = "SELECT COUNT(*) FROM deliveries";
    let enqueued = store.deliveries().enqueue_finished_runs("sink", |_| true);
    assert_eq!(outside.interrupt("deliveries", due, enqueued).await, 1);
    archive.clock.advance_ms(60_000);
    let until = archive.now().plus_millis(60_000);
    let mut claimed = store.deliveries().claim("sink", until).await.unwrap().unwrap();
    let step = DeliveryStep { delivered: 1, ends_part: true, ..DeliveryStep::default() };
    let delivered = "SELECT CAST(SUM(delivered) AS BIGINT) FROM deliveries";
    outside.interrupt("deliveries", delivered, store.deliveries().commit_step(&mut claimed, &step)).await;
    assert_eq!(claimed.parts, 1);
    let done = "SELECT COUNT(*) FROM deliveries WHERE state = 'done'";
    outside.interrupt("deliveries", done, store.deliveries().finish(&claimed)).await;
    let retried = "SELECT COUNT(*) FROM audit WHERE action = 'retry sink'";
    outside.interrupt_audited(store, "retry sink", retried, async |store| store.deliveries().retry("sink").await).await;
    let removed = "SELECT 1 - COUNT(*) FROM sinks";
    assert!(outside.interrupt("sinks", removed, store.deliveries().remove_sink("sink")).await);

    let alert = NewAlert {
        rule: "failed".to_owned(),
        destination: "mail".to_owned(),
        occurrence: "run failed".to_owned(),
        body: "{}".to_owned(),
        is_muted: false,
        ..NewAlert::default()
    };
    let alerts = "SELECT COUNT(*) FROM alerts";
    assert_eq!(outside.interrupt("alerts", alerts, store.alerts().enqueue(&[alert])).await, 1);
}

/// One of two nodes is suspended during its transactions. Its locks are released before other nodes give up, and when
/// it continues, it completes its work.
#[tokio::test(flavor = "multi_thread")]
async fn the_locks_of_a_suspended_node_are_released_and_its_transactions_are_retried() {
    let (archive, gate) = outage::archive::<GatedDatabase>().await;
    let (outside, suspended) = (Outside::of(&archive).await, archive.store.clone());
    let address = SecretUrl::read(&archive.catalog_address(), &["postgres"]).unwrap();
    let other = archive.another_node_with(|settings| settings.catalog = Some(address)).await.unwrap();

    // Two logs in one sealed file.
    let (first, second) = (archive.start_another_run().await, archive.start_another_run().await);
    for run_id in [first, second] {
        push(&other, run_id, "early").await.unwrap();
        archive.finish_run(run_id).await;
    }
    archive.clock.advance_ms(31_000);
    assert_eq!(other.maintenance().seal().await.unwrap().runs, 2);
    assert_eq!(outside.count("SELECT COUNT(DISTINCT segment_id) FROM slices WHERE sealed = 1").await, 1);
    let third = archive.start_another_run().await;

    let locked = outside.lock("audit, batches").await;
    let audited = |action: &str| suspended.with_audit(AuditContext::new(entry(action)));
    let (deleting, creating, pushing) = (audited("delete first log"), audited("create user"), suspended.clone());
    let writes = [
        tokio::spawn(async move { deleting.maintenance().delete_log(first).await.map(drop) }),
        tokio::spawn(async move { creating.accounts().create_user(&user("ada")).await.map(drop) }),
        tokio::spawn(async move { push(&pushing, third, "batch-1").await }),
    ];
    let sessions = outside.sessions_that_wait(writes.len()).await;
    gate.suspend(true);
    locked.rollback().await.unwrap();

    let deleting = other.with_audit(AuditContext::new(entry("delete second log")));
    let request =
        runlog_store::pages::PageRequest { run_id: first, ..archive.whole_log(FileFormat::Json, RecordOrder::Desc) };
    let (deleted, pushed, requested, sealed) = tokio::join!(
        deleting.maintenance().delete_log(second),
        push(&other, third, "batch-2"),
        other.pages().request_page(&request),
        other.maintenance().seal(),
    );
    assert_eq!(deleted.unwrap().records, 1);
    pushed.unwrap();
    requested.unwrap();
    sealed.unwrap();
    for session in sessions {
        outside.wait_until_ended(session).await;
    }
    gate.suspend(false);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    for action in ["delete first log", "delete second log", "create user"] {
        assert_eq!(outside.entries(action).await, 1, "{action}");
    }
    assert_eq!(archive.records_of(first).await.len() + archive.records_of(second).await.len(), 0);
    assert_eq!(archive.records_of(third).await.len(), 2);
    let verified = other.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
}

/// The outcome of a commit whose response is lost is unknown: this is reported, and the commit is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let outside = Outside::of(&archive).await;
    // A trigger that is deferred runs in COMMIT, where its session is terminated: once, because sequences are not rolled
    // back.
    let terminating = "CREATE SEQUENCE commits;
        CREATE FUNCTION terminate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER terminate AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION terminate()";
    sqlx::raw_sql(terminating).execute(&outside.pool).await.unwrap();
    let error = archive.store.accounts().create_user(&user("ada")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_outcome_unknown() && error.to_string().contains("may or may not"), "{}", error.with_causes());
    assert_eq!(outside.count("SELECT last_value FROM commits").await, 1, "it was committed once");
    archive.store.accounts().create_user(&user("ada")).await.unwrap();
}

/// Callers got an error that said that nothing had been changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_response_is_reported_as_unknown_outcome() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (outside, store) = (Outside::of(&archive).await, &archive.store);
    let locked = outside.lock("sinks").await;
    let interruption = async {
        let sessions = outside.sessions_that_wait(1).await;
        outside.terminate(sessions[0]).await;
        locked.rollback().await.unwrap();
    };
    let (registered, ()) = tokio::join!(store.deliveries().register_sink("a", "files", None), interruption);
    let error = registered.unwrap_err();
    assert!(error.is_outcome_unknown() && error.kind() == ErrorKind::Unavailable, "{}", error.with_causes());
    assert!(error.to_string().contains("may or may not"), "{}", error.with_causes());
}

/// Sixteen slow reads had all connections, and no log could be stored.
#[tokio::test(flavor = "multi_thread")]
async fn slow_reads_leave_connections_to_what_is_stored() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let outside = Outside::of(&archive).await;
    let mut locked = outside.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE alert_rules IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let read = |store: Store| tokio::spawn(async move { store.alerts().rules().await.map(drop) });
    let reads: Vec<_> = (0..20).map(|_| read(archive.store.clone())).collect();
    outside.sessions_that_wait(12).await;
    archive.push("one", &[record(1, "a")]).await;
    locked.rollback().await.unwrap();
    for read in reads {
        // Those that waited for the others may have waited for too long.
        let _ = read.await.unwrap();
    }
    assert_eq!(archive.records().await.len(), 1);
}
