//! The readers: a few threads with a connection each, so that reading needs no runtime and never waits
//! for the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::StoreError;
use super::open::open_reader;
use super::rows::ReadError;
use super::writer::Seen;
use crate::failure::Failure;

/// How many reads run at once: a long replay leaves one for short questions.
const THREADS: usize = 2;
/// How many reads wait; the others wait for their turn before they are queued.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

#[derive(Debug)]
pub(super) struct Readers {
    jobs: Mutex<Option<Sender<Job>>>,
    room: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(seen: &Arc<Seen>) -> Result<Self, StoreError> {
        let path = &seen.path;
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(THREADS);
        for _ in 0..THREADS {
            let connection = open_reader(path)?;
            let receiver = receiver.clone();
            let thread = thread::Builder::new()
                .name("lanes-reader".into())
                .spawn({
                    let seen = Arc::clone(seen);
                    move || serve(connection, &receiver, &seen)
                })
                .map_err(|source| StoreError::Spawn { source })?;
            threads.push(thread);
        }
        Ok(Self {
            jobs: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(QUEUE)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `read` on a connection.
    pub(super) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        path: Arc<Path>,
        read: impl FnOnce(&mut Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Failure> {
        let room = self.room.clone().acquire_owned().await.map_err(|_closed| StoreError::Closed)?;
        let answer = self.send(room, read)?;
        drop(self);
        let outcome = answer.await.map_err(|_ended| StoreError::Closed)?;
        outcome.map_err(|error| match error {
            ReadError::Store(error) => error.into(),
            ReadError::Sqlite(source) => {
                StoreError::Sqlite { path: path.to_path_buf(), attempt: "read", source }.into()
            }
        })
    }

    fn send<T: Send + 'static>(
        &self,
        room: OwnedSemaphorePermit,
        read: impl FnOnce(&mut Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, ReadError>>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits any more: nothing to read for.
            if !sender.is_closed() {
                let _caller_has_left = sender.send(read(connection));
            }
            drop(room);
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_ended| StoreError::Closed)?;
        Ok(receiver)
    }

    /// Ends the threads after what is queued.
    pub(super) fn close(&self) {
        self.room.close();
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(super::live::join);
    }
}

fn serve(mut connection: Connection, jobs: &Mutex<Receiver<Job>>, seen: &Seen) {
    let mut generation = 0;
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let newest = seen.generation.load(Ordering::Acquire);
        if newest != generation {
            match open_reader(&seen.path) {
                Ok(opened) => (connection, generation) = (opened, newest),
                Err(error) => tracing::warn!(%error, "a reader stays with the store as it was"),
            }
        }
        match job {
            // A fault in one read is answered by its dropped sender; the thread goes on.
            Ok(job) => {
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a read of the store panicked");
                }
            }
            Err(_all_senders_gone) => return,
        }
    }
}
