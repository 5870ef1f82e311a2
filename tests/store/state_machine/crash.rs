//! A node that crashes during its work: its runtime is dropped, with all its tasks at their current await points.

use std::time::Duration;

use runlog_model::{Record, RunId};
use runlog_store::Store;

use crate::common::push;
use crate::{Machine, seal_all};

/// The work of the node when it crashes.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    Pushing { run_id: RunId, name: u8, records: Vec<Record> },
    Sealing,
    Sweeping,
}

impl Doing {
    async fn on(self, store: Store) {
        match self {
            Self::Pushing { run_id, name, records } => _ = push(&store, run_id, name, &records).await,
            Self::Sealing => seal_all(&store).await,
            Self::Sweeping => _ = store.maintenance().sweep().await,
        }
    }
}

impl Machine {
    /// Starts another node with this work, and drops it after this time.
    pub(crate) async fn crash(&self, doing: Doing, after: Duration) {
        let open = self.archive.opener(|_| ());
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let store = open().await.unwrap();
                let _ = tokio::time::timeout(after, doing.on(store)).await;
            });
            runtime.shutdown_background();
            ended.send(()).unwrap();
        });
        has_ended.await.unwrap();
    }
}
