//! One thread that makes screens of recorded output, behind everything else.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::failure::{Code, Failure};
use crate::keeper::Checkpoint;
use crate::memory;
use crate::raw::Raw;
use crate::task;

/// Screens that wait to be made. Each terminal has at most two: when it is full, there are more terminals
/// than one machine has.
const QUEUE: usize = 8192;
/// How far behind other work it is done: agents, and our own answers, go before.
const NICE: i32 = 10;

/// What is to be made of a terminal's recorded output.
enum Job {
    /// A new checkpoint; answers with the offset that it is of.
    Paint(Raw, oneshot::Sender<Result<u64, Failure>>),
    /// Row and column of the cursor at an offset.
    Find(Raw, u64, oneshot::Sender<Result<(u16, u16), Failure>>),
}

/// The thread, once it is needed. It ends when this is dropped, after what it is at.
#[derive(Default)]
pub(super) struct Painter {
    thread: Mutex<Option<(SyncSender<Job>, JoinHandle<()>)>>,
}

impl Painter {
    /// Draws a terminal as its log has it now, and writes that down.
    ///
    /// # Errors
    /// The log cannot be read or the drawing not be written, or too many wait.
    pub(super) async fn paint(&self, log_dir: &Raw) -> Result<u64, Failure> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Paint(log_dir.clone(), answer))?;
        answered.await.map_err(|_ended| stopped())?
    }

    /// Where the cursor is after the output before this offset: row and column from 1.
    ///
    /// # Errors
    /// As [`Painter::paint`].
    pub(super) async fn find_cursor(&self, log_dir: &Raw, offset: u64) -> Result<(u16, u16), Failure> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Find(log_dir.clone(), offset, answer))?;
        answered.await.map_err(|_ended| stopped())?
    }

    fn ask(&self, job: Job) -> Result<(), Failure> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (jobs, queue) = sync_channel(QUEUE);
            let begun = std::thread::Builder::new().name("screens".into()).spawn(move || work(&queue));
            let handle = begun.map_err(|error| Failure::io("start a thread", &error))?;
            *thread = Some((jobs, handle));
        }
        let Some((jobs, _handle)) = thread.as_ref() else { return Err(stopped()) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Failure::new(Code::Busy, "too many screens wait to be drawn"),
            TrySendError::Disconnected(_) => stopped(),
        })
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((jobs, handle)) = thread {
            drop(jobs);
            let _panicked_or_not_it_is_over = handle.join();
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Code::DaemonDown, "the runtime stops")
}

fn work(queue: &Receiver<Job>) {
    // On Linux this is of the thread that asks, not of the process.
    let _only_politeness = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    while let Ok(job) = queue.try_recv().or_else(|_nothing_waits| {
        // A screen is some hundred KiB, and the next may be long to come.
        memory::trim();
        queue.recv()
    }) {
        match job {
            Job::Paint(log_dir, answer) if !answer.is_closed() => {
                let _asker_left = answer.send(paint(log_dir.as_path()));
            }
            Job::Find(log_dir, offset, answer) if !answer.is_closed() => {
                let found = task::rebuild(log_dir.as_path(), offset);
                let _asker_left = answer.send(found.map(|mut s| s.model.cursor()).map_err(Failure::from));
            }
            Job::Paint(..) | Job::Find(..) => {}
        }
    }
}

/// Draws what is recorded. A sequence that has begun and not ended belongs to the next drawing.
fn paint(log_dir: &Path) -> Result<u64, Failure> {
    let mut screen = task::rebuild(log_dir, u64::MAX)?;
    let size = screen.model.size();
    let offset = screen.offset.saturating_sub(screen.model.pending() as u64);
    let drawing = screen.model.draw();
    let checkpoint = Checkpoint { offset, cols: size.cols(), rows: size.rows(), drawing };
    checkpoint.write(log_dir).map_err(|error| Failure::io("write down a screen", &error))?;
    Ok(screen.offset)
}
