//! An upstream: the service that logs are pulled from, and what of it is wanted.

use std::path::PathBuf;
use std::time::Duration;

use runlog_client::Client;
use runlog_model::{RunStatus, TaskId};

/// A service, and what of it is collected.
#[derive(Clone)]
pub struct Upstream {
    /// The name under which the archive keeps what is known of it. Never changed, or everything is looked at anew.
    pub name: String,
    /// Speaks to it; its pace is shared by all that is done for this upstream.
    pub client: Client,
    /// What is wanted.
    pub selection: Selection,
    /// How it is collected.
    pub settings: CollectSettings,
    /// Tells this process from others that collect from the same host: the host's pace is divided among processes.
    pub process: String,
}

impl Upstream {
    /// What its pace is shared with others by.
    pub(crate) fn host(&self) -> String {
        let url = &self.client.settings().base_url;
        let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}", url.host_str().unwrap_or_default())
    }
}

/// Which runs are wanted: those that fit all parts that are given.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Environments, by id or name.
    pub environments: Vec<String>,
    /// Workspaces, by id or name.
    pub workspaces: Vec<String>,
    /// Tasks, by id.
    pub tasks: Vec<TaskId>,
    /// Tasks, by name, with `*` for anything.
    pub task_names: Vec<String>,
    /// Tasks that have all these tags.
    pub tags: Vec<String>,
    /// Runs that ended so; none for all.
    pub statuses: Vec<RunStatus>,
}

/// How an upstream is collected.
#[derive(Debug, Clone)]
pub struct CollectSettings {
    /// How far back runs are listed again in each round. Longer than it takes a run to show up. Default: one day.
    pub look_back: Duration,
    /// How far back runs are listed in the very first round. Default: one day.
    pub history: Duration,
    /// How long after its end a run's log may still grow. Default: 30 s.
    pub settle: Duration,
    /// How often what a running run has logged so far is stored. Default: never; all of it comes after the end of the run.
    pub while_going: Option<Duration>,
    /// Runs that are fetched at a time. Default: 16, which waits for the service to build pages and for its pace, while
    /// few files are downloaded at a time.
    pub parallel: usize,
    /// Pages of one run that are built and downloaded at a time. Default: 10: the service builds them side by side.
    pub pages_in_flight: usize,
    /// Memory for the records of a page on their way to disk. Unit: bytes. Default: 2 MiB.
    pub page_memory_bytes: usize,
    /// Longest range of time that is listed at once. Default: 10 days, which the service announced as its limit.
    pub window_max: Duration,
    /// How many runs of a list are read at most; longer lists are split. Default: 1,000, announced likewise.
    pub offset_max: u64,
    /// How long a run stays in the hands of a collector that does not answer any more. Default: 2 minutes.
    pub lease: Duration,
    /// The folder for pages on their way.
    pub work_folder: PathBuf,
}

impl CollectSettings {
    /// The defaults, with pages on their way in a folder.
    pub fn in_folder(work_folder: PathBuf) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            look_back: DAY,
            history: DAY,
            settle: Duration::from_secs(30),
            while_going: None,
            parallel: 16,
            pages_in_flight: 10,
            page_memory_bytes: 2 << 20,
            window_max: DAY * 10,
            offset_max: 1_000,
            lease: Duration::from_secs(120),
            work_folder,
        }
    }
}
