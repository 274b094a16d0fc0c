//! The store as others hold it: a journal in SQLite with its threads.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::readers::Readers;
use super::reserve::{self, Reserve};
use super::rows::{self, Counters};
use super::writer::{Answer, Job, Owned, Seen, Writer};
use super::{Opened, StoreError, open};
use crate::bus::{Batch, BoxFuture, Event, Hub, Journal, Page, Pattern, Query, Snapshot, Table, upper_bound};
use crate::failure::Failure;
use crate::files::Place;

/// What may wait for the writer, in KiB of JSON and at least one for each batch: ten thousand publishers
/// at once pass without waiting, and payloads of a megabyte do not fill the memory.
const QUEUE_KIB: u32 = 64 * 1024;

/// What the journal keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many events; the oldest go first.
    pub events: u64,
    /// None that is older.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 1_000_000, age: Duration::from_secs(90 * 24 * 60 * 60) }
    }
}

/// The journal on disk. Closed when dropped, which waits for what is queued.
#[derive(Debug)]
pub struct Store {
    seen: Arc<Seen>,
    path: Arc<Path>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Readers>,
}

#[derive(Debug)]
struct Queue {
    jobs: Mutex<Option<Sender<Job>>>,
    room: Arc<Semaphore>,
}

impl Store {
    /// Opens the store at `path`, or makes it; its events go to `hub`. The folder must exist, and the
    /// caller must own it (see [`super::OwnerLock`]): only one process may write.
    ///
    /// A file that is damaged or no store is moved aside, which [`Opened`] tells.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a newer program wrote it, [`StoreError::OpenFile`] when the file cannot be
    /// made or written, and the others of the operations that opening is made of.
    pub fn open(path: impl AsRef<Path>, hub: Hub) -> Result<(Self, Opened), StoreError> {
        Self::open_with(path, hub, Retention::default(), Box::new(|| true))
    }

    /// As [`Store::open`], keeping what `retention` says. A store that is deleted or exchanged while it is open
    /// is written again from what is open, as long as the folder is `owned`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        hub: Hub,
        retention: Retention,
        owned: Owned,
    ) -> Result<(Self, Opened), StoreError> {
        let path = path.as_ref();
        let (connection, opened) = match open::open(path) {
            Err(error) if error.is_full() && reserve::give_back(path) => open::open(path),
            outcome => outcome,
        }?;
        let counters = Counters::load(&connection).map_err(|source| StoreError::Sqlite {
            path: path.to_owned(),
            attempt: "read",
            source,
        })?;
        let seen = Arc::new(Seen {
            path: path.to_owned(),
            epoch: opened.epoch.clone(),
            head: AtomicU64::new(counters.head),
            generation: AtomicU64::new(0),
        });
        let readers = Arc::new(Readers::start(&seen)?);
        let place =
            Place::of(path).map_err(|source| StoreError::OpenFile { path: path.to_owned(), source })?;
        let reserve = Reserve::beside(path);
        let writer = Writer {
            connection,
            hub,
            seen: seen.clone(),
            counters,
            retention,
            reserve,
            age_checked: None,
            place,
            owned,
        };
        let (sender, receiver) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("lanes-store".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| StoreError::Spawn { source })?;
        let store = Self {
            seen,
            path: path.into(),
            queue: Arc::new(Queue {
                jobs: Mutex::new(Some(sender)),
                room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            }),
            writer: Mutex::new(Some(writer)),
            readers,
        };
        Ok((store, opened))
    }

    /// Refuses new batches, writes what is queued, and waits for the threads to end. Blocks meanwhile.
    pub fn close(&self) {
        self.queue.room.close();
        // The readers first: the last connection to close has to be the writer's, which empties the log.
        self.readers.close();
        drop(self.queue.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            join(writer);
        }
    }

    async fn wait(answer: oneshot::Receiver<Answer>) -> Answer {
        answer.await.unwrap_or_else(|_writer_has_ended| Err(StoreError::Closed.into()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for a thread of ours, unless we are it.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() == thread::current().id() {
        return;
    }
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

impl Queue {
    fn send(
        &self,
        batch: Batch,
        room: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answer>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job { batch, answer, room }).map_err(|_writer_has_ended| StoreError::Closed)?;
        Ok(receiver)
    }
}

/// The share of the queue that a batch takes.
fn room_of(batch: &Batch) -> u32 {
    let events = batch.events.iter().map(|draft| upper_bound(&draft.payload));
    let writes = batch.writes.iter().filter_map(|write| write.body.as_ref()).map(upper_bound);
    let kib = events.chain(writes).sum::<usize>() / 1024 + 1;
    u32::try_from(kib).unwrap_or(u32::MAX).min(QUEUE_KIB)
}

impl Journal for Store {
    /// The batch is queued at once. Only when the queue is full does it wait for room, and dropping the
    /// future before there was any leaves nothing behind.
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Vec<Arc<Event>>, Failure>> {
        let queue = self.queue.clone();
        let units = room_of(&batch);
        match queue.room.clone().try_acquire_many_owned(units) {
            Ok(room) => {
                let sent = queue.send(batch, room);
                Box::pin(async move { Self::wait(sent?).await })
            }
            Err(TryAcquireError::NoPermits) => Box::pin(async move {
                let room = queue.room.clone().acquire_many_owned(units).await;
                let room = room.map_err(|_closed| StoreError::Closed)?;
                let sent = queue.send(batch, room)?;
                drop(queue);
                Self::wait(sent).await
            }),
            Err(TryAcquireError::Closed) => Box::pin(async { Err(StoreError::Closed.into()) }),
        }
    }

    fn read(&self, query: Query) -> BoxFuture<'static, Result<Page, Failure>> {
        let patterns = match Pattern::parse_all(&query.patterns) {
            Ok(patterns) => patterns,
            Err(error) => return Box::pin(async { Err(error.into()) }),
        };
        Box::pin(self.readers.clone().run(self.path.clone(), move |connection| {
            rows::page(&connection.transaction()?, &query, &patterns)
        }))
    }

    fn snapshot(&self, tables: Vec<Table>) -> BoxFuture<'static, Result<Snapshot, Failure>> {
        Box::pin(
            self.readers.clone().run(self.path.clone(), move |connection| {
                rows::snapshot(&connection.transaction()?, &tables)
            }),
        )
    }

    fn get(&self, table: Table, key: String) -> BoxFuture<'static, Result<Option<Value>, Failure>> {
        Box::pin(
            self.readers.clone().run(self.path.clone(), move |connection| rows::get(connection, table, &key)),
        )
    }

    fn head(&self) -> (u64, String) {
        (self.seen.head.load(Ordering::Acquire), self.seen.epoch.clone())
    }
}
