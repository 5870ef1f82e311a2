//! A collector that runs continuously: runs are collected as soon as they are due, even while other runs wait.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::{Client, PaceSetting};
use runlog_collector::{Collector, NoProgress, Selection};
use runlog_model::RunStatus;
use tokio_util::sync::CancellationToken;

use super::{HAS_ENDED, Landing, run_list};
use crate::support::{At, Fault, Paced, RUN, Script, TASK, TestRandom, catalog, plain_log};

/// The ids of this number of runs besides the first.
fn others(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("6c0e5a34-0000-4000-8000-{:012}", number + 100)).collect()
}

fn all_ended(runs: &[&str]) -> Fault {
    run_list(&runs.iter().map(|run| (*run, HAS_ENDED)).collect::<Vec<_>>())
}

impl Landing {
    /// Collects until it is stopped, with a wait that lets other tasks run.
    fn collect_continuously(&mut self, list_every: Duration) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let time = self.stage.time.clone();
        let mut settings = self.stage.client.settings().clone();
        settings.pace = PaceSetting::Unlimited;
        let paced = Arc::new(Paced(time.clone()));
        self.upstream.client = Client::new(settings, Arc::new(time), Arc::new(TestRandom::default()), paced).unwrap();
        self.upstream.selection = Selection { tasks: vec![TASK.parse().unwrap()], ..Selection::default() };
        self.collector = Collector::new(&self.store, self.upstream.clone(), Arc::new(NoProgress));
        let (collector, stop) = (self.collector.clone(), CancellationToken::new());
        let until = stop.clone();
        (stop, tokio::spawn(async move { collector.run(move |_| list_every, until).await }))
    }

    async fn when(&self, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it never came to that");
    }

    async fn landed(&self) -> u64 {
        self.store.collection().metrics("service").await.unwrap().landed
    }
}

/// Thirty short runs that became due while one log took 20 s to arrive waited for its end.
#[tokio::test]
async fn short_runs_land_while_the_log_of_another_does_not_come() {
    let script = Script::of(plain_log(5)).with(At::List, 0, all_ended(&[RUN])).with(At::File, 1, Fault::Hang);
    let mut landing = Landing::of(script, |_| ()).await;
    let (stop, running) = landing.collect_continuously(Duration::from_secs(5));
    landing.when(async || landing.stage.count(At::File) == 1).await;
    // All later rounds have nothing to do.
    tokio::time::sleep(Duration::from_millis(20)).await;

    let others = others(30);
    let runs: Vec<&str> = others.iter().map(String::as_str).chain([RUN]).collect();
    landing.stage.change(|script| script.faults[0].2 = all_ended(&runs));
    landing.when(async || landing.landed().await == 30).await;
    assert_ne!(landing.archived().await.1, Some(RunStatus::Failed), "the first still hangs");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_run_that_becomes_due_is_taken_while_a_list_does_not_come() {
    let script = Script::of(plain_log(5)).with(At::List, 0, all_ended(&[RUN]));
    let mut landing = Landing::of(script, |_| ()).await;
    landing.list().await;
    landing.stage.change(|script| script.faults = vec![(At::List, 0, Fault::Hang)]);
    landing.stage.time.pass(-40_000);
    let (stop, running) = landing.collect_continuously(Duration::from_secs(5));
    landing.when(async || landing.landed().await == 1).await;
    let states = landing.store.supervisor().states();
    let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
    assert!(names.contains(&"collect service: land"), "{names:?}");
    assert!(states.iter().all(|state| state.restarts == 0), "{states:?}");
    stop.cancel();
    running.await.unwrap();
}

/// A collector that had lost a run to another one continued with it until its log was complete.
#[tokio::test]
async fn work_on_a_run_that_another_has_taken_over_ends() {
    let other = others(1).remove(0);
    let script = Script::of(plain_log(5)).with(At::List, 0, all_ended(&[RUN])).with(At::File, 1, Fault::Hang);
    let mut landing = Landing::of(script, |settings| {
        settings.parallel = 1;
        settings.lease = Duration::from_secs(30);
    })
    .await;
    let (stop, running) = landing.collect_continuously(Duration::from_secs(5));
    landing.when(async || landing.stage.count(At::File) == 1).await;
    landing.stage.change(|script| script.faults[0].2 = all_ended(&[RUN, &other]));
    landing.when(async || landing.store.collection().metrics("service").await.unwrap().known == 2).await;
    assert_eq!(landing.landed().await, 0, "the only worker has the first run in hand");

    let taken = "UPDATE collected_runs SET claim = 'another', claimed_until = 9000000000000000";
    catalog::change(&landing.catalog(), &format!("{taken} WHERE run_id = '{RUN}'"));
    landing.when(async || landing.landed().await == 1).await;
    assert_ne!(landing.archived().await.1, Some(RunStatus::Failed), "the first is another's");
    stop.cancel();
    running.await.unwrap();
}
