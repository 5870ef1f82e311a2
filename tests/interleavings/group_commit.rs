//! Group commit: each value is committed once, before it is acknowledged, whichever other callers wait or are cancelled.

use std::collections::BTreeMap;
use std::sync::Mutex;

use shuttle::future::{block_on, spawn, yield_now};

use crate::explore;
use crate::sync::Arc;

#[path = "../../crates/store/src/catalog/group_queue.rs"]
mod group_queue;

use group_queue::GroupQueue;

const CALLERS: usize = 4;
/// Values of one group at most.
const GROUP_MAX: usize = 2;

/// What is durable: how often each value was committed. And how many groups are being committed.
#[derive(Default)]
struct Disk {
    committed: BTreeMap<usize, usize>,
    under_way: usize,
}

struct Archive {
    queue: GroupQueue<usize, usize>,
    groups_max: usize,
    disk: Mutex<Disk>,
}

impl Archive {
    async fn commit_group(self: Arc<Self>) {
        let Some(_turn) = self.queue.turn().await else { return };
        let group = self.queue.take_group(|waiting| waiting.len().min(GROUP_MAX));
        {
            let mut disk = self.disk.lock().unwrap();
            disk.under_way += 1;
            assert!(disk.under_way <= self.groups_max, "more groups are committed at the same time than may be");
        }
        yield_now().await;
        {
            let mut disk = self.disk.lock().unwrap();
            disk.under_way -= 1;
            group.iter().for_each(|(value, _)| *disk.committed.entry(*value).or_default() += 1);
        }
        for (value, waiter) in group {
            // The caller may be gone.
            let _ = waiter.send(value);
        }
    }

    async fn write(self: Arc<Self>, value: usize) {
        let answer = self.queue.submit(value, Arc::clone(&self).commit_group()).await;
        assert_eq!(answer, Some(value), "each caller has the answer to its own value");
        assert_eq!(self.disk.lock().unwrap().committed.get(&value), Some(&1), "it is durable, and once");
    }
}

/// Several callers write at the same time; the first of them may give up.
fn write_together(groups_max: usize, gives_up: bool) {
    block_on(async move {
        let archive = Arc::new(Archive { queue: GroupQueue::new(groups_max), groups_max, disk: Mutex::default() });
        let mut callers: Vec<_> = (0..CALLERS).map(|value| spawn(Arc::clone(&archive).write(value))).collect();
        let first = callers.remove(0);
        if gives_up {
            first.abort();
        } else {
            first.await.unwrap();
        }
        for caller in callers {
            caller.await.unwrap();
        }
    });
}

#[test]
fn each_value_is_committed_once_before_it_is_acknowledged() {
    explore(|| write_together(1, false));
    explore(|| write_together(2, false));
}

#[test]
fn a_caller_that_gives_up_takes_nobody_with_it() {
    explore(|| write_together(1, true));
    explore(|| write_together(2, true));
}
