//! The writer: one thread that writes what is queued in one transaction, tells the hub, and answers.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::put_back::put_back;
use super::reserve::Reserve;
use super::rows::{self, Counters, Tally};
use super::{Retention, StoreError};
use crate::bus::{Batch, Event, Hub, Write};
use crate::clock;
use crate::failure::Failure;
use crate::fault;
use crate::files::Place;
use crate::ids::EventId;

/// One transaction holds at most so many batches: it stays well under a tenth of a second.
const GROUP: usize = 1024;
/// Retention takes out so many events in a step, or twice what came in, so that it keeps up.
const TRIM_STEP: u64 = 500;
/// How often the age of the oldest events is looked at.
const AGE_CHECK: Duration = Duration::from_secs(600);

pub(super) type Answer = Result<Vec<Arc<Event>>, Failure>;

/// A batch on its way.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Its share of the queue, until it is answered.
    pub(super) room: OwnedSemaphorePermit,
}

/// What other threads see of the journal.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) epoch: String,
    pub(super) head: AtomicU64,
    /// How often the store was written again: readers open it anew.
    pub(super) generation: AtomicU64,
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) hub: Hub,
    pub(super) seen: Arc<Seen>,
    pub(super) counters: Counters,
    pub(super) retention: Retention,
    pub(super) reserve: Reserve,
    pub(super) age_checked: Option<Instant>,
    pub(super) place: Place,
    pub(super) owned: Owned,
}

/// Whether the folder of the store still is the caller's, asked when the store has gone.
pub type Owned = Box<dyn Fn() -> bool + Send>;

/// A batch with its events made.
struct Pending {
    events: Vec<Event>,
    writes: Vec<Write>,
    answer: oneshot::Sender<Answer>,
    room: OwnedSemaphorePermit,
}

impl Writer {
    /// Serves until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut trimming = true;
        loop {
            let patience = if trimming { Duration::ZERO } else { AGE_CHECK };
            let mut written = 0;
            match jobs.recv_timeout(patience) {
                Ok(first) => written = self.serve(first, jobs),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            trimming = self.trim(written);
            self.reserve.restore();
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "the log of the store stays for the next start");
        }
    }

    /// Writes what waits; returns how many events that were.
    fn serve(&mut self, first: Job, jobs: &Receiver<Job>) -> u64 {
        let before = self.counters.head;
        let mut group: Vec<Pending> =
            std::iter::once(first).chain(jobs.try_iter()).take(GROUP).map(|job| self.prepare(job)).collect();
        match self.commit(&mut group) {
            Ok(()) => self.tell(group),
            Err(error) if group.len() == 1 || error.is_full() => refuse(group, error),
            // One of them is at fault: each for itself, so that the others are not.
            Err(_of_the_group) => {
                for pending in group {
                    let mut alone = vec![pending];
                    match self.commit(&mut alone) {
                        Ok(()) => self.tell(alone),
                        Err(error) => refuse(alone, error),
                    }
                }
            }
        }
        self.counters.head - before
    }

    fn prepare(&self, job: Job) -> Pending {
        let Job { batch, answer, room } = job;
        let ts = clock::now();
        let make = |draft: crate::bus::Draft| draft.into_event(EventId::generate(), ts, &self.seen.epoch);
        Pending { events: batch.events.into_iter().map(make).collect(), writes: batch.writes, answer, room }
    }

    /// Writes the store again when its file was deleted or exchanged; refuses when the folder has another owner.
    fn stay(&mut self) -> Result<(), StoreError> {
        // What cannot be looked at (no descriptor, no right) is not gone.
        if self.place.is_held().unwrap_or(true) {
            return Ok(());
        }
        let path = &self.seen.path;
        if !(self.owned)() {
            return Err(StoreError::Disowned { path: path.clone() });
        }
        self.connection = put_back(&self.connection, path)?;
        self.place = Place::of(path).map_err(|source| StoreError::OpenFile { path: path.clone(), source })?;
        self.seen.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn commit(&mut self, group: &mut [Pending]) -> Result<(), StoreError> {
        self.stay()?;
        match self.write(group) {
            Err(error) if error.is_full() && self.reserve.release() => {
                tracing::warn!("the disk is full; the reserve of the store was given back");
                // With an emptied log, writing on takes a tenth of the space.
                if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(RESTART)") {
                    tracing::debug!(%error, "the log of the store was not emptied");
                }
                self.write(group)
            }
            outcome => outcome,
        }
    }

    fn write(&mut self, group: &mut [Pending]) -> Result<(), StoreError> {
        let failed =
            |source| StoreError::Sqlite { path: self.seen.path.clone(), attempt: "write to", source };
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        fault::at("store.begin")?;
        let mut tally = Tally::new(&self.counters);
        if !tally.continues(&transaction).map_err(failed)? {
            return Err(StoreError::ForeignWriter { path: self.seen.path.clone() });
        }
        let mut body = Vec::new();
        for pending in group {
            for event in &mut pending.events {
                tally.number(event);
                body.clear();
                serde_json::to_writer(&mut body, event).map_err(|source| StoreError::Encode { source })?;
                let body = std::str::from_utf8(&body).expect("invariant: JSON is UTF-8");
                rows::insert_event(&transaction, event, body).map_err(failed)?;
            }
            for write in &pending.writes {
                rows::apply(&transaction, write, tally.head()).map_err(failed)?;
            }
        }
        tally.save(&transaction).map_err(failed)?;
        fault::at("store.commit")?;
        transaction.commit().map_err(failed)?;
        fault::pass("store.committed");
        let (head, seqs) = tally.into_parts();
        self.counters.head = head;
        self.counters.seqs.extend(seqs);
        Ok(())
    }

    /// Tells the hub what is committed, then those who wait.
    fn tell(&self, group: Vec<Pending>) {
        self.seen.head.store(self.counters.head, Ordering::Release);
        let mut all = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for pending in group {
            let events: Vec<_> = pending.events.into_iter().map(Arc::new).collect();
            all.extend(events.iter().cloned());
            answers.push((pending.answer, events, pending.room));
        }
        self.hub.publish(&all);
        for (answer, events, room) in answers {
            let _caller_has_left = answer.send(Ok(events));
            drop(room);
        }
    }

    /// Does one step of retention; true when there is more to do.
    fn trim(&mut self, written: u64) -> bool {
        let beyond = self.counters.head.saturating_sub(self.counters.trimmed) > self.retention.events;
        let age_is_due = self.age_checked.is_none_or(|checked| checked.elapsed() >= AGE_CHECK);
        if !beyond && !age_is_due {
            return false;
        }
        let step = TRIM_STEP.max(written * 2);
        match self.trim_step(step) {
            Ok(upto) => {
                let taken_out = upto - mem::replace(&mut self.counters.trimmed, upto);
                let more = taken_out >= step;
                if !more {
                    self.age_checked = Some(Instant::now());
                }
                more
            }
            Err(error) => {
                tracing::warn!(%error, "retention could not trim the journal");
                self.age_checked = Some(Instant::now());
                false
            }
        }
    }

    fn trim_step(&mut self, step: u64) -> rusqlite::Result<u64> {
        let age = u64::try_from(self.retention.age.as_millis()).unwrap_or(u64::MAX);
        let before_ms = clock::now().as_ms().saturating_sub(age);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let upto = rows::trim(&transaction, &self.counters, self.retention.events, before_ms, step)?;
        transaction.commit()?;
        Ok(upto)
    }
}

fn refuse(group: Vec<Pending>, error: StoreError) {
    tracing::error!(%error, batches = group.len(), "the store could not write");
    let failure = Failure::from(error);
    for pending in group {
        let _caller_has_left = pending.answer.send(Err(failure.clone()));
    }
}
