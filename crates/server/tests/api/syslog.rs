//! Messages of syslog that name no run: when the runs that keep them end, and what many hosts cost.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::workspaces::Task;
use runlog_model::{Run, RunStatus};
use runlog_server::{ServerSettings, SyslogSettings, SyslogToken};
use runlog_store::runs::RunFilter;
use runlog_store::simulation::{Operation, Simulation, Turn};
use runlog_store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

use crate::support::{TestClock, TestRandom};

const DAY_MS: i64 = 86_400_000;

/// Noon of a day in UTC.
const NOON: i64 = 20_780 * DAY_MS + DAY_MS / 2;

/// A catalog whose operations are counted, and objects in memory.
#[derive(Debug, Default)]
struct Counted {
    operations: AtomicUsize,
    objects: Arc<InMemory>,
}

#[derive(Debug)]
struct AtOnce;

impl Turn for AtOnce {
    fn before_commit(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn after_write(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl Simulation for Counted {
    fn begin(&self, _: Operation, _: &str) -> BoxFuture<'static, Box<dyn Turn>> {
        self.operations.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Box::new(AtOnce) as Box<dyn Turn> })
    }

    fn catalog_clock_ms(&self) -> Option<i64> {
        None
    }

    fn objects(&self, _: bool) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }
}

/// An archive, and a task for messages that name no run.
struct Archive {
    store: Store,
    clock: Arc<TestClock>,
    random: Arc<TestRandom>,
    counted: Arc<Counted>,
    admin: String,
    task: Task,
    _folder: tempfile::TempDir,
}

/// A service on an archive that receives syslog, until it is stopped.
struct Receiving {
    syslog: SocketAddr,
    stop: CancellationToken,
    service: tokio::task::JoinHandle<()>,
}

impl Archive {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(NOON));
        let (random, counted) = (Arc::new(TestRandom::default()), Arc::new(Counted::default()));
        let settings = StoreSettings::in_folder(folder.path());
        let store = Store::open_simulated(settings, clock.clone(), random.clone(), counted.clone()).await.unwrap();
        let admin = store.accounts().ensure_administrator().await.unwrap().unwrap();
        let new =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace_id = store.workspaces().create_workspace(&new, "admin").await.unwrap().id;
        let name = "devices".to_owned();
        let new = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
        let task = store.workspaces().create_task(&new).await.unwrap();
        Self { store, clock, random, counted, admin, task, _folder: folder }
    }

    fn receive(&self) -> Receiving {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap();
        let syslog = port().local_addr().unwrap();
        let mut settings = SyslogSettings::with_token(SyslogToken::new(self.admin.clone()));
        (settings.tcp, settings.task) = (Some(syslog), Some(self.task.id));
        let settings = ServerSettings { syslog: Some(settings), ..ServerSettings::default() };
        let (stop, store, clock) = (CancellationToken::new(), self.store.clone(), self.clock.clone());
        let serving = runlog_server::serve(port(), store, settings, clock, self.random.clone(), stop.clone());
        let service = tokio::spawn(async move { serving.await.unwrap() });
        Receiving { syslog, stop, service }
    }

    /// Number of runs of the task; a single operation on the catalog.
    async fn count(&self) -> u64 {
        let filter = RunFilter { task_id: Some(self.task.id), limit: 0, ..RunFilter::default() };
        self.store.runs().list(&filter).await.unwrap().1
    }

    async fn runs(&self) -> Vec<Run> {
        let filter = RunFilter { task_id: Some(self.task.id), limit: 1_000, ..RunFilter::default() };
        self.store.runs().list(&filter).await.unwrap().0
    }

    /// Waits until so many runs have this status.
    async fn wait_for(&self, status: RunStatus, count: usize) -> Vec<Run> {
        for _ in 0..600 {
            let mut runs = self.runs().await;
            runs.retain(|run| run.status.coarse() == status && run.records > 0);
            if runs.len() == count {
                return runs;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there are not {count} runs with {status}: {:?}", self.runs().await);
    }
}

impl Receiving {
    async fn send(&self, messages: String) -> TcpStream {
        let address = self.syslog;
        let sending = move || {
            // The address is bound in a moment.
            let connect = || TcpStream::connect(address);
            let mut connection =
                (0..600).find_map(|_| connect().inspect_err(|_| std::thread::sleep(Duration::from_millis(50))).ok());
            connection.as_mut().unwrap().write_all(messages.as_bytes()).unwrap();
            connection.unwrap()
        };
        tokio::task::spawn_blocking(sending).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.service.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_day_ends_when_the_day_is_over() {
    let archive = Archive::new().await;
    let service = archive.receive();
    let connection = service.send("<13>1 - router dhcpd 7 - - monday\n".to_owned()).await;
    let run = archive.wait_for(RunStatus::Executing, 1).await.remove(0);
    // Another run of the task, which something else ends.
    let other = "00000000-0000-4000-8000-00000000000a";
    let named = format!("<13>1 - router dhcpd 7 - [runlog@32473 runId=\"{other}\" taskId=\"{}\"] x\n", archive.task.id);
    drop(service.send(named).await);
    archive.wait_for(RunStatus::Executing, 2).await;
    // Midnight, and not yet ten minutes later: one more message is that of the day before.
    archive.clock.advance_ms(DAY_MS / 2 + 599_000);
    tokio::time::sleep(Duration::from_secs(6)).await;
    archive.wait_for(RunStatus::Executing, 2).await;
    archive.clock.advance_ms(1_000);
    let ended = archive.wait_for(RunStatus::Successful, 1).await.remove(0);
    let midnight = (20_780 + 1) * DAY_MS;
    assert_eq!((ended.id, ended.finished_at.map(|at| at.as_millis())), (run.id, Some(midnight - 1)));
    assert_eq!(archive.wait_for(RunStatus::Executing, 1).await[0].id.to_string(), other);
    drop(connection);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_day_ends_although_the_service_was_down() {
    let archive = Archive::new().await;
    let service = archive.receive();
    drop(service.send("<13>1 - router dhcpd 7 - - x\n<13>1 - router sshd 7 - - x\n".to_owned()).await);
    archive.wait_for(RunStatus::Executing, 2).await;
    service.stop().await;
    archive.clock.advance_ms(20 * DAY_MS);
    let service = archive.receive();
    archive.wait_for(RunStatus::Successful, 2).await;
    // Late messages are stored nevertheless, and a day that begins with one is over as well.
    drop(service.send("<13>1 2020-01-01T10:00:00Z router sshd 7 - - x\n".to_owned()).await);
    archive.wait_for(RunStatus::Successful, 3).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hosts_take_hardly_more_queries_than_one() {
    const HOSTS: u64 = 200;
    let archive = Archive::new().await;
    let service = archive.receive();
    drop(service.send("<13>1 - first app - - - x\n".to_owned()).await);
    archive.wait_for(RunStatus::Executing, 1).await;
    let mut operations = Vec::new();
    // Runs that are new, and runs that exist.
    for round in 0..2 {
        let before = archive.counted.operations.load(Ordering::SeqCst);
        let messages: String =
            (0..HOSTS).map(|host| format!("<13>1 - host-{host} app - - - round {round}\n")).collect();
        drop(service.send(messages).await);
        let mut asked = 0;
        loop {
            asked += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let is_there = match round {
                0 => archive.count().await == HOSTS + 1,
                _ => {
                    asked += 1;
                    archive.runs().await.iter().filter(|run| run.records == 2).count() as u64 == HOSTS
                }
            };
            if is_there {
                break;
            }
            assert!(asked < 1_000, "the messages of round {round} were not stored");
        }
        // The last commit may be under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        operations.push(archive.counted.operations.load(Ordering::SeqCst) - before - asked);
    }
    // Some are those of the background jobs.
    assert!(operations.iter().all(|count| *count < 80), "{operations:?}");
    service.stop().await;
}
