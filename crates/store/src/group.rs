//! Small writes that come together are committed together: a commit waits for the disk, and one wait serves them all.

use std::sync::{Mutex, PoisonError};

use runlog_model::wire::admin::AuditEntry;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::page::WantedPage;
use crate::sql::Connection;
use crate::store::Store;

/// A write that cannot contradict another.
#[derive(Debug)]
pub(crate) enum SmallWrite {
    /// Something that someone did.
    Audit(AuditEntry),
    /// A page that is wanted, and the token for it.
    Page(WantedPage),
}

/// What one caller has to write, and where it is told that it is done.
type Waiting = (Vec<SmallWrite>, oneshot::Sender<Result<()>>);

/// The writes that wait for the next commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the commit that goes on.
    committing: tokio::sync::Mutex<()>,
}

impl Store {
    /// Writes these, all or none, and comes back once they are durable.
    pub(crate) async fn write_small(&self, writes: Vec<SmallWrite>) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        self.group().waiting.lock().unwrap_or_else(PoisonError::into_inner).push((writes, done));
        // A caller that goes away half way must not take the writes of others with it.
        let store = self.clone();
        tokio::spawn(async move { store.commit_group().await });
        is_done.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the archive is being closed")))
    }

    async fn commit_group(&self) {
        let _alone = self.group().committing.lock().await;
        let group: Vec<_> = {
            let mut waiting = self.group().waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(limits::GROUP_WRITES_MAX);
            waiting.drain(..count).collect()
        };
        if group.is_empty() {
            return;
        }
        let (writes, waiters): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let outcome = self.commit_writes(writes.into_iter().flatten().collect()).await;
        for waiter in waiters {
            // Whoever has gone away does not want to know.
            let _ = waiter.send(outcome.clone());
        }
    }

    async fn commit_writes(&self, writes: Vec<SmallWrite>) -> Result<()> {
        let mut transaction = self.catalog().begin().await?;
        for write in &writes {
            let connection: &mut Connection = &mut transaction;
            match write {
                SmallWrite::Audit(entry) => crate::audit::insert(connection, entry).await?,
                SmallWrite::Page(page) => page.insert(connection).await?,
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}
