//! An upstream: the service from which logs are collected, and the selection of runs.

use std::path::PathBuf;
use std::time::Duration;

use runlog_client::Client;
use runlog_model::{RunStatus, TaskId};

/// A service, and what is collected from it.
#[derive(Clone)]
pub struct Upstream {
    /// The name under which the archive stores its state. It must not change, or everything is listed again.
    pub name: String,
    /// The client; its rate limit is shared by all requests to this upstream.
    pub client: Client,
    /// The selection of runs.
    pub selection: Selection,
    /// How runs are collected.
    pub settings: CollectSettings,
    /// Distinguishes this process from others that collect from the same host: they share its rate limit.
    pub process: String,
}

impl Upstream {
    /// The key by which the rate limit is shared.
    pub(crate) fn host(&self) -> String {
        let url = &self.client.settings().base_url;
        let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}", url.host_str().unwrap_or_default())
    }
}

/// The selection of runs: those that match all of these filters.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Environments, by ID or name.
    pub environments: Vec<String>,
    /// Workspaces, by ID or name.
    pub workspaces: Vec<String>,
    /// Tasks, by ID.
    pub tasks: Vec<TaskId>,
    /// Tasks, by name; `*` matches any text.
    pub task_names: Vec<String>,
    /// Tasks with all of these tags.
    pub tags: Vec<String>,
    /// Runs with these final statuses; none for all.
    pub statuses: Vec<RunStatus>,
}

/// How an upstream is collected.
#[derive(Debug, Clone)]
pub struct CollectSettings {
    /// How far back each round lists runs again. It must exceed the time until a run appears in the lists. Default: one
    /// day.
    pub look_back: Duration,
    /// How far back the first round lists runs. Default: one day.
    pub history: Duration,
    /// How long the log of a run may still grow after its end. Default: 30 s.
    pub settle: Duration,
    /// How often the new records of running runs are stored. Default: never; the log is stored after the end of the
    /// run.
    pub while_going: Option<Duration>,
    /// Whether the component metrics of runs are collected. Default: yes.
    pub component_metrics: bool,
    /// Whether plan executions are collected, if the selection is not one of tasks. Default: yes.
    pub plan_executions: bool,
    /// Whether the audit logs of the tenant are collected, which needs a right of its own. Default: no.
    pub audit_logs: bool,
    /// How long the audit logs of the tenant are kept. Default: for ever.
    pub audit_logs_keep: Option<Duration>,
    /// Number of runs that are fetched at a time. Default: 16; most of them wait until the service has built a page or
    /// the rate limit allows a request, so few files are downloaded at a time.
    pub parallel: usize,
    /// Number of pages of one run that are built and downloaded at a time. Default: 10; the service builds them in
    /// parallel.
    pub pages_in_flight: usize,
    /// Memory for the records of a page while it is downloaded. Unit: bytes. Default: 2 MiB.
    pub page_memory_bytes: usize,
    /// The longest range of time of one list. Default: 10 days, the announced limit of the service.
    pub window_max: Duration,
    /// Maximum number of runs that are read from one list; longer lists are divided. Default: 1,000, the announced
    /// limit.
    pub offset_max: u64,
    /// After this time, a run of a collector that does not respond is taken over. Default: 2 minutes.
    pub lease: Duration,
    /// The folder for pages that are being fetched.
    pub work_folder: PathBuf,
}

impl CollectSettings {
    /// The defaults, with this folder for pages.
    pub fn in_folder(work_folder: PathBuf) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            look_back: DAY,
            history: DAY,
            settle: Duration::from_secs(30),
            while_going: None,
            component_metrics: true,
            plan_executions: true,
            audit_logs: false,
            audit_logs_keep: None,
            parallel: 32,
            pages_in_flight: 10,
            page_memory_bytes: 2 << 20,
            window_max: DAY * 10,
            offset_max: 1_000,
            lease: Duration::from_secs(120),
            work_folder,
        }
    }
}
