//! One delivery of a run to a sink: reads on from the last recorded step, and records each step once the sink has it.

use std::sync::Arc;

use runlog_client::Wait;
use runlog_model::Clock;
use runlog_store::BackgroundThreads;
use runlog_store::components::Components;
use runlog_store::delivery::{ClaimedDelivery, Deliveries, DeliveryStep, ReplayBatch};
use runlog_store::workspaces::Workspaces;
use tokio_util::sync::CancellationToken;

use super::config::SinkConfig;
use super::destination::DestinationKind;
use super::error::{DeliveryError, PAUSE_DENIED, Result};
use super::health::SinkHealth;
use super::pending::PendingBatch;
use super::preparation::{PREPARED_TOGETHER, Preparation, Prepared, Selected, epoch_id};
use super::send::{Attempts, Sender};
use super::sinks::files::Files;
use super::sinks::sink::{EndedRun, Origin, RunContext, RunSink, SendError, Sink};
use super::stats::DeliveryStats;
use super::target::{FileParts, RecordTarget, SinkBatches, too_many_refused};

/// A run that was claimed for delivery.
pub(super) struct RunDelivery<'a> {
    pub(super) deliveries: &'a Deliveries,
    pub(super) workspaces: &'a Workspaces,
    pub(super) components: &'a Components,
    pub(super) threads: &'a BackgroundThreads,
    pub(super) sink: &'a Arc<SinkConfig>,
    pub(super) clock: &'a dyn Clock,
    pub(super) wait: &'a dyn Wait,
    pub(super) health: &'a SinkHealth,
    pub(super) claimed: &'a mut ClaimedDelivery,
    pub(super) stats: &'a mut DeliveryStats,
    pub(super) stop: &'a CancellationToken,
}

impl RunDelivery<'_> {
    /// Sends the records that the sink lacks, and ends the delivery.
    pub(super) async fn deliver(mut self) -> Result<()> {
        let run = self.run_context().await?;
        match &self.sink.destination.0 {
            DestinationKind::Records(to) => self.send_records(to, &Arc::new(Origin::Run(Box::new(run)))).await?,
            DestinationKind::Files(files) => self.write_files(files, &Arc::new(Origin::Run(Box::new(run)))).await?,
            DestinationKind::Runs(to) => {
                self.claimed.extend_to_whole_run();
                self.send_run(to.as_ref(), &run).await?;
            }
        }
        Ok(self.deliveries.finish(self.claimed).await?)
    }

    async fn run_context(&self) -> Result<RunContext> {
        let run = &self.claimed.run;
        let task = self.workspaces.task(run.task_id).await?;
        let task = task.ok_or_else(|| DeliveryError::Run(format!("its task {} is not known any more", run.task_id)))?;
        Ok(RunContext {
            run: run.clone(),
            task: task.name,
            workspace: task.workspace.name,
            environment: task.workspace.environment.name,
        })
    }

    async fn send_records(&mut self, to: &Arc<dyn Sink>, origin: &Arc<Origin>) -> Result<()> {
        let sender = Sender { to, threads: self.threads, health: self.health, wait: self.wait, stop: self.stop };
        let mut batches = SinkBatches::new(sender, origin, self.sink.bounds);
        self.send_replays(&batches).await?;
        self.pass_on_records(&mut batches).await
    }

    /// Sends refused records again that are to be retried.
    async fn send_replays(&mut self, batches: &SinkBatches<'_>) -> Result<()> {
        let (preparation, encode) = (Preparation::new(self.sink, self.claimed), batches.encoder());
        while let Some(replays) = self.next_replays().await? {
            let prepared = preparation.prepare(self.threads, replays.records, None, &encode).await?;
            let wanted = prepared.into_iter().filter_map(|record| match record.selected {
                Selected::Wanted(record) => Some(record),
                Selected::FilteredOut | Selected::TooOld => None,
            });
            let mut outcome = batches.send(wanted.collect()).await?;
            // A sink that refuses them all is not paused for that: it has refused them before.
            let (mut replayed, mut problem) = (replays.replayed, None);
            if !outcome.is_clean() {
                let room = self.deliveries.dead_letter_capacity(self.claimed).await?;
                if let Some(next) = outcome.cut_replay(room, &replayed) {
                    replayed = replayed.before(next);
                    problem = Some(too_many_refused(&self.sink.name));
                }
            }
            let (delivered, refused) = (outcome.accepted(), outcome.into_refused());
            self.note(&DeliveryStep { delivered, refused, replayed: Some(replayed), ..DeliveryStep::default() })
                .await?;
            if let Some(problem) = problem {
                return Err(problem);
            }
        }
        self.claimed.has_replays = false;
        Ok(())
    }

    async fn next_replays(&self) -> Result<Option<ReplayBatch>> {
        match self.claimed.has_replays {
            true => Ok(self.deliveries.read_replays(self.claimed).await?),
            false => Ok(None),
        }
    }

    async fn write_files(&mut self, files: &Arc<Files>, origin: &Arc<Origin>) -> Result<()> {
        let mut parts = FileParts::new(files, origin, self.threads);
        let written = self.pass_on_records(&mut parts).await;
        // An incomplete file is abandoned when the delivery is aborted.
        parts.abandon().await;
        written
    }

    /// Passes the selected records to the target, batch by batch, and records the outcome of each batch.
    async fn pass_on_records<T: RecordTarget>(&mut self, target: &mut T) -> Result<()> {
        let mut reader = self.deliveries.read(self.claimed);
        let mut batch = PendingBatch::default();
        let (preparation, encode) = (Preparation::new(self.sink, self.claimed), target.encoder());
        loop {
            let records = tokio::select! {
                records = reader.next() => records?,
                () = self.stop.cancelled() => return Err(DeliveryError::Stopped),
            };
            let Some(mut records) = records else { break };
            let oldest = target.oldest_accepted(self.clock.now());
            while !records.is_empty() {
                let rest = records.split_off(records.len().min(PREPARED_TOGETHER));
                let some = std::mem::replace(&mut records, rest);
                for record in preparation.prepare(self.threads, some, oldest, &encode).await? {
                    self.pass_on(target, &mut batch, record).await?;
                }
            }
        }
        if self.stop.is_cancelled() {
            return Err(DeliveryError::Stopped);
        }
        self.end_batch(target, batch).await
    }

    /// Passes on a record, or counts it if it was filtered out. Ends the batch when it is full.
    async fn pass_on<T: RecordTarget>(
        &mut self,
        target: &mut T,
        batch: &mut PendingBatch,
        record: Prepared<T::Encoded>,
    ) -> Result<()> {
        match record.selected {
            Selected::Wanted(record) => {
                if self.stop.is_cancelled() {
                    return Err(DeliveryError::Stopped);
                }
                if !target.has_room_for(&record, batch) {
                    self.end_batch(target, std::mem::take(batch)).await?;
                }
                batch.count(target.bytes_of(&record));
                target.add(record, self.claimed.parts + 1).await?;
            }
            Selected::FilteredOut => batch.leave_out(false),
            Selected::TooOld => batch.leave_out(true),
        }
        batch.until = Some(record.position);
        let ends_with_left_out = T::ENDS_WITH_LEFT_OUT || batch.records == 0;
        if batch.is_full(self.sink.bounds) || ends_with_left_out && batch.has_left_out_many() {
            self.end_batch(target, std::mem::take(batch)).await?;
        }
        Ok(())
    }

    /// Completes a batch, and records it as a step.
    async fn end_batch<T: RecordTarget>(&mut self, target: &mut T, batch: PendingBatch) -> Result<()> {
        let sent = target.finish(&batch).await?;
        let room = match sent.has_refused() {
            true => Some(self.deliveries.dead_letter_capacity(self.claimed).await?),
            false => None,
        };
        let (step, problem) = sent.into_step(&batch, room, &self.sink.name);
        self.note(&step).await?;
        problem.map_or(Ok(()), Err)
    }

    /// Records a step, unless it is empty.
    async fn note(&mut self, step: &DeliveryStep) -> Result<()> {
        if step.until.is_none() && step.replayed.is_none() && step.refused.is_empty() {
            return Ok(());
        }
        self.deliveries.commit_step(self.claimed, step).await?;
        self.stats.records += step.delivered;
        self.stats.refused += step.refused.iter().map(|range| range.records).sum::<u64>();
        Ok(())
    }

    /// Sends what is known of the run.
    async fn send_run(&self, to: &dyn RunSink, run: &RunContext) -> Result<()> {
        let id = format!("{}-{}", epoch_id(self.claimed), self.claimed.run.records);
        let mut run = run.clone();
        if let Some(text) = &mut run.run.error_message {
            self.sink.redactor.text(text);
        }
        let components = match to.takes_components() {
            true => self.components.all(run.run.id).await?,
            false => None,
        };
        let ended = EndedRun { id: &id, run: &run, components: components.as_ref() };
        let mut attempts = Attempts::default();
        loop {
            let (problem, after) = match to.send(&ended).await {
                Ok(()) => return Ok(()),
                Err(SendError::Away { problem, after }) => (problem, after),
                Err(SendError::NoAnswer(problem)) => (problem, None),
                Err(SendError::Denied(problem)) => {
                    return Err(DeliveryError::Sink { problem, pause: PAUSE_DENIED });
                }
                Err(error @ (SendError::Refused(_) | SendError::TooLarge(_))) => {
                    return Err(DeliveryError::Dead(error.to_string()));
                }
            };
            attempts.failed(problem, after, self.wait, self.stop).await?;
        }
    }
}
