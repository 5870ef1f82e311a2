//! The environment of the demonstration: a service on a free port with an archive of its own, a task, and a service
//! account.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use runlog_analysis::report::{LogState, RunReport};
use runlog_client::{Client, ClientSettings, Credentials, PermissionHolder, TokioWait};
use runlog_model::wire::admin::{NewEnvironment, NewServiceAccount, NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::Right;
use runlog_model::{Clock, EnvironmentId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_server::ServerSettings;
use runlog_store::{Store, StoreSettings};
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::samples::{NIGHTLY, Sample, TASK};
use crate::admin_token::{ADMIN_TOKEN_FILE, AdminTokenFile};
use crate::command::push::{Batches, Pushed, push_log};
use crate::command::serve::serve_until;
use crate::exit::Outcome;
use crate::system::{SystemClock, SystemRandom};

/// How often to poll for a summary, and how many times.
const SUMMARY_LOOK_MS: u64 = 250;
const SUMMARY_LOOKS_MAX: usize = 40;

/// A running service, and what its clients need to know.
pub(crate) struct Stage {
    /// The service's address.
    pub(crate) url: String,
    /// The administrator's token.
    pub(crate) token: String,
    /// Of the service account that fetches.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: String,
    /// Where the task's workspace is.
    pub(crate) environment: EnvironmentId,
    /// Where the task is.
    pub(crate) workspace: WorkspaceId,
    /// The task whose runs are shown.
    pub(crate) task: TaskId,
    /// The tasks of all samples, by name.
    tasks: BTreeMap<&'static str, TaskId>,
    /// When the demonstration began: the nights of the samples are those before it.
    pub(crate) now: Timestamp,
    /// The folder of the fetched logs.
    pub(crate) logs: PathBuf,
    /// The folder of the archive.
    pub(crate) data: PathBuf,
    administrator: Client,
    service: JoinHandle<Outcome>,
    stop: CancellationToken,
}

impl Stage {
    /// Starts the service in a folder, and makes what the runs need.
    pub(crate) async fn set(folder: &Path, stop: CancellationToken) -> Outcome<Self> {
        let (data, logs) = (folder.join("data"), folder.join("logs"));
        std::fs::create_dir_all(&logs).context("cannot create the folder for the logs")?;
        // The samples ended long ago and receive no more records: their logs need not settle.
        let settings = StoreSettings { settle_ms: 0, ..StoreSettings::in_folder(&data) };
        let store = Store::open(settings, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
        let token = store.accounts().ensure_administrator().await?.context("the demonstration needs a new archive")?;
        AdminTokenFile::prepare(&data)?.write(&token)?;

        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let url = format!("http://{}", listener.local_addr().context("the listener has no address")?);
        let stop = stop.child_token();
        let service = tokio::spawn(serve_until(listener, store, ServerSettings::default(), stop.clone()));

        let administrator = client(&url, Credentials::PersonalToken(SecretString::from(token.clone())))?;
        let environment = administrator.create_environment(&new_environment()).await?.id;
        let workspace = administrator.create_workspace(&new_workspace(environment)).await?.id;
        let task = administrator.create_task(&new_task(workspace)).await?.executable;
        let mut tasks = BTreeMap::from([(TASK, task)]);
        for sample in NIGHTLY {
            if !tasks.contains_key(sample.task) {
                let new = NewTask { name: sample.task.to_owned(), description: None, ..new_task(workspace) };
                tasks.insert(sample.task, administrator.create_task(&new).await?.executable);
            }
        }
        let account = NewServiceAccount { name: "demo".to_owned(), permissions: Vec::new() };
        let account = administrator.create_service_account(&account).await?;
        let holder = PermissionHolder::ServiceAccount(&account.id);
        administrator.set_permissions(workspace, holder, &Right::READ_LOGS).await?;
        let client_secret = account.secret.context("the new service account has no secret")?;
        let client_id = account.id;
        Ok(Self {
            url,
            token,
            client_id,
            client_secret,
            environment,
            workspace,
            task,
            tasks,
            now: SystemClock.now(),
            logs,
            data,
            administrator,
            service,
            stop,
        })
    }

    /// Pushes a sample as an engine would: starts the run, pushes its log, and ends the run.
    pub(crate) async fn push(&self, sample: &Sample) -> Outcome {
        let (run, outline) = (sample.run_id()?, sample.outline(self.now)?);
        let task = self.tasks.get(sample.task).copied().unwrap_or(self.task);
        let start = StartRun {
            trigger_timestamp: Some(outline.first),
            start_timestamp: Some(outline.first),
            ..StartRun::of_task(task)
        };
        self.administrator.start_run(run, &start).await?;
        let log = Batches::of_lines(sample.log(self.now)?)?;
        push_log(&self.administrator, run, log, false, &mut Pushed::default()).await?;
        let status = if outline.has_failed { RunStatus::Failed } else { RunStatus::Successful };
        let finish = FinishRun {
            finish_timestamp: Some(outline.last),
            error_message: outline.error.filter(|_| outline.has_failed),
            ..FinishRun::with_status(status)
        };
        self.administrator.finish_run(run, &finish).await?;
        Ok(())
    }

    /// Returns the report of a sample's run, once its log is sealed and summarised, or after a timeout.
    pub(crate) async fn report(&self, sample: &Sample) -> Outcome<RunReport> {
        let run = sample.run_id()?;
        for _ in 0..SUMMARY_LOOKS_MAX {
            let report: RunReport = self.administrator.run_report(run).await?;
            if report.log.state == LogState::Whole && report.against.is_some() {
                return Ok(report);
            }
            tokio::time::sleep(Duration::from_millis(SUMMARY_LOOK_MS)).await;
        }
        Ok(self.administrator.run_report(run).await?)
    }

    /// A client that knows the address, a client id and its secret, and nothing else.
    pub(crate) fn stranger(&self) -> Outcome<Client> {
        let client_secret = SecretString::from(self.client_secret.clone());
        client(&self.url, Credentials::ServiceAccount { client_id: self.client_id.clone(), client_secret })
    }

    /// Returns the folder of the demonstration.
    pub(crate) fn folder(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    /// The file with the administrator's token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.data.join(ADMIN_TOKEN_FILE)
    }

    /// Stops the service; its archive and the fetched logs stay.
    pub(crate) async fn clear(self) -> Outcome {
        self.stop.cancel();
        self.service.await.context("the service failed")?
    }
}

fn client(url: &str, credentials: Credentials) -> Outcome<Client> {
    let url = Url::parse(url).context("the service's address")?;
    let settings = ClientSettings::new(url, credentials);
    Ok(Client::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(TokioWait))?)
}

fn new_environment() -> NewEnvironment {
    NewEnvironment { id: None, name: "demo".to_owned(), description: None }
}

fn new_workspace(environment: EnvironmentId) -> NewWorkspace {
    let name = "data engineering".to_owned();
    NewWorkspace { id: None, environment_id: Some(environment), name, description: None, owner: None }
}

fn new_task(workspace_id: WorkspaceId) -> NewTask {
    let description = Some("joins orders with customers and writes Parquet".to_owned());
    NewTask { id: None, workspace_id, name: "nightly orders".to_owned(), version: None, description, tags: Vec::new() }
}
